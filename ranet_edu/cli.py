"""`ranet-edu`: every command of the repository. Each subcommand reads its arguments, calls one function and prints."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from ranet_edu.course.execute import Limits
    from ranet_edu.training.online import OnlineSegmenter
    from ranet_edu.video.frames import FrameSource
    from ranet_edu.video.segmenter import VideoSegmenter

CANVAS_HELP = "frame size that the network sees"
DEVICE_HELP = "cpu, cuda, cuda:1, mps; default: the GPU if there is one (Apple's mps is not tested: name it)"
WEIGHTS_HELP = (
    "default (shipped), minitrain (shipped, has not seen the sequences of minival), matching, matching-average, "
    "propagation, or a .safetensors or .pth file"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. Errors that a user can mend are one line on stderr, not a traceback."""
    spin_briefly(os.environ)
    options = build_parser().parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, OSError, ArithmeticError, ModuleNotFoundError) as error:
        print(f"ranet-edu {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"ranet-edu {options.command}: stopped", file=sys.stderr)
        return 130
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        hint = "smaller frames (--canvas, --size) and --precision bfloat16 need less"
        text = str(error).rpartition("DefaultCPUAllocator: ")[2].partition(". ")[0]
        print(f"ranet-edu {options.command}: {text}: {hint}", file=sys.stderr)
        return 1
    return 0


def is_out_of_memory(error: Exception) -> bool:
    """Whether it is NumPy's word for that, or one of PyTorch's two (GPU, CPU), which is not loaded for it."""
    is_named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return is_named or "DefaultCPUAllocator" in str(error)


def spin_briefly(environment: MutableMapping[str, str]) -> None:
    """Lets the threads of GNU OpenMP, which PyTorch computes with on Linux, spin for microseconds only when they wait.

    By default they spin for milliseconds and keep the cores from other threads and processes, which have work. Counts
    only until PyTorch is loaded, and not where the user has chosen.
    """
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", "10000")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(prog="ranet-edu", description="Video object segmentation with RANet.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_segment(commands.add_parser("segment", help="segment a video, given the mask of its first frame"))
    _add_evaluate(commands.add_parser("evaluate", help="segment and score a DAVIS split, or score predictions"))
    _add_online(commands.add_parser("online", help="measure what online learning brings, as its seconds grow"))
    _add_train(commands.add_parser("train", help="train on still images, then on video"))
    _add_ablate(commands.add_parser("ablate", help="train each variant of Tables 4 and 5 by one short recipe"))
    _add_data(commands.add_parser("data", help="download DAVIS; look at training samples"))
    _add_weights(commands.add_parser("weights", help="write the mean of several files, or a network as ONNX"))
    _add_course(commands.add_parser("course", help="build, check and grade the assignments"))
    _add_benchmark(commands.add_parser("benchmark", help="time the network on this machine, against a plain one"))
    _add_demo(commands.add_parser("demo", help="a page on which you segment your own video, and look inside"))
    return parser


def positive(text: str) -> int:
    """A whole number from 1 on, for argparse, which names the option where it is none."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _add_segment(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s video --mask MASK --out OUT [OUT ...] [options]   (video first: --out takes all names)"
    parser.add_argument("video", type=Path, help="a video file (MP4, MOV, AVI, WebM, GIF) or a folder of images")
    parser.add_argument("--mask", type=Path, required=True, help="PNG of the first frame: indexed labels, or 0 and 255")
    text = "a folder for masks (indexed PNG; one with other PNG files is refused), an .mp4 to watch, or both"
    parser.add_argument("--out", type=Path, nargs="+", required=True, help=text)
    _add_segmenter(parser)
    parser.set_defaults(run=segment)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    _add_dataset(parser)
    parser.add_argument("--predictions", type=Path, help="score these masks instead of segmenting")
    parser.add_argument("--out", type=Path, help="folder for predictions, per_sequence.csv and global.csv")
    _add_segmenter(parser)
    parser.set_defaults(run=evaluate)


def _add_online(parser: argparse.ArgumentParser) -> None:
    _add_dataset(parser)
    parser.add_argument("--out", type=Path, required=True, help="a CSV file; points that it has are not measured again")
    text = "points of the curves (0 10 25 50 100)"
    parser.add_argument("--iterations", type=int, nargs="+", default=[0, 10, 25, 50, 100], metavar="N", help=text)
    parser.add_argument("--learning-rates", type=float, nargs="+", required=True, metavar="R", help="a curve for each")
    parser.add_argument("--batch", type=int, default=2, help="pairs per iteration (default: 2)")
    parser.add_argument("--seed", type=int, default=0, help="of the pairs")
    parser.add_argument("--frames", type=int, default=0, help="only this many first frames of each sequence, 0 for all")
    parser.add_argument("--weights", default="default", help=WEIGHTS_HELP)
    parser.add_argument("--device", help=DEVICE_HELP)
    parser.add_argument("--canvas", type=positive, nargs=2, metavar=("H", "W"), help=CANVAS_HELP)
    parser.set_defaults(run=measure_online)


def _add_dataset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--davis", type=Path, required=True, help="folder with JPEGImages, Annotations and ImageSets")
    text = "2016: all labels are one object; 2017: each is one (2016)"
    parser.add_argument("--year", choices=("2016", "2017"), default="2016", help=text)
    parser.add_argument("--split", default="val", help="name of a split, a text file of sequence names, or 'all' (val)")


def _add_segmenter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", default="default", help=WEIGHTS_HELP)
    parser.add_argument("--device", help=DEVICE_HELP)
    parser.add_argument("--canvas", type=positive, nargs=2, metavar=("H", "W"), help=CANVAS_HELP)
    for name in ("template", "frame"):
        text = f"crop the {name} around the objects (default: what the model does better with)"
        parser.add_argument(f"--{name}-crop", action=argparse.BooleanOptionalAction, default=None, help=text)
    text = "how objects compete for a pixel: the largest probability wins, or softmax, as in the paper (maximum)"
    parser.add_argument("--combine", choices=("maximum", "softmax"), default="maximum", help=text)
    text = "what the next frame is told: probabilities, or the mask of 0 and 1 (soft)"
    parser.add_argument("--previous", choices=("soft", "hard"), default="soft", help=text)
    text = "bfloat16: faster on a GPU and on CPUs that have it; float16: on GPUs (default: float32)"
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16", "float16"), default="auto", help=text)
    parser.add_argument("--compile", action="store_true", help="on a GPU: faster after a first minute (torch.compile)")
    online = parser.add_argument_group("online learning (RANet+), on the first frame of each video; default: none")
    online.add_argument("--online-iterations", type=int, metavar="N", help="learn for this many iterations")
    online.add_argument("--online-seconds", type=float, metavar="S", help="learn for no longer than this")
    online.add_argument("--online-learning-rate", type=float, metavar="R", help="default: 1e-6 (ResNet-101) or 1e-4")


def _add_train(parser: argparse.ArgumentParser) -> None:
    from ranet_edu.training.config import add_arguments

    parser.add_argument("stage", choices=("matching", "stills", "video"))
    add_arguments(parser)
    parser.set_defaults(run=train)


def _add_ablate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="DAVIS, folders of stills and of cut-outs")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the runs and ablations.csv; is continued"
    )
    parser.add_argument("--variants", nargs="+", help="default: all; a wrong name lists them")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="a run each (0 1 2)")
    parser.add_argument("--steps", type=int, help="instead of the recipe's 80")
    parser.set_defaults(run=ablate)


def _add_data(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="WHAT")
    davis = actions.add_parser("davis", help="download the official DAVIS archive (CC BY-NC)")
    davis.add_argument("--year", choices=("2016", "2017"), default="2016")
    davis.add_argument("--root", type=Path, default=Path("data/cache"), help="where to unpack (default: data/cache)")
    davis.set_defaults(run=download)
    sheet = actions.add_parser("sheet", help="draw training samples: template, previous mask, true masks")
    sheet.add_argument("source", type=Path, nargs="+", help="as --data of ranet-edu train: a DAVIS folder, further "
                       "videos, stills (images/ and masks/) and cut-outs (transparent pictures)")
    sheet.add_argument("--out", type=Path, required=True, help="a PNG")
    sheet.add_argument("--count", type=positive, default=8, help="of samples (8)")
    sheet.add_argument("--split", default="train", help="of DAVIS (train)")
    sheet.add_argument("--seed", type=int, default=0, help="another one, other samples (0)")
    sheet.set_defaults(run=draw_sheet)


def _add_weights(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="WHAT")
    export = actions.add_parser("export", help="write the network as an ONNX file, and check it with onnxruntime")
    export.add_argument("--onnx", type=Path, required=True, metavar="FILE", help="the file to write, ending in .onnx")
    export.add_argument("--weights", default="default", help="default, minitrain, or a .safetensors or .pth file")
    export.add_argument("--objects", type=positive, default=1, metavar="N", help="how many objects it segments (1)")
    text = "of its frames (default: the model's)"
    export.add_argument("--size", type=positive, nargs=2, metavar=("H", "W"), help=text)
    export.set_defaults(run=export_weights)
    average = actions.add_parser("average", help="write the mean of several files of one network's weights")
    average.add_argument("files", type=Path, nargs="+", metavar="FILE", help=".safetensors files")
    average.add_argument("--shares", type=float, nargs="+", metavar="S", help="how much each counts (default: equally)")
    average.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write (.safetensors)")
    average.set_defaults(run=average_files)


def _add_course(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="WHAT")
    build = actions.add_parser("build", help="make the folder that students are given, and the solutions")
    build.add_argument("--out", type=Path, required=True, help="a new folder: gets release/ and solutions/")
    build.set_defaults(run=build_course)
    grade = actions.add_parser("grade", help="grade what students handed in; runs their code, so do it in a container")
    grade.add_argument("submissions", type=Path, help="a folder with a folder for each student, their notebooks in it")
    grade.add_argument("--out", type=Path, required=True, help="gets grades.csv, feedback/ and the nbgrader course/")
    grade.add_argument("--again", action="store_true", help="run submissions again that have not changed")
    grade.set_defaults(run=grade_course)
    for action in (build, grade):
        action.add_argument("--masters", type=Path, help="folder of the masters (default: notebooks/assignments)")
    check = actions.add_parser("check", help="run a notebook and show the points of its visible checks")
    check.add_argument("notebook", type=Path)
    check.set_defaults(run=check_notebook)
    for action in (build, grade, check):
        action.add_argument("--cell-seconds", type=float, default=60, metavar="S", help="limit of a cell (60)")
        action.add_argument("--notebook-seconds", type=float, default=600, metavar="S", help="of a notebook (600)")


def _add_benchmark(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="a folder: gets speed.csv and two pictures")
    parser.add_argument("--preset", nargs="+", choices=("lite", "paper"), help="default: both")
    parser.add_argument("--size", nargs="+", choices=("240p", "480p"), help="default: both (paper: 480p only)")
    parser.add_argument("--objects", nargs="+", type=positive, metavar="N", help="default: 1 2 4")
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="ways to run ours; default: all that there are")
    parser.add_argument(
        "--repeats", type=int, default=7, metavar="N", help="calls of which a median is taken (7; 0: only videos)"
    )
    parser.add_argument("--video-frames", type=int, default=10, metavar="N", help="of a whole video (10; 0: none)")
    parser.add_argument("--device", help=DEVICE_HELP)
    parser.add_argument("--threads", type=positive, metavar="N", help="of a CPU; default: what PyTorch takes")
    parser.add_argument("--quick", action="store_true", help="the lite preset, one object, 240p, three calls, no video")
    parser.set_defaults(run=benchmark)


def _add_demo(parser: argparse.ArgumentParser) -> None:
    text = "default, minitrain, or a .safetensors or .pth file of a RANet with similarity maps"
    parser.add_argument("--weights", default="default", help=text)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps (default: cpu)")
    parser.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    parser.add_argument("--browser", action=argparse.BooleanOptionalAction, default=True, help="open the page")
    parser.set_defaults(run=demo)


def segment(options: argparse.Namespace) -> None:
    """`ranet-edu segment`: masks as a folder, an overlay as MP4, or both, in one pass over the video."""
    from ranet_edu.video.frames import is_cut_off, open_frames
    from ranet_edu.video.masks import read_mask

    source, first_mask = open_frames(options.video), read_mask(options.mask)
    if first_mask.shape != tuple(source.size):
        raise ValueError(
            f"{options.mask} is {first_mask.shape[1]} x {first_mask.shape[0]}, but the frames of {options.video} are "
            f"{source.size[1]} x {source.size[0]}: draw the mask on the first frame at its own size"
        )
    if not first_mask.any():
        raise ValueError(f"{options.mask} shows no object: paint it white, or with labels 1, 2, ...")
    for out in options.out:
        check_out(out, source, options.mask)
    if is_cut_off(source):
        text = "is cut off: the file's end is missing, and perhaps frames with it"
        print(f"warning: {options.video} {text}", file=sys.stderr)
    write_results(_results(options, source, first_mask), source, options.out)
    print("wrote " + " and ".join(str(out) for out in options.out))


def check_out(out: Path, source: FrameSource, mask: Path) -> None:
    """Raises ValueError for an output of `segment` that is an input, or called like a file that is not written."""
    from ranet_edu.video.frames import IMAGE_SUFFIXES, VIDEO_SUFFIXES

    if any(out.exists() and out.samefile(path) for path in (source.path, mask)):
        raise ValueError(f"--out {out} is the input itself; name another folder or file")
    suffix = out.suffix.lower()
    if suffix in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES) and suffix != ".mp4" and not out.is_dir():
        raise ValueError(f"--out {out}: videos are written as .mp4, masks into a folder; name one of these")
    check_folder(out, source, mask.resolve())


def check_folder(out: Path, source: FrameSource, mask: Path) -> None:
    """Raises ValueError where a folder holds the first mask under a name that is written, or masks of other frames."""
    there = {path.name for path in out.glob("[!.]*.[pP][nN][gG]")}
    if not there:
        return
    ours = mask_files(source)
    if out.samefile(mask.parent) and mask.name in ours:
        raise ValueError(f"--out {out} would replace the mask {mask.name} in it; name another folder")
    if others := sorted(there - ours):
        raise ValueError(f"{out} holds {others[0]}, which would stay among the new masks: choose another folder")


def mask_files(source: FrameSource) -> set[str]:
    """Names that the masks of all frames can get; for a video these may be a few more than it has frames."""
    from ranet_edu.video.frames import count_packets

    count = len(source.names) if source.names else count_packets(source.path)
    return {mask_file(source, index) for index in range(count)}


def mask_file(source: FrameSource, index: int) -> str:
    """Name of a frame's mask: that of its image, or its number in the video."""
    return f"{source.names[index]}.png" if source.names else f"{index:05d}.png"


def write_results(results: Iterator[tuple[np.ndarray, np.ndarray]], source: FrameSource, outs: list[Path]) -> None:
    """Write (frame, label map) pairs to each of `outs`: an overlay where it ends in .mp4, else a folder of masks.

    Before it asks for the first pair it makes sure, as far as it can, that `outs` can be written: OSError where not.
    """
    from ranet_edu.video.beside import write_behind
    from ranet_edu.video.frames import VideoWriter
    from ranet_edu.video.masks import overlay, write_mask

    def write(name: str, frame: np.ndarray, labels: np.ndarray) -> None:
        for folder in folders:
            write_mask(folder / name, labels)
        painted = overlay(frame, labels) if videos else None
        for video in videos:
            video.write(painted)

    with ExitStack() as stack:
        videos = [stack.enter_context(VideoWriter(out, source.fps)) for out in outs if out.suffix.lower() == ".mp4"]
        folders = [stack.enter_context(masks_folder(out)) for out in outs if out.suffix.lower() != ".mp4"]
        later = stack.enter_context(write_behind())
        for index, (frame, labels) in enumerate(results):
            later(write, mask_file(source, index), frame, labels)


@contextmanager
def masks_folder(path: Path) -> Iterator[Path]:
    """The folder, made where it is missing, and removed again if nothing comes into it. Raises OSError that names it
    where no file can be made in it."""
    from tempfile import TemporaryFile

    made = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=path).close()
    except OSError as error:
        raise OSError(f"no masks can be written into {path}: {error.strerror}") from error
    try:
        yield path
    finally:
        if made:
            with suppress(OSError):  # it is not empty
                path.rmdir()


