"""ranet_edu.video.frames: frames survive the round trip, come as a stream, and a bad file is named."""

from __future__ import annotations

import struct
import weakref
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from ranet_edu.video.frames import FOLDER_FPS, VideoWriter, count_frames, is_cut_off, open_frames, read_image


def clip(count=12, size=(48, 64)):
    """Smooth frames (H, W, 3) that a codec keeps well, each one recognisable by its red value 20 * i."""
    y, x = np.mgrid[: size[0], : size[1]]
    for i in range(count):
        yield np.dstack([np.full(size, 20 * i % 256), 255 * y // size[0], 255 * x // size[1]]).astype(np.uint8)


def write_clip(path, frames, fps=25.0, **options):
    with VideoWriter(path, fps, **options) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def encode(path, frames, codec, pix_fmt, rate=25, times=None):
    """A video as other programs make them."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate)
        for i, frame in enumerate(frames):
            if i == 0:
                stream.height, stream.width, stream.pix_fmt = *frame.shape[:2], pix_fmt
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=pix_fmt)
            picture.pts = i if times is None else times[i]
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def write_folder(folder, names, size=(6, 8)):
    folder.mkdir()
    for i, name in enumerate(names):
        Image.fromarray(np.full((*size, 3), 10 * i, np.uint8)).save(folder / name)
    return folder


# --- writing and reading back


def test_round_trip_keeps_every_frame_its_order_and_its_colours(tmp_path):
    frames = list(clip())
    source = open_frames(write_clip(tmp_path / "clip.mp4", frames, fps=12.5, quality=5))
    assert (source.size, source.fps, source.count, source.names) == ((48, 64), 12.5, 12, None)
    read = list(source)
    assert len(read) == 12 and all(frame.dtype == np.uint8 and frame.flags.c_contiguous for frame in read)
    for frame, true in zip(read, frames, strict=True):
        assert np.abs(frame.astype(int) - true).mean() < 3


def test_a_source_can_be_iterated_again_and_two_at_once(tmp_path):
    source = open_frames(write_clip(tmp_path / "clip.mp4", clip()))
    first, second = list(source), list(source)
    assert np.array_equal(first, second)
    assert all(np.array_equal(a, b) for a, b in zip(source, source, strict=True))


def test_fractional_rates_survive(tmp_path):
    source = open_frames(write_clip(tmp_path / "clip.mp4", clip(), fps=30000 / 1001))
    assert source.fps == pytest.approx(30000 / 1001, abs=1e-9)


def test_written_video_is_what_browsers_play(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", clip())
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.frames) == ("h264", "yuv420p", 12)
        assert (stream.colorspace, stream.color_range) == (1, 1)  # BT.709, limited range
    assert boxes(path.read_bytes()).index(b"moov") < boxes(path.read_bytes()).index(b"mdat")


def boxes(data):
    """Names of an MP4 file's top-level boxes in order."""
    names, position = [], 0
    while position < len(data):
        length, name = struct.unpack(">I4s", data[position : position + 8])
        names.append(name)
        position += length
    return names


@pytest.mark.parametrize("size", [(47, 64), (48, 63), (1, 1)])
def test_odd_sizes_are_padded_by_their_last_row_and_column(tmp_path, size):
    frames = [np.full((*size, 3), (200, 100, 40), np.uint8)] * 3
    source = open_frames(write_clip(tmp_path / "clip.mp4", frames))
    assert source.size == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert all(np.abs(frame.astype(int) - (200, 100, 40)).max() <= 4 for frame in source)


def test_the_writer_takes_views_and_does_not_change_them(tmp_path):
    frames = [frame[::-1, ::-1] for frame in clip(size=(47, 63))]
    before = np.array(frames)
    source = open_frames(write_clip(tmp_path / "clip.mp4", frames, quality=5))
    assert np.array_equal(frames, before)
    assert np.abs(next(iter(source))[:47, :63].astype(int) - frames[0]).mean() < 3


def test_nothing_is_left_after_an_exception_and_an_old_file_stays(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, 25) as writer:
        for frame in clip(60):
            writer.write(frame)
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_the_file_appears_only_when_it_is_whole(tmp_path):
    with VideoWriter(tmp_path / "new" / "clip.mp4", 25) as writer:
        for frame in clip():
            writer.write(frame)
        assert not (tmp_path / "new" / "clip.mp4").exists()
    assert [item.name for item in (tmp_path / "new").iterdir()] == ["clip.mp4"]


def test_a_colon_in_a_name_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_clip("12:30.mp4", clip(3))
    assert len(list(open_frames(path))) == count_frames(open_frames(path)) == 3
    assert [item.name for item in tmp_path.iterdir()] == ["12:30.mp4"]


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([], "no frame was written"),
        ([np.zeros((8, 8), np.uint8)], r"\(H, W, 3\)"),
        ([np.zeros((8, 8, 3), float)], "float64"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)], "first one's shape"),
    ],
)
def test_frames_that_are_no_video_are_refused(tmp_path, frames, words):
    with pytest.raises(ValueError, match=words):
        write_clip(tmp_path / "clip.mp4", frames)
    assert not list(tmp_path.iterdir())


