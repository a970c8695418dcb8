"""Small image/mask folders and a small DAVIS for the tests of datasets, drawn on the spot."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from ranet_edu.video.masks import write_mask

COLOURS = {0: (60, 90, 120), 1: (250, 40, 40), 2: (40, 230, 60), 3: (240, 230, 40), 255: (200, 200, 200)}


def picture_of(labels: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) that shows each label in its own colour, so that masks can be checked against pictures."""
    image = np.zeros((*labels.shape, 3), np.uint8)
    for label, colour in COLOURS.items():
        image[labels == label] = colour
    return image


def discs(size: tuple[int, int], *centres: tuple[int, int], radius: int = 22) -> np.ndarray:
    """A label map with a disc for each centre (x, y): labels 1, 2, ..."""
    labels = np.zeros(size, np.uint8)
    for number, centre in enumerate(centres, start=1):
        cv2.circle(labels, centre, radius, number, -1)
    return labels


def save_still(folder: Path, name: str, labels: np.ndarray, image: np.ndarray | None = None) -> None:
    """Writes folder/images/name.png and folder/masks/name.png."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture_of(labels) if image is None else image).save(folder / "images" / f"{name}.png")
    write_mask(folder / "masks" / f"{name}.png", labels)


def save_davis(root: Path, videos: dict[str, list[np.ndarray]], year: str = "2017", split: str = "train") -> Path:
    """Writes label maps and their pictures in DAVIS's layout."""
    for name, frames in videos.items():
        for kind in ("JPEGImages", "Annotations"):
            (root / kind / "480p" / name).mkdir(parents=True)
        for number, labels in enumerate(frames):
            Image.fromarray(picture_of(labels)).save(root / "JPEGImages" / "480p" / name / f"{number:05d}.png")
            write_mask(root / "Annotations" / "480p" / name / f"{number:05d}.png", labels)
    (root / "ImageSets" / year).mkdir(parents=True)
    (root / "ImageSets" / year / f"{split}.txt").write_text("\n".join(videos) + "\n")
    return root


@pytest.fixture(scope="session")
def drawn() -> SimpleNamespace:
    """The functions above, for tests to call."""
    return SimpleNamespace(picture_of=picture_of, discs=discs, save_still=save_still, save_davis=save_davis)


@pytest.fixture(scope="module")
def davis(drawn: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos: a disc that moves right and leaves for two frames, and three discs that move down."""
    leaving = [drawn.discs((100, 175), (40 + 8 * t, 50)) for t in range(9)]
    leaving[4:6] = [np.zeros((100, 175), np.uint8)] * 2
    three = [drawn.discs((100, 175), (30, 40 + t), (90, 40 + t), (145, 40 + t)) for t in range(7)]
    return drawn.save_davis(tmp_path_factory.mktemp("davis"), {"leaving": leaving, "three": three})
