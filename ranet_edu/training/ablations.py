"""Tables 4 and 5 as an experiment: the same short recipe for each variant and several seeds, `ranet-edu ablate`.

A run takes a minute and a half on one core, so the scores say little of what the networks could reach; what can be
compared is variants with each other, and with the difference that a seed makes. Drawn in notebook 11.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ranet_edu.training.config import TrainingConfig
from ranet_edu.training.log import read_log
from ranet_edu.training.stages import make_config, train
from ranet_edu.video.masks import atomic_path

RECIPE: dict[str, Any] = {
    "size": (128, 224),
    "steps": 80,
    "batch": 4,
    "warmup": 20,
    "average": 0.98,
    "rollout": 1,
    "boundary": 0.0,
    "stills_share": 0.35,
    "paste": 0.5,
    **dict.fromkeys(("compound", "transplant", "passing", "hide", "strangers"), 0.0),
    "vanish": 0.1,
    "channels_last": True,
    "split": "minitrain",
    "validation_frames": 20,
    "workers": 0,
}
"""What all variants share, beside the recipe of `RANet.lite`: a sixth of its pixels, a twenty-fifth of its steps."""


@dataclass(frozen=True)
class Variant:
    """What is different from the full network and recipe.

    text: what is missing, for figures. stage: of training. changes: options of `TrainingConfig`. published: the table
    and the variant of the paper's row, None where the paper has none.
    """

    text: str
    stage: str = "video"
    changes: dict[str, Any] = field(default_factory=dict)
    published: tuple[int, str] | None = None


VARIANTS = {
    "full": Variant("nothing", published=(5, "origin")),
    "no-ranking": Variant("ranking", changes={"ranking": "none"}, published=(4, "w/o Ranking")),
    "maximum": Variant("ranking: maximum instead", changes={"ranking": "maximum"}, published=(4, "Maximum")),
    "no-correlation": Variant("correlation", changes={"correlation": False}, published=(5, "-CL")),
    "no-previous-mask": Variant("previous mask", changes={"previous_mask": False}, published=(5, "-PM")),
    "no-stills": Variant("still images", changes={"stills_share": 0.0}, published=(5, "-IP")),
    "no-video": Variant("video", stage="stills", published=(5, "-VF")),
    "no-imagenet": Variant("ImageNet", changes={"init": "none"}),
    "untrained": Variant("training", changes={"steps": 1, "learning_rate": 0.0, "backbone_learning_rate": 0.0}),
}
"""By the name that `ranet-edu ablate --variants` takes. The paper pre-trains on still images and goes on with video;
here a third of the samples are stills ("full"), none ("no-stills") or all ("no-video")."""


@dataclass(frozen=True)
class AblationRun:
    """One training and its score: a row of the CSV file.

    j, f: on the first frames of each sequence of minival, in [0, 1]. loss: the mean of the last ten steps. seconds: of
    the steps, by the clock, longer where the machine has other work.
    """

    variant: str
    seed: int
    steps: int
    j: float
    f: float
    loss: float
    seconds: float

    @property
    def jf(self) -> float:
        """The mean of J and F, in [0, 1]."""
        return (self.j + self.f) / 2


def ablation_config(
    variant: str, seed: int, data: Sequence[str | Path], out: str | Path, **changes: Any
) -> TrainingConfig:
    """The recipe of one run in the folder `out`; `changes` come last. Raises ValueError for an unknown variant."""
    if variant not in VARIANTS:
        raise ValueError(f"no variant {variant!r}; there are {', '.join(VARIANTS)}")
    chosen = VARIANTS[variant]
    options = RECIPE | chosen.changes | {"seed": seed, "data": tuple(map(Path, data)), "out": Path(out)} | changes
    options |= {"log_every": min(10, options["steps"]), "validate_every": options["steps"]}
    return make_config(chosen.stage, **options)


def run_ablations(
    data: Sequence[str | Path],
    out: str | Path,
    variants: Sequence[str] = tuple(VARIANTS),
    seeds: Sequence[int] = (0, 1, 2),
    **changes: Any,
) -> list[AblationRun]:
    """Trains and scores each variant with each seed, below the folder `out`; `out/ablations.csv` holds a row for each.

    data: a DAVIS root and folders of stills. Runs that have a row are left out, and one that was stopped goes on.
    Returns all rows of the file. Raises what `train` does, and ValueError where a row is of another number of steps.
    """
    table = Path(out) / "ablations.csv"
    wanted = [(variant, seed) for seed in seeds for variant in variants]
    configs = {run: ablation_config(*run, data, Path(out) / f"{run[0]}-{run[1]}", **changes) for run in wanted}
    rows = read_ablations(table) if table.exists() else []
    _check_steps(rows, configs, table)
    done = {(row.variant, row.seed) for row in rows}
    for run, config in tqdm(configs.items(), "ablations", disable=None):
        if run not in done:
            train(config)
            rows.append(_read_run(*run, config))
            _write(table, rows)
    return rows


def _check_steps(rows: Sequence[AblationRun], configs: Mapping[tuple[str, int], TrainingConfig], table: Path) -> None:
    """ValueError for a row that is of a run asked for, but of another length."""
    for row in rows:
        config = configs.get((row.variant, row.seed))
        if config and config.steps != row.steps:
            raise ValueError(
                f"{table} holds runs of {row.steps} steps ({row.variant}, seed {row.seed}), and {config.steps} are "
                "asked for; choose another --out"
            )


def _read_run(variant: str, seed: int, config: TrainingConfig) -> AblationRun:
    log, scores = read_log(config.out / "log.csv"), read_log(config.out / "validation.csv")
    last = (scores["J"][-1], scores["F"][-1], log["loss"][-1], log["seconds"][-1])
    return AblationRun(variant, seed, config.steps, *last)


def _write(path: Path, rows: Sequence[AblationRun]) -> None:
    names = [field.name for field in dataclasses.fields(AblationRun)]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(
            [f"{value:.6g}" if isinstance(value, float) else value for value in dataclasses.astuple(row)]
            for row in rows
        )


def read_ablations(path: str | Path) -> list[AblationRun]:
    """The rows of an `ablations.csv`. Raises ValueError naming the file where it holds something else."""
    kinds = {"variant": str, "seed": int, "steps": int}
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        return [AblationRun(**{name: kinds.get(name, float)(row[name]) for name in row}) for row in rows]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} does not hold runs of `ranet-edu ablate` ({error})") from error