def evaluate(options: argparse.Namespace) -> None:
    """`ranet-edu evaluate`: a split segmented and scored, or masks made elsewhere scored."""
    from ranet_edu.datasets.davis import DavisDataset
    from ranet_edu.evaluation import benchmark

    dataset = DavisDataset(options.davis, options.year, options.split)
    if options.predictions:
        results = benchmark.score_predictions(dataset, options.predictions)
        if options.out:
            benchmark.write_results(results, options.out)
    elif options.out is None:
        raise ValueError("say where the predictions go with --out, or which to score with --predictions")
    else:
        results = benchmark.evaluate(dataset, build_segmenter(options).segment, options.out, run=run_record(options))
    print(benchmark.format_table(results))


def run_record(options: argparse.Namespace) -> dict[str, object]:
    """What the predictions depend on: kept beside them, so that a run is resumed with the same weights and options."""
    from ranet_edu.weights import fingerprint

    names = ("weights", "canvas", "template_crop", "frame_crop", "combine", "previous", "precision")
    online = ("online_iterations", "online_seconds", "online_learning_rate")
    record = {name: getattr(options, name) for name in (*names, *online)}
    return record | {"weights_sha256": fingerprint(options.weights)}


def measure_online(options: argparse.Namespace) -> None:
    """`ranet-edu online`: a CSV file of J and F after so many iterations of online learning."""
    from ranet_edu.datasets.davis import DavisDataset
    from ranet_edu.training.online_curve import measure_curves
    from ranet_edu.video.segmenter import VideoSegmenter
    from ranet_edu.weights import fingerprint, open_model

    device = open_device(options.device)
    model = open_model(options.weights).to(device)
    points = measure_curves(
        VideoSegmenter(model, canvas=options.canvas),
        DavisDataset(options.davis, options.year, options.split),
        options.out,
        options.iterations,
        options.learning_rates,
        options.batch,
        options.seed,
        options.frames,
        fingerprint(options.weights) or options.weights,
    )
    print(f"{options.out} holds {len(points)} points")


