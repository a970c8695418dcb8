"""A network and samples so small that a training run takes a second; also a script, for the tests that kill it.

As a script it takes the options of `ranet-edu train`; the environment variable TINY_SECONDS slows each sample down.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from ranet_edu.datasets.samples import Sample
from ranet_edu.training.config import add_arguments
from ranet_edu.training.loop import fit
from ranet_edu.training.stages import make_config

SIZE = (16, 24)


@dataclass(frozen=True)
class TinyNetConfig:
    """What `save_weights` stores beside the tensors."""

    dropout: float = 0.0


class TinyNet(nn.Module):
    """RANet's interface. An object is what looks like the template's mean feature under its mask.

    With `dropout` it is random, as a network with stochastic depth would be.
    """

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = TinyNetConfig(dropout)
        torch.manual_seed(1)
        self.encoder = nn.ModuleDict({"backbone": nn.Conv2d(3, 4, 3, padding=1)})
        first, last = nn.Conv2d(9, 8, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1)
        self.head = nn.Sequential(first, nn.ReLU(), nn.Dropout(dropout), last)

    def normalize(self, images: Tensor) -> Tensor:
        return images - 0.5

    def encode_template(self, frames: Tensor) -> Tensor:
        return self.encoder["backbone"](frames)

    def trace(self, frames: Tensor, template: Tensor, template_masks: Tensor, previous: Tensor) -> SimpleNamespace:
        features = self.encoder["backbone"](frames)
        objects = zip(template_masks.unbind(1), previous.unbind(1), strict=True)
        logits = torch.stack([self._object(features, template, mask, before) for mask, before in objects], 1)
        return SimpleNamespace(logits=logits, probabilities=logits.sigmoid())

    def _object(self, features: Tensor, template: Tensor, mask: Tensor, previous: Tensor) -> Tensor:
        weights = mask[:, None]
        mean = (template * weights).sum((2, 3), keepdim=True) / weights.sum((2, 3), keepdim=True).clamp(min=1)
        return self.head(torch.cat([features, mean.expand_as(features), previous[:, None]], 1))[:, 0]


class TinySamples(Dataset):
    """Sample i: N bright rectangles that move a little over T frames; a function of i alone."""

    def __init__(self, objects: int = 1, rollout: int = 1, bad: int | None = None) -> None:
        self.objects, self.rollout, self.bad = objects, rollout, bad

    def __getitem__(self, index: int) -> Sample:
        time.sleep(float(os.environ.get("TINY_SECONDS", 0)))
        random = torch.Generator().manual_seed(index)
        masks = torch.zeros(self.rollout + 2, self.objects, *SIZE)
        for n in range(self.objects):
            y, x = (int(torch.randint(0, limit, (), generator=random)) for limit in (8, 12))
            for moment in range(self.rollout + 2):
                masks[moment, n, y : y + 6, x + moment : x + moment + 8] = 1
        noise = torch.randint(0, 100, (self.rollout + 2, 3, *SIZE), generator=random)
        images = (noise + 150 * masks.amax(1, keepdim=True)).to(torch.uint8)
        true = masks[2:] * (torch.nan if index == self.bad else 1)
        return Sample(images[0], masks[0], images[2:], masks[1], true, torch.ones(self.rollout, *SIZE))


class SmallestSizeSamples(TinySamples):
    """The same for the real network: 64 x 96."""

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)._asdict()
        return Sample(**{name: _four_times(field) for name, field in sample.items()})


def _four_times(field: Tensor) -> Tensor:
    larger = F.interpolate(field.reshape(1, -1, *SIZE).float(), scale_factor=4)
    return larger.to(field.dtype).reshape(*field.shape[:-2], 64, 96)


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("stage")
    parser.add_argument("--dropout", type=float, default=0.0)
    add_arguments(parser)
    options = vars(parser.parse_args())
    model = TinyNet(options.pop("dropout"))
    config = make_config(**options)
    fit(config, model, TinySamples(config.objects, config.rollout))


if __name__ == "__main__":
    main()
