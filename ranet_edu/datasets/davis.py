"""DAVIS 2016 and 2017 as they lie on disk: the sequences of a split, their frames and annotations (notebook 01).

    ROOT/JPEGImages/480p/bear/00000.jpg     frames
    ROOT/Annotations/480p/bear/00000.png    label maps; test-dev has the first frame's only
    ROOT/ImageSets/2017/val.txt             a split: one sequence name per line
    ROOT/ImageSets/480p/val.txt             the same in the archive of 2016: "/JPEGImages/... /Annotations/..." per line

Perazzi et al., CVPR 2016 (one object per sequence); Pont-Tuset et al., arXiv 1704.00675 (several).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ranet_edu.video.frames import natural_key, read_image
from ranet_edu.video.masks import read_mask

YEARS = ("2016", "2017")
DATA = Path(__file__).resolve().parents[2] / "data"
SAMPLES, CACHE, SPLITS = DATA / "samples", DATA / "cache", DATA / "splits"
"""The clips that come with the repository, where downloads go, and splits of DAVIS 2016 that its archive hasn't."""
VARIABLE = "RANET_EDU_DAVIS"
"""The environment variable that names a DAVIS folder elsewhere."""
VOID = 255
"""Label of annotated pixels that count for no object; background to the official toolkit, and here."""


@dataclass(frozen=True)
class DavisSequence:
    """One video of DAVIS. `len` is its number of frames; frame i and annotation i belong together. Notebook 01.

    Attributes:
        name: the folder's name, such as "bear".
        frame_paths: the frames' files in natural order: frame2 before frame10.
        annotation_paths: where the annotation of each frame lies, or would lie: test-dev has only the first.
        single_object: whether all labels count as one object, as in DAVIS 2016.
    """

    name: str
    frame_paths: tuple[Path, ...]
    annotation_paths: tuple[Path, ...]
    single_object: bool

    def __len__(self) -> int:
        return len(self.frame_paths)

    @cached_property
    def size(self) -> tuple[int, int]:
        """(height, width) of the first frame, which all frames and annotations must have."""
        return read_image(self.frame_paths[0]).shape[:2]

    @cached_property
    def object_count(self) -> int:
        """Number of objects: the largest label of the first annotation; 1 in DAVIS 2016.

        Raises ValueError where the first annotation shows no object.
        """
        count = int(self.read_annotation(0).max())
        if not count:
            raise ValueError(f"{self.annotation_paths[0]} shows no object; the first annotation says what to segment")
        return count

    def read_frame(self, index: int) -> np.ndarray:
        """Frame `index` as uint8 RGB (H, W, 3). Raises ValueError for a corrupt image or one of another size."""
        path = self.frame_paths[index]
        frame = read_image(path)
        self._check_size(frame, path)
        return frame

    def frames(self) -> Iterator[np.ndarray]:
        """All frames in order, each read when it is asked for."""
        return map(self.read_frame, range(len(self)))

    def read_annotation(self, index: int) -> np.ndarray:
        """Annotation `index` as label map uint8 (H, W), void as background; 0 and 1 in DAVIS 2016.

        Raises FileNotFoundError where the frame has no annotation, ValueError for a corrupt one or another size.
        """
        path = self.annotation_paths[index]
        if not path.is_file():
            raise FileNotFoundError(f"sequence {self.name} has no annotation of frame {path.stem}: {path} is missing")
        labels = read_mask(path, merged=self.single_object)
        self._check_size(labels, path)
        if self.single_object:
            return (labels > 0).astype(np.uint8)
        labels[labels == VOID] = 0
        return labels

    def _check_size(self, array: np.ndarray, path: Path) -> None:
        if array.shape[:2] != self.size:
            raise ValueError(
                f"{path} is {array.shape[1]} x {array.shape[0]}, but sequence {self.name} is "
                f"{self.size[1]} x {self.size[0]}; its frames and masks must have one size (of DAVIS: unpack it again)"
            )