def train(options: argparse.Namespace) -> None:
    """`ranet-edu train`: one stage, resumed where it stopped."""
    from ranet_edu.training.stages import make_config
    from ranet_edu.training.stages import train as run_stage

    choices = {name: value for name, value in vars(options).items() if name not in ("run", "command")}
    print(f"wrote {run_stage(make_config(**choices))}")


def ablate(options: argparse.Namespace) -> None:
    """`ranet-edu ablate`: one training and one row of a CSV file for each variant and seed."""
    from ranet_edu.training.ablations import VARIANTS, run_ablations

    changes = {} if options.steps is None else {"steps": options.steps}
    rows = run_ablations(options.data, options.out, options.variants or tuple(VARIANTS), options.seeds, **changes)
    for row in rows:
        print(f"{row.variant:17} seed {row.seed}  J&F {100 * row.jf:.1f}")
    print(f"wrote {options.out / 'ablations.csv'}")


def download(options: argparse.Namespace) -> None:
    """`ranet-edu data davis`."""
    from ranet_edu.datasets.download import download_davis

    print(f"DAVIS {options.year} is in {download_davis(options.root, options.year)}")


def draw_sheet(options: argparse.Namespace) -> None:
    """`ranet-edu data sheet`: what the network is shown while it trains, by the recipe of the lite preset."""
    from ranet_edu.datasets.samples import sample_sheet
    from ranet_edu.training.stages import build_samples, make_config

    stage = "video" if any((folder / "JPEGImages").is_dir() for folder in options.source) else "stills"
    choices = {"data": tuple(options.source), "split": options.split, "seed": options.seed, "steps": options.count}
    sample_sheet(build_samples(make_config(stage, out=options.out.parent, **choices)), options.count, options.out)
    print(f"wrote {options.out}")


