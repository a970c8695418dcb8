"""Downloads from a server on this machine: whole, broken off, resumed, wrong, and without any server."""

from __future__ import annotations

import hashlib
import io
import socket
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from ranet_edu.datasets import download
from ranet_edu.datasets.davis import DavisDataset
from ranet_edu.datasets.download import Archive, download_davis


def davis_zip(top="DAVIS/"):
    """A DAVIS archive of one sequence with one frame, and something that does not compress."""
    image = io.BytesIO()
    Image.new("L", (8, 6), 255).save(image, "png")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{top}JPEGImages/480p/bear/00000.png", image.getvalue())
        archive.writestr(f"{top}Annotations/480p/bear/00000.png", image.getvalue())
        archive.writestr(f"{top}ImageSets/2017/val.txt", "bear\n")
        archive.writestr(f"{top}noise", np.random.default_rng(0).bytes(3_000_000))
    return content.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Serves `server.content` under any name, honours Range unless told not to, and breaks off when told to."""

    def do_GET(self):
        content, asked = self.server.content, self.headers.get("Range")
        self.server.asked.append(asked)
        if self.server.status:
            self.send_error(self.server.status)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if asked and self.server.ranges else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = self.server.break_at if self.server.break_at else len(content)
        self.wfile.write(content[start:end])

    def log_message(self, *args):
        """Quiet."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.content, server.asked, server.ranges, server.break_at, server.status = davis_zip(), [], True, None, None
        server.url = f"http://127.0.0.1:{server.server_port}/DAVIS-test.zip"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def archive(monkeypatch, server):
    """Make the server's file the archive of 2017, with its true hash unless told another."""

    def use(sha256=None, url=server.url):
        monkeypatch.setitem(download.ARCHIVES, "2017", Archive(url, sha256))

    use(hashlib.sha256(server.content).hexdigest())
    return use


def get(root):
    return download_davis(root, "2017", progress=False)


def test_downloads_unpacks_and_removes_the_archive(server, archive, tmp_path):
    folder = get(tmp_path / "cache")
    assert folder == tmp_path / "cache" / "DAVIS-2017"
    assert DavisDataset(folder, "2017", "val")["bear"].object_count == 1
    assert {path.name for path in folder.parent.iterdir()} == {"DAVIS-2017", "DAVIS-test.zip.sha256"}


def test_what_is_there_is_not_downloaded_again(server, archive, tmp_path):
    assert get(tmp_path) == get(tmp_path)
    assert len(server.asked) == 1


def test_an_archive_got_elsewhere_is_used(server, archive, tmp_path):
    (tmp_path / "DAVIS-test.zip").write_bytes(server.content)
    assert (get(tmp_path) / "noise").stat().st_size == 3_000_000
    assert server.asked == []


def test_a_broken_download_is_resumed_where_it_stopped(server, archive, tmp_path):
    server.break_at = 2_000_000
    with pytest.raises(ConnectionError, match=r"the connection broke; \d\.\d MB are here") as error:
        get(tmp_path)
    assert "\n" not in str(error.value)
    here = (tmp_path / "DAVIS-test.zip.part").stat().st_size
    assert 0 < here <= 2_000_000
    assert {path.name for path in tmp_path.iterdir()} == {"DAVIS-test.zip.part"}
    server.break_at = None
    assert (get(tmp_path) / "noise").stat().st_size == 3_000_000
    assert server.asked == [None, f"bytes={here}-"]


def test_a_server_without_ranges_starts_over(server, archive, tmp_path):
    server.ranges = False
    (tmp_path / "DAVIS-test.zip.part").write_bytes(server.content[:1000])
    assert (get(tmp_path) / "noise").stat().st_size == 3_000_000


def test_a_complete_part_is_only_checked(server, archive, tmp_path):
    (tmp_path / "DAVIS-test.zip.part").write_bytes(server.content)
    assert (get(tmp_path) / "noise").is_file()
    assert server.asked == [f"bytes={len(server.content)}-"]