def test_what_can_not_be_written_is_named_before_the_first_frame(tmp_path):
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "folder.mp4").mkdir()
    before = sorted(tmp_path.iterdir())
    for name, reason in (("file/clip.mp4", "File exists"), ("folder.mp4", "there is a folder of that name")):
        with pytest.raises(OSError, match=rf"{name} can't be written: {reason}"):
            VideoWriter(tmp_path / name, 25).__enter__()
    assert sorted(tmp_path.iterdir()) == before


def test_a_full_disk_is_named(tmp_path):
    """Stands for it: a limit on the size of files."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    frames = np.random.default_rng(0).integers(0, 256, (40, 48, 64, 3), np.uint8)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"clip\.mp4 can't be written: File too large"):
            write_clip(tmp_path / "clip.mp4", frames)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_writer_arguments():
    with pytest.raises(ValueError, match=r"clip\.avi.*\.mp4"):
        VideoWriter("clip.avi", 25)
    for fps in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="fps"):
            VideoWriter("clip.mp4", fps)


# --- the videos people have


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("clip.avi", "mpeg4", "yuv420p"),
        ("clip.webm", "libvpx-vp9", "yuv420p"),
        ("clip.mov", "libx264", "yuv444p"),
        ("clip.mkv", "ffv1", "yuv420p"),
        ("clip.gif", "gif", "rgb8"),
    ],
)
def test_containers_and_codecs(tmp_path, name, codec, pix_fmt):
    source = open_frames(encode(tmp_path / name, clip(), codec, pix_fmt))
    read = list(source)
    assert (len(read), source.size, source.fps) == (12, (48, 64), 25)
    assert source.count in (12, None)
    assert [abs(int(np.median(frame[..., 0])) - 20 * i) < 30 for i, frame in enumerate(read)] == [True] * 12


@pytest.mark.parametrize(("name", "codec"), [("clip.mp4", "libx264"), ("clip.webm", "libvpx-vp9")])
def test_frames_are_counted_whatever_the_file_says(tmp_path, name, codec):
    source = open_frames(encode(tmp_path / name, clip(), codec, "yuv420p"))
    assert source.count == (12 if name == "clip.mp4" else None)
    assert count_frames(source) == 12
    assert count_frames(open_frames(write_folder(tmp_path / "frames", ["a.png", "b.png"]))) == 2


@pytest.mark.parametrize(
    ("name", "codec"),
    [("clip.mp4", "libx264"), ("clip.avi", "mpeg4"), ("clip.mkv", "libx264"), ("clip.webm", "libvpx-vp9")],
)
def test_files_that_are_cut_off(tmp_path, name, codec):
    path = encode(tmp_path / name, clip(), codec, "yuv420p")
    if name == "clip.mp4":  # else its index is at the end, and half of it can't be read at all
        write_clip(path, clip())
    data = path.read_bytes()
    for end in (len(data) * 9 // 10, len(data) - 1):
        (tmp_path / f"cut-{name}").write_bytes(data[:end])
        assert is_cut_off(open_frames(tmp_path / f"cut-{name}"))


def test_whole_files_are_not_cut_off(tmp_path):
    times = [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]
    names = {"clip.mp4": "libx264", "clip.mov": "mpeg4", "clip.avi": "mpeg4", "clip.webm": "libvpx-vp9"}
    paths = [encode(tmp_path / name, clip(), codec, "yuv420p", times=times) for name, codec in names.items()]
    paths += [trimmed(tmp_path / "clip.mp4", tmp_path / "trimmed.mp4"), write_folder(tmp_path / "frames", ["a.png"])]
    paths += [streamed(path) for path in paths if path.suffix in (".avi", ".webm")]
    assert not any(is_cut_off(open_frames(path)) for path in paths)
    assert open_frames(tmp_path / "trimmed.mp4").count > len(list(open_frames(tmp_path / "trimmed.mp4")))


def streamed(path):
    """A copy whose header doesn't know the file's length, as one that was written without going back."""
    data, copy = path.read_bytes(), path.with_stem("streamed")
    if path.suffix == ".avi":
        copy.write_bytes(data[:4] + b"\xff" * 4 + data[8:])
    else:
        place = data.index(b"\x18S\x80g") + 4  # the segment, which holds all the rest
        copy.write_bytes(data[:place] + b"\x01" + b"\xff" * 7 + data[place + 8 :])
    return copy


def trimmed(path, out):
    """A copy whose edit list hides what lies before its time 0, the first three frames."""
    with av.open(str(path)) as source, av.open(str(out), "w", options={"avoid_negative_ts": "disabled"}) as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.pts, packet.dts = (time - round(3 / 25 / packet.time_base) for time in (packet.pts, packet.dts))
                packet.stream = stream
                copy.mux(packet)
    return out


def test_a_video_larger_than_allowed_is_refused_undecoded(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "clip.mp4", clip())
    assert open_frames(path, largest=64).size == (48, 64)
    monkeypatch.setattr("ranet_edu.video.frames._upright_rgb", lambda *_: pytest.fail("a frame was decoded"))
    with pytest.raises(ValueError, match=r"clip\.mp4 is 64 x 48; at most 63 pixels a side .* smaller\.mp4"):
        open_frames(path, largest=63)


def fixed_point(*matrix):
    return struct.pack(">9i", *(65536 * number for number in matrix), 0, 0, 1 << 30)


def hold(path, rotation):
    """Set the rotation in an MP4's track header, as a phone does: the file's second matrix, 16.16 fixed point."""
    a, b = round(np.cos(np.radians(rotation))), round(np.sin(np.radians(rotation)))
    flat, turned = (fixed_point(1, 0, 0, 0, 1, 0), fixed_point(a, -b, 0, b, a, 0))
    film, track, rest = path.read_bytes().split(flat)
    path.write_bytes(film + flat + track + turned + rest)


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_a_phone_held_upright_gives_upright_frames(tmp_path, rotation):
    frames = list(clip())
    path = encode(tmp_path / "phone.mp4", frames, "libx264", "yuv444p")
    hold(path, rotation)
    source = open_frames(path)
    upright = [np.rot90(frame, rotation // 90) for frame in frames]
    assert source.size == upright[0].shape[:2]
    assert np.abs(np.array(list(source), int) - np.array(upright)).mean() < 6


def test_frames_are_not_stretched_by_their_pixel_aspect(tmp_path):
    with av.open(str(tmp_path / "tape.mp4"), "w") as container:
        stream = container.add_stream("libx264", 25)
        stream.height, stream.width, stream.codec_context.sample_aspect_ratio = 48, 64, Fraction(2)
        for frame in clip(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(tmp_path / "tape.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == 2
    source = open_frames(tmp_path / "tape.mp4")
    assert source.size == next(iter(source)).shape[:2] == (48, 64)


def test_fps_of_a_variable_rate_is_the_average_and_no_frame_is_lost(tmp_path):
    times = [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]
    source = open_frames(encode(tmp_path / "clip.mp4", clip(), "libx264", "yuv420p", times=times))
    assert len(list(source)) == 12
    assert source.fps == pytest.approx(25 * 12 / 24, rel=0.05)


def test_fps_of_a_recording_that_tells_no_rate_is_its_average(tmp_path):
    milliseconds = np.cumsum([0, *[30, 36, 33, 35, 31, 34, 30] * 6])
    path = encode(tmp_path / "clip.webm", clip(len(milliseconds)), "libvpx", "yuv420p", 1000, milliseconds)
    start = (data := path.read_bytes()).index(b"\x23\xe3\x83\x83")  # a frame's duration, which browsers leave out
    path.write_bytes(data[:start] + b"\xec\x85" + data[start + 2 :])
    assert open_frames(path).fps == pytest.approx(1000 * (len(milliseconds) - 1) / milliseconds[-1], rel=0.01)


def test_transparent_gif_pixels_are_white(tmp_path):
    alpha = np.zeros((10, 12), np.uint8)
    alpha[3:7, 4:8] = 255
    images = [Image.fromarray(np.dstack([np.full((10, 12, 3), 30 * i, np.uint8), alpha])) for i in range(1, 4)]
    images[0].save(tmp_path / "clip.gif", save_all=True, append_images=images[1:], disposal=2, duration=100)
    read = np.array(list(open_frames(tmp_path / "clip.gif")))
    assert read.shape == (3, 10, 12, 3)
    assert np.all(read[:, alpha == 0] == 255)
    assert read[:, 4, 5].tolist() == [[30] * 3, [60] * 3, [90] * 3]


def test_only_the_frame_at_hand_is_in_memory(tmp_path):
    path = tmp_path / "long.mp4"
    source = open_frames(write_clip(path, clip(400)))
    alive, most = weakref.WeakSet(), 0
    for frame in source:
        alive.add(Held(frame))
        most = max(most, len(alive))
    assert most <= 2


class Held:
    """Lives as long as the frame does: arrays can be watched by weak references, but not put into a WeakSet."""

    def __init__(self, frame):
        pixels = frame if frame.base is None else frame.base
        weakref.finalize(pixels, lambda held: None, self)

    __hash__ = object.__hash__


def test_real_videos(shared_data):
    expected = {"bikes": ((272, 640), 25, 250), "coffee": ((720, 1280), 30000 / 1001, 287)}
    for name, (size, fps, count) in expected.items():
        source = open_frames(shared_data / "clips" / f"{name}.mp4")
        assert (source.size, source.count) == (size, count) and source.fps == pytest.approx(fps)
        assert next(iter(source)).shape == (*size, 3)


# --- folders of images


def test_a_folder_comes_in_natural_order(tmp_path):
    names = ["frame1.png", "frame2.jpg", "Frame3.JPEG", "frame10.bmp", "frame100.webp"]
    folder = write_folder(tmp_path / "frames", names)
    (folder / "notes.txt").write_text("not a frame")
    (folder / "._frame2.jpg").write_bytes(b"what macOS leaves on other disks")
    source = open_frames(folder)
    assert source.names == ["frame1", "frame2", "Frame3", "frame10", "frame100"]
    assert (source.size, source.fps, source.count) == ((6, 8), FOLDER_FPS, 5)
    assert [round(float(frame.mean()), -1) for frame in source] == [0, 10, 20, 30, 40]
    assert len(list(source)) == 5


def test_images_of_other_sizes_are_named(tmp_path):
    folder = write_folder(tmp_path / "frames", ["1.png", "2.png"])
    Image.new("RGB", (9, 6)).save(folder / "2.png")
    with pytest.raises(ValueError, match=r"2\.png is 9 x 6, but 1\.png is 8 x 6"):
        list(open_frames(folder))


def test_a_corrupt_image_is_named(tmp_path):
    folder = write_folder(tmp_path / "frames", ["1.jpg", "2.jpg"], size=(60, 80))
    data = (folder / "2.jpg").read_bytes()
    for broken in (b"", b"no image", data[: len(data) // 2]):
        (folder / "2.jpg").write_bytes(broken)
        with pytest.raises(ValueError, match=r"2\.jpg can't be read"):
            list(open_frames(folder))


def test_empty_folders_and_mixed_folders(tmp_path):
    with pytest.raises(ValueError, match="holds no images"):
        open_frames(tmp_path)
    folder = write_folder(tmp_path / "frames", ["00000.jpg", "00000.png", "00001.jpg"])
    with pytest.raises(ValueError, match="several images called 00000"):
        open_frames(folder)


def test_read_image_turns_exif_and_shows_transparency_on_white(tmp_path):
    photo = Image.new("RGB", (8, 6), "white")
    photo.paste((0, 0, 0), (0, 0, 4, 6))
    exif = Image.Exif()
    exif[0x0112] = 6  # held upright: turn clockwise to see it
    photo.save(tmp_path / "phone.jpg", exif=exif)
    upright = read_image(tmp_path / "phone.jpg")
    assert upright.shape == (8, 6, 3) and upright[:3].max() < 30 and upright[5:].min() > 225
    Image.new("LA", (2, 2), (0, 51)).save(tmp_path / "glass.png")
    assert np.all(read_image(tmp_path / "glass.png") == 204)
    assert np.all(read_image(saved_grey(tmp_path / "grey.png")) == 77)


def saved_grey(path):
    Image.new("L", (2, 2), 77).save(path)
    return path


def test_read_image_refuses_16_bits_and_missing_files(tmp_path):
    Image.fromarray(np.full((2, 2), 60000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep\.png.*8-bit"):
        read_image(tmp_path / "deep.png")
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        read_image(tmp_path / "none.png")


# --- what is no video


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.mp4"):
        open_frames(tmp_path / "none.mp4")


@pytest.mark.parametrize("content", [b"", b"just some text\n" * 40, bytes(5000)])
def test_other_files_called_mp4(tmp_path, content):
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(ValueError, match=r"clip\.mp4 is no video"):
        open_frames(tmp_path / "clip.mp4")


def test_a_video_cut_off_before_its_index(tmp_path):
    data = write_clip(tmp_path / "clip.mp4", clip()).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[:300])
    with pytest.raises(ValueError, match=r"cut\.mp4"):
        open_frames(tmp_path / "cut.mp4")


def test_damage_on_the_way_is_an_error_and_not_a_shorter_video(tmp_path):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (64, 64, 3)).astype(np.uint8) for _ in range(20)]
    path = encode(tmp_path / "clip.avi", noise, "png", "rgb24")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 20000] = bytes(20000)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"clip\.avi is damaged and can't be decoded after \d+ frames"):
        list(open_frames(path))


def test_sound_without_a_picture(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", 44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match=r"sound\.mp4 has no picture"):
        open_frames(tmp_path / "sound.mp4")


def test_a_playlist_can_not_read_other_files(tmp_path):
    write_clip(tmp_path / "private.mp4", clip())
    (tmp_path / "upload.mp4").write_text("ffconcat version 1.0\nfile 'private.mp4'\n")
    with pytest.raises(ValueError, match=r"upload\.mp4 is no video"):
        open_frames(tmp_path / "upload.mp4")


def test_a_single_picture_is_no_video(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.jpg")
    with pytest.raises(ValueError, match=r"photo\.jpg is no video"):
        open_frames(tmp_path / "photo.jpg")