def export_weights(options: argparse.Namespace) -> None:
    """`ranet-edu weights export`: the network as an ONNX file."""
    from ranet_edu.model.ranet import RANet
    from ranet_edu.video.export import export_onnx
    from ranet_edu.weights import facts, open_model

    model = open_model(options.weights)
    if not isinstance(model, RANet):
        raise ValueError(f"only a RANet is exported, and {options.weights} is a {type(model).__name__}")
    size = options.size and tuple(options.size)
    found = export_onnx(model, options.onnx, options.objects, size, facts(options.weights))
    print(f"wrote {options.onnx}: {found.pixels:.3%} of pixels as PyTorch has them, mean difference {found.masks:.1e}")


def average_files(options: argparse.Namespace) -> None:
    """`ranet-edu weights average`: the facts in the new file are those of the last one, and what it is the mean of."""
    from ranet_edu.weights import average_weights, fingerprint, read_metadata, save_weights

    model = average_weights(options.files, options.shares)
    shares = options.shares or [1.0] * len(options.files)
    parts = zip(shares, options.files, strict=True)
    made_of = " + ".join(f"{share:g} x {path.name} ({fingerprint(path)})" for share, path in parts)
    save_weights(model, options.out, metadata=read_metadata(options.files[-1]) | {"mean_of": made_of})
    print(f"wrote {options.out}")