def test_a_part_longer_than_the_file_starts_over(server, archive, tmp_path):
    (tmp_path / "DAVIS-test.zip.part").write_bytes(server.content + b"more")
    assert (get(tmp_path) / "noise").is_file()
    assert server.asked == [f"bytes={len(server.content) + 4}-", None]


def test_a_wrong_hash_is_refused_and_nothing_stays(server, archive, tmp_path):
    archive(sha256="0" * 64)
    with pytest.raises(ValueError, match=f"{server.url} is not the expected file.*try again"):
        get(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_published_hash_the_first_download_is_trusted_and_later_ones_compared(server, archive, tmp_path):
    archive(sha256=None)
    folder = get(tmp_path)
    pin = tmp_path / "DAVIS-test.zip.sha256"
    assert pin.read_text() == f"{hashlib.sha256(server.content).hexdigest()}  DAVIS-test.zip\n"
    folder.rename(tmp_path / "moved away")
    assert get(tmp_path) == folder
    folder.rename(tmp_path / "moved away too")
    server.content = davis_zip(top="REPLACED/")
    with pytest.raises(ValueError, match="not the expected file.*delete .*DAVIS-test.zip.sha256"):
        get(tmp_path)
    assert not folder.exists()
    pin.unlink()
    assert get(tmp_path) == folder


def test_the_folder_around_the_data_may_have_any_name_or_be_missing(server, archive, tmp_path):
    archive(sha256=None)
    for number, top in enumerate(("", "a/b/")):
        server.content = davis_zip(top)
        folder = get(tmp_path / str(number))
        assert sorted(path.name for path in folder.iterdir()) == ["Annotations", "ImageSets", "JPEGImages", "noise"]
        assert folder.stat().st_mode == folder.parent.stat().st_mode


def test_a_damaged_archive_leaves_nothing_half_unpacked(server, archive, tmp_path):
    archive(sha256=None)
    middle = len(server.content) // 2
    server.content = server.content[:middle] + b"!!!!" + server.content[middle + 4 :]
    with pytest.raises(ValueError, match="no undamaged DAVIS archive"):
        get(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"<html>please log in</html>", b""])
def test_something_else_than_an_archive_is_refused(server, archive, tmp_path, content):
    archive(sha256=None)
    server.content = content
    with pytest.raises(ValueError, match="no undamaged DAVIS archive"):
        get(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_zip_of_something_else_is_refused(server, archive, tmp_path):
    archive(sha256=None)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as zipped:
        zipped.writestr("holiday.txt", "no video")
    server.content = content.getvalue()
    with pytest.raises(ValueError, match="no JPEGImages in it"):
        get(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_server_is_told(server, archive, tmp_path):
    server.status = 404
    with pytest.raises(ConnectionError, match="the server answered 404"):
        get(tmp_path)


def test_without_network_one_line_says_what_to_do(archive, tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    archive(url=f"http://127.0.0.1:{port}/DAVIS-test.zip")
    with pytest.raises(ConnectionError) as error:
        get(tmp_path)
    message = str(error.value)
    assert "\n" not in message
    assert "no connection to the server" in message and "connect to the internet and run the same command" in message
    assert str(tmp_path / "DAVIS-test.zip") in message
    assert list(tmp_path.iterdir()) == []


def test_unknown_years_are_refused(tmp_path):
    with pytest.raises(ValueError, match="2016 and 2017, not 2018"):
        download_davis(tmp_path, "2018")


def test_the_official_archives_are_named():
    assert set(download.ARCHIVES) == {"2016", "2017"}
    assert download.ARCHIVES["2016"].name == "DAVIS-data.zip"
    assert download.ARCHIVES["2017"].name == "DAVIS-2017-trainval-480p.zip"
    assert all(archive.url.startswith("https://") for archive in download.ARCHIVES.values())
