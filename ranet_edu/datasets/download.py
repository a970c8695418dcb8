"""Get the official DAVIS archives: checked by hash, resumed where they stopped, unpacked whole or not at all.

Notebook 01 names the data, `ranet-edu data davis` is the command. DAVIS is licensed CC BY-NC 4.0.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pooch
import requests
from tqdm import tqdm

CHUNK = 1 << 20
TIMEOUT = (10, 60)
"""Seconds to wait for the connection, and for the next bytes."""


@dataclass(frozen=True)
class Archive:
    """A file to download: where it is and, where somebody we trust published it, its SHA-256."""

    url: str
    sha256: str | None

    @property
    def name(self) -> str:
        """The file's name, the last part of its URL."""
        return Path(urlsplit(self.url).path).name


ARCHIVES = {
    "2016": Archive("https://graphics.ethz.ch/Downloads/Data/Davis/DAVIS-data.zip", None),
    "2017": Archive(
        "https://data.vision.ee.ethz.ch/csergi/share/davis/DAVIS-2017-trainval-480p.zip",
        "e3d0b5b77c3d031b000a19e0e25e3e2cac65d183755601bc2cf066df1a2aa492",
    ),
}
"""The official archives: 2016 with 480p and 1080p, about 1.9 GB; 2017 train and val at 480p, 833 MB."""


def download_davis(root: str | os.PathLike, year: str = "2016", progress: bool = True) -> Path:
    """Download and unpack DAVIS of `year` below `root`; returns the folder to give `DavisDataset`. Notebook 01.

    The folder is `root/DAVIS-<year>`; where it is there already, nothing is done. An interrupted download goes on
    where it stopped, from a file ending in .part; the archive is deleted once unpacked. An archive that you got
    elsewhere is used when it lies in `root` under its own name.

    What the bytes are checked against: the archive of 2017 against the SHA-256 that TensorFlow Datasets publishes.
    For the archive of 2016 no hash could be verified: the authors' script get_davis.sh gave five different MD5 sums
    over time. Its hash is therefore kept at the first download, in `root/DAVIS-data.zip.sha256`, and a later download
    must have the same one; damage on the way is found by the checksums in the archive itself.

    Raises ValueError for an unknown year or a file that is not the right one, ConnectionError (one line, saying what
    to do) without network.
    """
    if str(year) not in ARCHIVES:
        raise ValueError(f"DAVIS has the years {' and '.join(ARCHIVES)}, not {year}")
    archive, folder = ARCHIVES[str(year)], Path(root) / f"DAVIS-{year}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        path = fetch(archive, folder.parent, progress)
        digest = pooch.file_hash(str(path))
        unpack(path, folder, progress)
        _pin_path(path).write_text(f"{digest}  {path.name}\n", encoding="utf-8")
        path.unlink()
    return folder


def fetch(archive: Archive, folder: Path, progress: bool = True) -> Path:
    """Download `archive` into `folder` unless it is there with the right hash; returns its path.

    Raises ValueError where the hash differs from the published or the first one, ConnectionError where the download
    fails; what had come by then stays for the next try.
    """
    path = folder / archive.name
    known = archive.sha256 or _pinned(path)
    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(
            archive.url,
            known_hash=known and f"sha256:{known}",
            fname=path.name,
            path=folder,
            downloader=ResumingDownloader(path, progress),
        )
    except ValueError as error:
        remedy = "try again" if archive.sha256 else f"if the authors have replaced it, delete {_pin_path(path)}"
        raise ValueError(f"{archive.url} is not the expected file: its SHA-256 is not {known}; {remedy}") from error
    return path


def unpack(path: Path, folder: Path, progress: bool = True) -> None:
    """Unpack the dataset in the zip file at `path` to `folder`, which appears whole or not at all.

    The archive's folder that holds JPEGImages becomes `folder`. Raises ValueError, and deletes the archive, where it
    is damaged or holds something else.
    """
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        try:
            _extract(path, Path(temporary, "archive"), progress)
            inner = next(Path(temporary).glob("**/JPEGImages")).parent
        except (zipfile.BadZipFile, StopIteration) as error:
            path.unlink()
            raise ValueError(
                f"{path} was no undamaged DAVIS archive ({str(error) or 'no JPEGImages in it'}); download it again"
            ) from error
        os.replace(inner, folder)


def _extract(path: Path, folder: Path, progress: bool) -> None:
    with zipfile.ZipFile(path) as archive:
        for member in tqdm(archive.infolist(), "unpacking", unit=" files", disable=not progress):
            archive.extract(member, folder)


def _pin_path(path: Path) -> Path:
    """Where the hash of the first download is kept, in the form of `sha256sum`."""
    return path.with_name(f"{path.name}.sha256")


def _pinned(path: Path) -> str | None:
    pin = _pin_path(path)
    return pin.read_text(encoding="utf-8").split()[0] if pin.is_file() else None


class ResumingDownloader:
    """A downloader for `pooch.retrieve` that goes on where an earlier one stopped; pooch's own starts over.

    What has come so far lies beside `path` with .part added to its name.
    """

    def __init__(self, path: Path, progress: bool) -> None:
        self.path, self.part, self.progress = path, path.with_name(f"{path.name}.part"), progress

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Download `url` to `output_file`; ConnectionError of one line where that fails."""
        try:
            self._complete_part(url)
        except requests.RequestException as error:
            raise ConnectionError(
                f"can't download {url} ({self._reason(error)}); connect to the internet and run the same command "
                f"again, which goes on where it stopped, or put the file at {self.path} yourself"
            ) from error
        os.replace(self.part, output_file)

    def _reason(self, error: requests.RequestException) -> str:
        if error.response is not None:
            return f"the server answered {error.response.status_code}"
        here = self._here()
        return f"the connection broke; {here / 1e6:.1f} MB are here" if here else "no connection to the server"

    def _here(self) -> int:
        """Bytes that have come so far."""
        return self.part.stat().st_size if self.part.is_file() else 0

    def _complete_part(self, url: str) -> None:
        here = self._here()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={here}-"} if here else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                self._end_or_restart(url, response)
                return
            response.raise_for_status()
            resumed = response.status_code == requests.codes.partial_content
            self._append(response, here if resumed else 0)

    def _end_or_restart(self, url: str, response: requests.Response) -> None:
        """The server has nothing after the part's last byte: either all is here, or the part is of another file."""
        if response.headers.get("Content-Range") != f"bytes */{self._here()}":
            self.part.unlink()
            self._complete_part(url)

    def _append(self, response: requests.Response, start: int) -> None:
        """Write the answer's bytes from `start` on. Raises requests.ConnectionError where the answer ends early."""
        coming = int(response.headers.get("Content-Length", 0))
        total = start + coming if coming else None
        bar = tqdm(
            desc=self.path.name, total=total, initial=start, unit="B", unit_scale=True, disable=not self.progress
        )
        with bar, self.part.open("r+b" if start else "wb") as file:
            file.seek(start)
            for chunk in response.iter_content(CHUNK):
                bar.update(file.write(chunk))
        if total and self._here() < total:
            raise requests.ConnectionError("the answer ended early")