def build_course(options: argparse.Namespace) -> None:
    """`ranet-edu course build`."""
    limits = course_limits(options)
    from ranet_edu.course.build import build
    from ranet_edu.course.masters import MASTERS

    solutions = build(options.out, options.masters or MASTERS, limits)
    print(f"for students: {options.out / 'release'}")
    print("solutions: " + " ".join(str(path) for path in solutions))


def grade_course(options: argparse.Namespace) -> None:
    """`ranet-edu course grade`: fails where grading failed, not where a student did."""
    limits = course_limits(options)
    from ranet_edu.course.grade import FAILED, format_grades, grade
    from ranet_edu.course.masters import MASTERS

    grades = grade(options.submissions, options.out, options.masters or MASTERS, limits, options.again)
    print(format_grades(grades))
    print(f"wrote {options.out / 'grades.csv'} and {options.out / 'feedback'}")
    failed = [f"{row.student}/{row.assignment}" for row in grades if row.status == FAILED]
    if failed:
        raise ValueError(f"grading failed for {', '.join(failed)}; the table says why")


def check_notebook(options: argparse.Namespace) -> None:
    """`ranet-edu course check`."""
    limits = course_limits(options)
    from ranet_edu.course.check import check, format_results

    print(format_results(check(options.notebook, limits)))


