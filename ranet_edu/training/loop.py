"""The loop: one step after another, on any device and any number of processes, until it is done or stopped.

A step is a function of its number: samples, learning rate and random numbers follow from it and from the seed. What
is left to remember is the weights, their average and the optimiser's moments; with these in a checkpoint a run goes on
as if it had never been stopped (to the last bit on the CPU; some CUDA kernels add in a varying order). Behind
notebook 07's `train`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from ranet_edu.datasets.samples import Sample
from ranet_edu.training.batches import StepSampler, load_batches, to_device, without_tracebacks
from ranet_edu.training.checkpoints import Checkpoints, StopSignals
from ranet_edu.training.config import TrainingConfig, check_same_run
from ranet_edu.training.log import CsvLog, plot_log
from ranet_edu.training.losses import TERMS, MatchingLoss, RolloutLoss
from ranet_edu.training.optimiser import build_optimiser, freeze, rate_factor, set_rate
from ranet_edu.training.precision import hasten_frozen_backbone, keep_depthwise_in_float32, only_weights_change
from ranet_edu.video.fast import keep_freed_memory
from ranet_edu.weights import save_weights

Validate = Callable[[nn.Module], dict[str, float]]
SCORES = ("J&F", "J", "F")
COLUMNS = ("step", *TERMS, "gradient", "learning_rate", "samples_per_s", "seconds")


class TrainingDiverged(ArithmeticError):
    """A loss or gradient that is no longer a number; the message names the step and the samples."""


def fit(config: TrainingConfig, model: nn.Module, samples: Dataset, validate: Validate | None = None) -> Path:
    """Trains `model` on `samples` as `config` says, or continues the run in `config.out`; returns the weights' path.

    samples: a map-style dataset of `Sample`, indexed from 0 to steps * (samples per step) - 1.
    validate: called every `validate_every` steps and at the end with the (averaged) network; returns "J&F", "J", "F".
    In `config.out` appear weights.safetensors, best.safetensors (the highest J&F), log.csv, log.png, validation.csv,
    config.json and two checkpoints. Stopped by Ctrl-C it ends the step, saves and raises KeyboardInterrupt (SystemExit
    for SIGTERM); stopped by `time_limit` it saves and returns. `model` then has the last step's weights, not their
    average, on the device of the run; what the run froze can learn again.
    Raises ValueError when `out` holds another run, TrainingDiverged when the loss is not finite. Behind
    notebook 07's `train`.
    """
    with StopSignals() as stop, only_weights_change(model):
        return Trainer(config, model, samples, validate).run(stop)


class Trainer:
    """One process's part of a run. Use `fit`."""

    def __init__(self, config: TrainingConfig, model: nn.Module, samples: Dataset, validate: Validate | None) -> None:
        self.started = time.monotonic()
        self.config, self.samples, self.validate = config, samples, validate
        config.out.mkdir(parents=True, exist_ok=True)
        self.checkpoints = Checkpoints(config.out)
        self.log = CsvLog(config.out / "log.csv", COLUMNS)
        self.scores = CsvLog(config.out / "validation.csv", ["step", *SCORES])
        self.accelerator = build_accelerator(config)
        self.per_step = config.batch * config.accumulation * self.accelerator.num_processes
        self._build(model)
        self.step, self.best = 0, -math.inf
        self.seconds, self.logged = 0.0, 0.0  # spent in steps, so far and at the last row of the log
        self.pending: list[Tensor] = []  # for each step since then: losses and gradient norm, (samples, 4)
        self._resume()

    def _build(self, model: nn.Module) -> None:
        layout = torch.channels_last if self.config.channels_last else torch.contiguous_format
        self.model = model.to(self.accelerator.device, memory_format=layout).train()
        freeze(self.model, self.config)
        if self.accelerator.device.type == "cpu":
            keep_depthwise_in_float32(self.model)
            keep_freed_memory()
        self.average = ModelEmaV3(self.model, self.config.average, use_warmup=True) if self.config.average else None
        hasten_frozen_backbone(self.model)
        loss = build_loss(self.model, self.config)
        optimiser = build_optimiser(self.model, self.config)
        self.losses, self.optimiser = self.accelerator.prepare(loss, optimiser)

    # --- a run --------------------------------------------------------------------------------------------------------

    def run(self, stop: StopSignals) -> Path:
        """Steps until the last one, a signal or the time limit."""
        saved = time.monotonic()
        batches = self._batches()
        with self._progress() as bar:
            while self.step < self.config.steps and not self._stopping(stop):
                self._advance(batches)
                bar.update()
                if self.step % self.config.log_every == 0:
                    self._write_log(bar)
                if self._validation_due():
                    self._validate()
                if self._checkpoint_due(saved):
                    self._save()
                    saved = time.monotonic()
        del batches  # and with them the workers
        return self._finish(stop)

    def _batches(self) -> Iterator[Sample]:
        process, processes = self.accelerator.process_index, self.accelerator.num_processes
        sampler = StepSampler(
            self.step, self.config.steps, self.config.batch, self.config.accumulation, process, processes
        )
        pin = self.accelerator.device.type == "cuda"
        if not len(sampler):
            return iter(())
        return without_tracebacks(iter(load_batches(self.samples, sampler, self.config.workers, pin)))

    def _progress(self) -> tqdm:
        return tqdm(
            total=self.config.steps,
            initial=self.step,
            unit="step",
            desc=f"{self.config.stage} {self.config.preset}",
            disable=not self.accelerator.is_main_process,
        )

    def _finish(self, stop: StopSignals) -> Path:
        self._save()
        weights = self.config.out / "weights.safetensors"
        if self.accelerator.is_main_process:
            self._export(weights)
            if self.log.path.exists():
                plot_log(self.log.path, self.config.out / "log.png", self.scores.path)
        self.accelerator.wait_for_everyone()
        if self.step < self.config.steps:
            self.accelerator.print(
                f"stopped at step {self.step} of {self.config.steps}; the same command continues", file=sys.stderr
            )
        if stop.received == signal.SIGINT:
            raise KeyboardInterrupt
        if stop.received:
            raise SystemExit(128 + stop.received)
        return weights

    def _stopping(self, stop: StopSignals) -> bool:
        """Whether any process has a signal or no time left: all must stop at the same step."""
        limit = self.config.time_limit
        stopping = stop.received is not None or bool(limit) and time.monotonic() - self.started >= limit
        if self.accelerator.num_processes == 1:
            return stopping
        votes = self.accelerator.gather(torch.tensor([stopping], device=self.accelerator.device))
        return bool(votes.any())

    # --- a step -------------------------------------------------------------------------------------------------------

    def _advance(self, batches: Iterator[Sample]) -> None:
        """One optimiser step: `accumulation` batches in each process."""
        began = time.monotonic()
        seed_step(self.config.seed, self.step, self.accelerator.process_index)
        set_rate(self.optimiser, rate_factor(self.step, self.config))
        per_sample = [self._backward(next(batches), micro) for micro in range(self.config.accumulation)]
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip or math.inf)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.step += 1
        if self.average:
            self.average.update(self.model, step=self.step)
        rows = torch.cat(per_sample)
        self.pending.append(torch.cat([rows, norm.to(rows).expand(len(rows), 1)], dim=1))
        self.seconds += time.monotonic() - began

    def _backward(self, batch: Sample, micro: int) -> Tensor:
        """Adds a batch's gradient; gradients are exchanged between processes with the last batch of a step only."""
        last = micro == self.config.accumulation - 1
        with contextlib.nullcontext() if last else self.accelerator.no_sync(self.losses):
            losses = self.losses(to_device(batch, self.accelerator.device))
            self.accelerator.backward(losses[:, 0].mean() / self.config.accumulation)
        return self.accelerator.gather(losses.detach())

    def _write_log(self, bar: tqdm) -> None:
        steps = self._check_pending()
        self.pending = []
        means = torch.stack([rows.mean(0) for rows in steps]).mean(0).tolist()
        if not self.accelerator.is_main_process:
            return
        rate = max(group["lr"] for group in self.optimiser.param_groups)
        speed = self.per_step * len(steps) / (self.seconds - self.logged)
        self.logged = self.seconds
        self.log.append(self.step, *means, rate, speed, self.seconds)
        bar.set_postfix_str(f"loss {means[0]:.4f}, {speed:.1f} samples/s")

    def _check_pending(self) -> list[Tensor]:
        """The losses since the last row, on the CPU. Raises `TrainingDiverged` for the first that is not finite.

        Called before each row and each checkpoint, not in each step, because it waits for the GPU.
        """
        self.pending = [rows.cpu() for rows in self.pending]
        for step, rows in enumerate(self.pending, self.step - len(self.pending)):
            losses, gradient = rows[:, :-1], rows[:, -1]
            if not losses.isfinite().all():
                raise TrainingDiverged(self._diverged("loss", step, ~losses.isfinite().all(1)))
            if not gradient.isfinite().all() and not self.accelerator.scaler:  # fp16 skips steps of infinite gradient
                raise TrainingDiverged(self._diverged("gradient", step, ~gradient.isfinite()))
        return self.pending

    def _diverged(self, what: str, step: int, bad: Tensor) -> str:
        indices = [step * self.per_step + row for row in bad.nonzero().flatten().tolist()]
        kept = f"{self.checkpoints.last} is kept" if self.checkpoints.last.exists() else "there was no checkpoint yet"
        return (
            f"the {what} of step {step + 1} is not finite, in the samples {indices} (seed {self.config.seed}); {kept}. "
            "Look at these samples, or lower the learning rate or clip gradients in a new run"
        )

    # --- what is kept -------------------------------------------------------------------------------------------------

    def _checkpoint_due(self, saved: float) -> bool:
        every, seconds = self.config.checkpoint_every, self.config.checkpoint_seconds
        return self.step % every == 0 or time.monotonic() - saved >= seconds

    def _save(self) -> None:
        self._check_pending()
        if self.accelerator.is_main_process:
            self.checkpoints.save(self._state())

    def _state(self) -> dict[str, Any]:
        scaler = self.accelerator.scaler
        return {
            "config": self.config.portable(),
            "processes": self.accelerator.num_processes,
            "step": self.step,
            "seconds": self.seconds,
            "logged": self.logged,
            "best": self.best,
            "pending": self.pending,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.module.state_dict() if self.average else None,
            "scaler": scaler.state_dict() if scaler else None,
        }

    def _resume(self) -> None:
        """Continues from the last checkpoint, if there is one; the logs forget what came after it."""
        state = self.checkpoints.load()
        if state:
            check_same_run(state["config"], self.config)
            self._check_processes(state["processes"])
            self._restore(state)
        if self.accelerator.is_main_process:
            self.log.truncate(self.step)
            self.scores.truncate(self.step)
            write_json(self.config.out / "config.json", self.config.to_json())
        self.accelerator.wait_for_everyone()

    def _check_processes(self, before: int) -> None:
        now = self.accelerator.num_processes
        if before != now:
            raise ValueError(
                f"{self.config.out} holds a run of {before} processes, and this one has {now}: a step would see other "
                f"samples. Launch {before} processes, or choose another folder with --out."
            )

    def _restore(self, state: dict[str, Any]) -> None:
        self.step, self.best, self.pending = state["step"], state["best"], state["pending"]
        self.seconds, self.logged = state["seconds"], state["logged"]
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average:
            self.average.module.load_state_dict(state["average"])
        if self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(state["scaler"])

    def _export(self, path: Path, **facts: Any) -> None:
        card = {"training": json.dumps(self.config.portable()), "step": self.step, "seconds": round(self.seconds)}
        model = self.average.module if self.average else self.model
        save_weights(model, path, metadata={name: str(fact) for name, fact in (card | facts).items()})

    # --- validation ---------------------------------------------------------------------------------------------------

    def _validation_due(self) -> bool:
        every = self.config.validate_every
        due = bool(every) and (self.step % every == 0 or self.step == self.config.steps)
        return due and self.validate is not None

    def _validate(self) -> None:
        if self.accelerator.is_main_process:
            model = self.average.module if self.average else self.model
            scores = self.validate(model.eval())
            self.scores.append(self.step, *(float(scores[name]) for name in SCORES))
            if scores["J&F"] > self.best:
                self.best = float(scores["J&F"])
                self._export(self.config.out / "best.safetensors", **scores)
        self.model.train()
        self.accelerator.wait_for_everyone()