class DavisDataset(Sequence[DavisSequence]):
    """The sequences of a split, in the split file's order; `dataset[0]` or `dataset["bear"]`. Notebook 01.

    Nothing but folders is read here; that every frame has its place is checked, images are checked when read.

    Args:
        root: folder with `JPEGImages` and `Annotations`.
        year: "2016": one object per sequence, all labels merged. "2017": labels are objects.
        split: name of a file in `ImageSets/<year>` or, for 2016, `ImageSets/<resolution>` or data/splits; or the path
            of a text file with a sequence name per line; or "all" for every sequence there is, hidden folders aside.
        resolution: folder below `JPEGImages` and `Annotations`: "480p", "Full-Resolution" (2017), "1080p" (2016).

    Attributes:
        step: one frame in so many is here; 1 unless `every` has thinned them.

    Raises:
        FileNotFoundError: no such root, resolution or split (naming those present), a sequence without folder, frames
            or first annotation, an annotation without its frame, a gap in the frames' numbers.
        ValueError: an unknown year, a split without any sequence.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        year: str = "2016",
        split: str | os.PathLike = "val",
        resolution: str = "480p",
    ) -> None:
        self.root, self.year, self.split, self.resolution = Path(root), str(year), str(split), resolution
        self.step = 1
        if self.year not in YEARS:
            raise ValueError(f"DAVIS has the years {' and '.join(YEARS)}, not {year}")
        self._check_root()
        self._sequences = {name: self._open_sequence(name) for name in self._sequence_names()}

    def __len__(self) -> int:
        return len(self._sequences)

    def __getitem__(self, key: int | slice | str) -> DavisSequence | list[DavisSequence]:
        if not isinstance(key, str):
            return list(self._sequences.values())[key]
        if key not in self._sequences:
            raise KeyError(f"split {self.split} has no sequence {key}; it has {', '.join(self._sequences)}")
        return self._sequences[key]

    def every(self, step: int) -> DavisDataset:
        """The same sequences, of each only frames 0, step, 2 step, ...: a quick look. Notebook 09.

        No score on them can stand beside another's, so the split is called by another name: "val, 1 frame in 4".
        Raises ValueError for a step below 1.
        """
        if step < 1:
            raise ValueError(f"step must be 1 or more, not {step}")
        thinned = copy(self)
        thinned.split, thinned.step = f"{self.split}, 1 frame in {step}", self.step * step
        thinned._sequences = {
            name: replace(item, frame_paths=item.frame_paths[::step], annotation_paths=item.annotation_paths[::step])
            for name, item in self._sequences.items()
        }
        return thinned

    def _folder(self, kind: str) -> Path:
        return self.root / kind / self.resolution

    def _check_root(self) -> None:
        if not self.root.is_dir():
            raise FileNotFoundError(f"no DAVIS at {self.root}; get it with `ranet-edu data davis`, or name its folder")
        if not (self.root / "JPEGImages").is_dir():
            inner = self.root / "DAVIS"
            hint = f"; did you mean {inner}?" if inner.is_dir() else "; name the folder that holds JPEGImages"
            raise FileNotFoundError(f"{self.root} has no folder JPEGImages{hint}")
        for kind in ("JPEGImages", "Annotations"):
            if not self._folder(kind).is_dir():
                raise FileNotFoundError(
                    f"no resolution {self.resolution} in {self.root / kind}; there is {_listed(self.root / kind)}"
                )

    def _sequence_names(self) -> list[str]:
        if self.split == "all":
            return self._all_sequence_names()
        path = self._split_file()
        names = read_split(path)
        if not names:
            raise ValueError(f"{path} names no sequence; write one name per line")
        return names

    def _all_sequence_names(self) -> list[str]:
        images = self._folder("JPEGImages")
        names = sorted(folder.name for folder in images.iterdir() if folder.is_dir() and folder.name[0] != ".")
        if not names:
            raise ValueError(f"{images} holds no sequence; it should hold a folder of frames for each")
        return names

    def _split_file(self) -> Path:
        """The file that lists the sequences of the split."""
        if self.split.endswith(".txt"):
            named = [Path(self.split)]
        else:
            named = [folder / f"{self.split}.txt" for folder in self._split_folders()]
        for path in named:
            if path.is_file():
                return path
        present = {file.stem for folder in self._split_folders() for file in folder.glob("*.txt")}
        raise FileNotFoundError(
            f"no split {self.split} of DAVIS {self.year} in {self.root / 'ImageSets'}; "
            f"there is {', '.join(sorted({*present, 'all'}))}, or give a text file of sequence names"
        )

    def _split_folders(self) -> list[Path]:
        """Where split files lie; the archive of 2016 calls the folder by resolution, later ones by year."""
        sets = self.root / "ImageSets"
        return [sets / self.year, sets / self.resolution, SPLITS] if self.year == "2016" else [sets / self.year]

    def _open_sequence(self, name: str) -> DavisSequence:
        frames = _images(self._folder("JPEGImages") / name, (".jpg", ".jpeg", ".png"))
        annotations = self._folder("Annotations") / name
        paths = tuple(annotations / f"{frame.stem}.png" for frame in frames)
        if not paths[0].is_file():
            raise FileNotFoundError(f"sequence {name} has no first annotation: {paths[0]} is missing")
        _check_complete(frames, _images(annotations, (".png",)))
        return DavisSequence(name, frames, paths, single_object=self.year == "2016")


def find_clips(year: str = "2016", split: str = "val", resolution: str = "480p") -> DavisDataset:
    """The reader's DAVIS where there is one, else the sample clips: what the notebooks show. From notebook 01 on.

    Looked for in this order: the folder that the environment variable RANET_EDU_DAVIS names, with `JPEGImages` in it or
    in its folder `DAVIS-<year>`; `data/cache/DAVIS-<year>`, where `ranet-edu data davis` unpacks; `data/samples`.
    Arguments as in `DavisDataset`. Raises FileNotFoundError that names the variable where its folder lacks something;
    other errors as `DavisDataset`.
    """
    named, unpacked = os.environ.get(VARIABLE), f"DAVIS-{year}"
    if not named:
        downloaded = (CACHE / unpacked).is_dir()
        return DavisDataset(CACHE / unpacked if downloaded else SAMPLES, year, split, resolution)
    root = Path(named, unpacked) if Path(named, unpacked).is_dir() else Path(named)
    try:
        return DavisDataset(root, year, split, resolution)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{VARIABLE}={named}: {error}. Correct the variable, or unset it to see the sample clips"
        ) from error


def read_split(path: str | os.PathLike) -> list[str]:
    """Sequence names of a split file, in order, each once.

    A line holds a name, which may have blanks in it, or the paths of a frame and its annotation as in the archive of
    DAVIS 2016. Raises ValueError for a file that is not UTF-8.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # editors on Windows begin files with a mark
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error}); save it in that encoding") from error
    lines = [line.strip() for line in text.splitlines()]
    names = [line.split()[0].split("/")[-2] if "/" in line else line for line in lines if line]
    return list(dict.fromkeys(names))