def course_limits(options: argparse.Namespace) -> Limits:
    """The limits that were asked for. Raises ModuleNotFoundError, saying what to install, where nbgrader is missing."""
    from ranet_edu.course.masters import require_nbgrader

    require_nbgrader()
    from ranet_edu.course.execute import Limits

    return Limits(options.cell_seconds, options.notebook_seconds)


def benchmark(options: argparse.Namespace) -> None:
    """`ranet-edu benchmark`: rows of a CSV file, two pictures of all that it holds, and the new rows as tables."""
    from ranet_edu.evaluation import speed, speed_table
    from ranet_edu.show.speed_figures import parts_figure, times_figure
    from ranet_edu.video.masks import atomic_path

    quick = {"preset": ["lite"], "size": ["240p"], "objects": [1]} if options.quick else {}
    default = {"preset": speed_table.PRESETS, "size": speed_table.SIZES, "objects": (1, 2, 4)} | quick
    cases = speed.all_cases(*(getattr(options, name) or default[name] for name in default))
    rows = speed.run(
        cases,
        options.out,
        open_device(options.device),
        variants=options.variants,
        repeats=min(options.repeats, 3) if options.quick else options.repeats,
        threads=options.threads,
        video_frames=0 if options.quick else options.video_frames,
    )
    print(speed_table.format_all(rows))
    every = speed_table.read_rows(options.out / speed_table.FILE)
    figures = {}
    if times := speed_table.frame_times(every):
        figures = {"times.png": times_figure(times), "parts.png": parts_figure(speed_table.part_times(every))}
    for name, figure in figures.items():
        with atomic_path(options.out / name) as temporary:
            figure.savefig(temporary)
    print(f"wrote {', '.join([speed_table.FILE, *figures])} to {options.out}")