def build_loss(model: nn.Module, config: TrainingConfig) -> nn.Module:
    """What the stage minimises: the loss of the similarity maps, or that of the whole network's masks."""
    if config.stage == "matching":
        return MatchingLoss(model, config.iou)
    return RolloutLoss(model, config.iou, config.boundary, config.detach, config.burn_in)


def build_accelerator(config: TrainingConfig) -> Accelerator:
    """Device, precision and processes, as `torchrun` or `accelerate launch` set them up; one process without either.

    Several processes on CPUs: `torchrun --standalone --nproc-per-node 2`, or `accelerate launch --multi_gpu
    --num_processes 2`, which in spite of its name uses CPUs where there is no GPU; with `--cpu` instead, and without
    mpirun, Accelerate starts one process only.
    """
    AcceleratorState._reset_state()  # it refuses another precision than that of an earlier run in this notebook
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)  # a hard sort gives the ranking none
    cpu = config.cpu or not torch.accelerator.is_available()  # unasked, Accelerate 1.15 leaves CPU processes alone
    return Accelerator(mixed_precision=config.precision, cpu=cpu, kwargs_handlers=[unused])


def seed_step(seed: int, step: int, process: int) -> None:
    """Seeds what is random inside the network: it too depends on the step alone, so nothing of it need be saved."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, process]).generate_state(1)[0]))


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes `content` whole or not at all."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(temporary, path)