def _images(folder: Path, suffixes: tuple[str, ...]) -> tuple[Path, ...]:
    """Image files of a sequence's folder in natural order, or FileNotFoundError where there are none."""
    items = folder.iterdir() if folder.is_dir() else ()
    images = [item for item in items if item.suffix.lower() in suffixes and not item.name.startswith(".")]
    if not images:
        raise FileNotFoundError(f"sequence {folder.name} has no images in {folder}; correct the split or unpack again")
    return tuple(sorted(images, key=natural_key))


def _check_complete(frames: tuple[Path, ...], annotations: tuple[Path, ...]) -> None:
    """FileNotFoundError where an annotation has no frame, or the frames' numbers leave one out."""
    lost = sorted({path.stem for path in annotations} - {path.stem for path in frames})
    if lost:
        raise FileNotFoundError(f"frame {lost[0]} of {frames[0].parent} is missing; {annotations[0].parent} has it")
    if not all(path.stem.isdecimal() for path in frames):
        return
    numbers = np.array([int(path.stem) for path in frames])
    steps = np.diff(numbers)
    if len(steps) and (steps != steps.min()).any():
        before = frames[int(np.argmax(steps != steps.min()))]
        raise FileNotFoundError(f"a frame of {before.parent} is missing after {before.name}; unpack the archive again")


def _listed(folder: Path) -> str:
    names = sorted(item.name for item in folder.iterdir()) if folder.is_dir() else []
    return ", ".join(names) or "none"