def demo(options: argparse.Namespace) -> None:
    """`ranet-edu demo`: serve the page on this machine until Ctrl-C."""
    import signal

    device = open_device(options.device)
    try:
        from ranet_edu.show.demo import NETWORK_THREAD, serving
    except ModuleNotFoundError as error:
        raise ValueError(f"the demo needs {error.name}, which is not installed: pip install -e '.[demo]'") from error
    from ranet_edu.model.ranet import RANet
    from ranet_edu.weights import open_model

    model = NETWORK_THREAD.submit(open_model, options.weights).result()
    if not isinstance(model, RANet):
        raise ValueError(f"the demo looks inside a RANet, and {options.weights} is a {type(model).__name__}")
    if not model.config.correlation:
        raise ValueError(f"the demo shows similarity maps, and the network of {options.weights} has none")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that uploads are removed then, too
    with serving(model.to(device), server_port=options.port, inbrowser=options.browser) as page:
        print(f"The demo is at {page.local_url} and ends with Ctrl-C; uploads and results are removed then.")
        page.block_thread()


def open_device(name: str | None) -> torch.device:
    """The device of that name, by default the GPU unless it is Apple's. Raises ValueError where it can't be used."""
    import torch

    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    chosen = name or ("cpu" if accelerator.type == "mps" else accelerator)  # mps: before 2.14 it can't pool to a grid
    try:
        return torch.zeros(1, device=chosen).device
    except (RuntimeError, AssertionError, ModuleNotFoundError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ValueError(f"--device {chosen} can't be used here ({reason}); try cpu") from error


def build_segmenter(options: argparse.Namespace) -> VideoSegmenter | OnlineSegmenter:
    """The segmenter that the options of `segment` and `evaluate` describe, on the chosen device."""
    from ranet_edu.video.segmenter import VideoSegmenter
    from ranet_edu.weights import open_model

    device = open_device(options.device)
    model = open_model(options.weights).to(device)
    segmenter = VideoSegmenter(
        model,
        template_crop=options.template_crop,
        frame_crop=options.frame_crop,
        combine=options.combine,
        previous=options.previous,
        canvas=options.canvas,
        precision=options.precision,
        compile=options.compile,
    )
    return _with_online_learning(segmenter, options)


def _with_online_learning(segmenter: VideoSegmenter, options: argparse.Namespace) -> VideoSegmenter | OnlineSegmenter:
    iterations, seconds, rate = options.online_iterations, options.online_seconds, options.online_learning_rate
    if iterations is None and seconds is None:
        if rate is not None:
            raise ValueError("--online-learning-rate also needs --online-iterations, --online-seconds or both")
        return segmenter
    from ranet_edu.training.online import OnlineSegmenter

    return OnlineSegmenter(segmenter, iterations, seconds, rate, progress=True)


def _results(
    options: argparse.Namespace, source: FrameSource, first_mask: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames and label maps as `segment` wants them; the model is loaded when the first pair is asked for."""
    yield from _with_progress(_pairs(build_segmenter(options), source, first_mask), source.count)


def _pairs(
    segmenter: VideoSegmenter | OnlineSegmenter, source: FrameSource, first_mask: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each frame with its label map; frames wait here until their map comes, one or two at a time."""
    from collections import deque

    from ranet_edu.video.beside import read_ahead

    waiting: deque[np.ndarray] = deque()

    def remembered() -> Iterator[np.ndarray]:
        for frame in read_ahead(source):
            waiting.append(frame)
            yield frame

    for labels in segmenter.segment(remembered(), first_mask):
        yield waiting.popleft(), labels


def _with_progress(
    results: Iterator[tuple[np.ndarray, np.ndarray]], count: int | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    from tqdm import tqdm

    return iter(tqdm(results, total=count, desc="segmenting", unit="frame"))


if __name__ == "__main__":
    sys.exit(main())
