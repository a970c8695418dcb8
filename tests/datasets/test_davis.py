"""DAVIS folders of both years: what is read from them, and what is said where they are incomplete."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from ranet_edu.datasets import davis
from ranet_edu.datasets.davis import SPLITS, DavisDataset, find_clips, read_split
from ranet_edu.video.masks import write_mask

SIZE = (24, 32)


def labels_of(number, labels=(1, 2)):
    """A label map whose objects move one pixel per frame."""
    array = np.zeros(SIZE, np.uint8)
    for position, label in enumerate(labels):
        array[4:10, 2 + 8 * position + number : 8 + 8 * position + number] = label
    return array


def add_sequence(root, name, frames=4, labels=(1, 2), write=write_mask):
    for number in range(frames):
        for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
            path = root / kind / "480p" / name / f"{number:05d}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "JPEGImages":
                Image.new("RGB", SIZE[::-1], (50 * number, 10, 20)).save(path)
            else:
                write(path, labels_of(number, labels))


def add_split(root, folder, name, lines):
    path = root / "ImageSets" / folder / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def root(tmp_path):
    """DAVIS 2017: bear and camel in val, dog in train."""
    for name in ("bear", "camel", "dog"):
        add_sequence(tmp_path, name)
    add_split(tmp_path, "2017", "val", ["camel", "bear"])
    add_split(tmp_path, "2017", "train", ["dog"])
    add_split(tmp_path, "2016", "val", ["bear"])
    return tmp_path


def test_2017_reads_frames_and_labels_in_the_split_files_order(root):
    dataset = DavisDataset(root, year="2017", split="val")
    assert [sequence.name for sequence in dataset] == ["camel", "bear"]
    bear = dataset["bear"]
    assert (len(bear), bear.size, bear.object_count) == (4, SIZE, 2)
    assert [path.name for path in bear.frame_paths] == ["00000.jpg", "00001.jpg", "00002.jpg", "00003.jpg"]
    assert [path.name for path in bear.annotation_paths] == ["00000.png", "00001.png", "00002.png", "00003.png"]
    frame = bear.read_frame(3)
    assert frame.dtype == np.uint8 and frame.shape == (*SIZE, 3)
    assert abs(int(frame[5, 5, 0]) - 150) < 5
    np.testing.assert_array_equal(bear.read_annotation(3), labels_of(3))
    assert [int(frame[0, 0, 0]) // 40 for frame in bear.frames()] == [0, 1, 2, 3]


def test_2016_merges_all_labels_into_one_object(root):
    bear = DavisDataset(root, year="2016", split="val")["bear"]
    assert bear.object_count == 1
    np.testing.assert_array_equal(bear.read_annotation(2), labels_of(2) > 0)


def test_masks_of_the_2016_archive_are_grey_0_and_255(root):
    def write_grey(path, labels):
        Image.fromarray((labels > 0).astype(np.uint8) * 255).save(path)

    add_sequence(root, "bear", labels=(1,), write=write_grey)
    bear = DavisDataset(root, year="2016", split="val")[0]
    annotation = bear.read_annotation(1)
    assert annotation.dtype == np.uint8 and bear.object_count == 1
    np.testing.assert_array_equal(annotation, labels_of(1, (1,)))


@pytest.fixture
def soft(root):
    """The same folder, the masks of bear with soft edges."""

    def write_soft(path, labels):
        hard = Image.fromarray((labels > 0).astype(np.uint8) * 255)
        hard.filter(ImageFilter.GaussianBlur(0.7)).save(path)

    add_sequence(root, "bear", labels=(1,), write=write_soft)
    return root


def test_soft_edges_belong_to_the_one_object_of_2016(soft):
    annotation = DavisDataset(soft, year="2016", split="val")["bear"].read_annotation(0)
    assert set(np.unique(annotation)) == {0, 1} and np.all(annotation >= labels_of(0, (1,)))


def test_soft_edges_are_no_labels_of_2017(soft):
    with pytest.raises(ValueError, match=r"bear/00000\.png has \d+ grey levels"):
        DavisDataset(soft, year="2017", split="val")["bear"].read_annotation(0)


def test_void_is_background_in_2017(root):
    add_sequence(root, "bear", labels=(1, 255, 2))
    bear = DavisDataset(root, year="2017", split="val")["bear"]
    assert bear.object_count == 2
    np.testing.assert_array_equal(bear.read_annotation(0), labels_of(0, (1, 0, 2)))


def test_split_files_of_the_2016_archive_list_paths(root):
    lines = [
        f"/JPEGImages/480p/{name}/{number:05d}.jpg /Annotations/480p/{name}/{number:05d}.png"
        for name in ("dog", "camel")
        for number in range(4)
    ]
    add_split(root, "480p", "trainval", lines)
    dataset = DavisDataset(root, year="2016", split="trainval")
    assert [sequence.name for sequence in dataset] == ["dog", "camel"]
    # Where both forms name a split, the folder of the year counts.
    add_split(root, "480p", "val", lines)
    assert [sequence.name for sequence in DavisDataset(root, year="2016", split="val")] == ["bear"]


def test_a_split_may_be_any_text_file_or_all(root, tmp_path):
    file = add_split(tmp_path, "mine", "few", ["dog", "", "bear", "dog"])
    assert read_split(file) == ["dog", "bear"]
    for split in (file, str(file)):
        assert [sequence.name for sequence in DavisDataset(root, "2017", split)] == ["dog", "bear"]
    assert [sequence.name for sequence in DavisDataset(root, "2017", "all")] == ["bear", "camel", "dog"]


def test_splits_that_come_with_the_repository_stand_in_for_missing_ones(root):
    names = read_split(SPLITS / "minival.txt")
    for name in names:
        add_sequence(root, name)
    assert len(names) == 6 and [sequence.name for sequence in DavisDataset(root, "2016", "minival")] == names
    assert not set(names) & set(read_split(SPLITS / "minitrain.txt"))
    add_split(root, "2016", "minival", ["bear"])
    assert [sequence.name for sequence in DavisDataset(root, "2016", "minival")] == ["bear"]


def test_a_split_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "few.txt").write_text("bear\ndog\n", encoding="utf-8-sig")
    assert read_split(tmp_path / "few.txt") == ["bear", "dog"]


def test_a_split_in_another_encoding_is_named(tmp_path):
    (tmp_path / "few.txt").write_text("bear\ndog\n", encoding="utf-16")  # what > makes in Windows' PowerShell
    with pytest.raises(ValueError, match=r"few\.txt is no text in UTF-8"):
        read_split(tmp_path / "few.txt")


def test_a_name_in_a_split_may_have_blanks(root):
    add_sequence(root, "my dog")
    add_split(root, "2017", "mine", ["my dog  ", "bear"])
    assert [sequence.name for sequence in DavisDataset(root, "2017", "mine")] == ["my dog", "bear"]


def test_hidden_folders_are_no_sequences(root):
    (root / "JPEGImages" / "480p" / ".ipynb_checkpoints").mkdir()
    assert [sequence.name for sequence in DavisDataset(root, "2017", "all")] == ["bear", "camel", "dog"]


def test_all_needs_no_image_sets(tmp_path):
    add_sequence(tmp_path, "bear")
    assert [sequence.name for sequence in DavisDataset(tmp_path, "2017", "all")] == ["bear"]


def test_datasets_index_like_a_list_and_by_name(root):
    dataset = DavisDataset(root, "2017", "val")
    assert len(dataset) == 2 and dataset[-1] is dataset["bear"] and dataset[:1] == [dataset["camel"]]
    with pytest.raises(KeyError, match="no sequence dog.*camel, bear"):
        dataset["dog"]
    with pytest.raises(IndexError):
        dataset[2]


def test_hidden_files_are_no_frames(root):
    (root / "JPEGImages" / "480p" / "bear" / "._00000.jpg").write_bytes(b"what macOS leaves behind")
    assert len(DavisDataset(root, "2017", "val")["bear"]) == 4


def test_only_the_first_annotation_is_needed_until_another_is_read(root):
    """As in test-dev."""
    for number in (1, 2, 3):
        (root / "Annotations" / "480p" / "bear" / f"{number:05d}.png").unlink()
    bear = DavisDataset(root, "2017", "val")["bear"]
    assert len(bear) == 4 and bear.object_count == 2
    with pytest.raises(FileNotFoundError, match="bear has no annotation of frame 00002"):
        bear.read_annotation(2)


def test_missing_folders_are_named(root, tmp_path):
    with pytest.raises(FileNotFoundError, match="no DAVIS at .*nowhere.*ranet-edu data davis"):
        DavisDataset(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no resolution 1080p.*there is 480p"):
        DavisDataset(root, "2017", "val", resolution="1080p")
    with pytest.raises(FileNotFoundError, match="no split test of DAVIS 2017.*there is all, train, val"):
        DavisDataset(root, "2017", "test")
    with pytest.raises(FileNotFoundError, match="no split .*mine.txt"):
        DavisDataset(root, "2017", tmp_path / "mine.txt")
    with pytest.raises(FileNotFoundError, match="no folder JPEGImages; name the folder"):
        DavisDataset(root / "ImageSets")
    with pytest.raises(ValueError, match="2016 and 2017, not 2018"):
        DavisDataset(root, "2018")


def test_the_folder_above_is_a_common_mistake(tmp_path):
    add_sequence(tmp_path / "DAVIS", "bear")
    with pytest.raises(FileNotFoundError, match="did you mean .*DAVIS"):
        DavisDataset(tmp_path, "2017", "all")


def test_an_empty_split_and_an_unknown_sequence_are_refused(root):
    add_split(root, "2017", "none", [""])
    with pytest.raises(ValueError, match="none.txt names no sequence"):
        DavisDataset(root, "2017", "none")
    (root / "JPEGImages" / "other").mkdir()
    (root / "Annotations" / "other").mkdir()
    with pytest.raises(ValueError, match="other holds no sequence"):
        DavisDataset(root, "2017", "all", resolution="other")
    add_split(root, "2017", "wrong", ["bear", "unicorn"])
    with pytest.raises(FileNotFoundError, match="unicorn"):
        DavisDataset(root, "2017", "wrong")


def test_a_sequence_without_first_annotation_is_refused(root):
    (root / "Annotations" / "480p" / "bear" / "00000.png").unlink()
    with pytest.raises(FileNotFoundError, match="bear has no first annotation: .*00000.png"):
        DavisDataset(root, "2017", "val")


def test_a_missing_frame_is_named(root):
    (root / "JPEGImages" / "480p" / "bear" / "00002.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="frame 00002 of .*bear is missing"):
        DavisDataset(root, "2017", "val")
    (root / "Annotations" / "480p" / "bear" / "00002.png").unlink()
    with pytest.raises(FileNotFoundError, match="missing after 00001.jpg"):
        DavisDataset(root, "2017", "val")


def test_frames_may_be_numbered_in_steps(tmp_path):
    add_sequence(tmp_path, "bear", frames=4)
    for kind in ("JPEGImages", "Annotations"):
        for path in sorted((tmp_path / kind / "480p" / "bear").iterdir(), reverse=True):
            path.rename(path.with_stem(f"{5 * int(path.stem):05d}"))
    bear = DavisDataset(tmp_path, "2017", "all")[0]
    assert bear.frame_paths[1].name == "00005.jpg" and bear.read_annotation(1).any()


@pytest.mark.parametrize("prefix", ["", "frame"])
def test_frames_numbered_without_leading_zeros_keep_their_order(tmp_path, prefix):
    add_sequence(tmp_path, "bear", frames=12)
    for kind in ("JPEGImages", "Annotations"):
        for path in list((tmp_path / kind / "480p" / "bear").iterdir()):
            path.rename(path.with_stem(f"{prefix}{int(path.stem) + 1}"))
    bear = DavisDataset(tmp_path, "2017", "all")["bear"]
    assert [path.stem for path in bear.frame_paths] == [f"{prefix}{number}" for number in range(1, 13)]
    np.testing.assert_array_equal(bear.read_annotation(9), labels_of(9))


def test_a_first_annotation_without_objects_is_refused(root):
    add_sequence(root, "bear", labels=())
    for year in ("2016", "2017"):
        with pytest.raises(ValueError, match="00000.png shows no object"):
            _ = DavisDataset(root, year, "val")["bear"].object_count


def test_corrupt_and_resized_files_are_named(root):
    folder = root / "JPEGImages" / "480p" / "bear"
    path = folder / "00001.jpg"
    path.write_bytes(path.read_bytes()[:200])
    Image.new("RGB", (10, 12)).save(folder / "00002.jpg")
    annotation = root / "Annotations" / "480p" / "bear" / "00003.png"
    write_mask(annotation, np.zeros((12, 10), np.uint8))
    bear = DavisDataset(root, "2017", "val")["bear"]
    with pytest.raises(ValueError, match="bear/00001.jpg"):
        bear.read_frame(1)
    with pytest.raises(ValueError, match="bear/00002.jpg is 10 x 12, but sequence bear is 32 x 24"):
        bear.read_frame(2)
    with pytest.raises(ValueError, match="bear/00003.png is 10 x 12, but sequence bear is 32 x 24"):
        bear.read_annotation(3)
    annotation.write_bytes(b"no png")
    with pytest.raises(ValueError, match="00003.png"):
        bear.read_annotation(3)


# --- the reader's DAVIS, or the sample clips


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Where downloads would lie: a folder that does not exist yet; and no DAVIS named."""
    monkeypatch.delenv("RANET_EDU_DAVIS", raising=False)
    monkeypatch.setattr(davis, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


@pytest.mark.parametrize(("year", "names"), [("2016", ["cat"]), ("2017", ["cat", "cat-coffee", "launch-pad"])])
def test_sample_clips_are_found_where_nothing_else_is(cache, repository, year, names):
    clips = find_clips(year)
    assert [clip.name for clip in clips] == names
    assert (clips.root, clips.year, clips.split) == (repository / "data" / "samples", year, "val")


def test_a_download_of_that_year_comes_before_the_samples(cache):
    add_sequence(cache / "DAVIS-2017", "bear")
    add_split(cache / "DAVIS-2017", "2017", "val", ["bear"])
    assert [clip.name for clip in find_clips("2017")] == ["bear"]
    assert [clip.name for clip in find_clips("2016")] == ["cat"]


def test_the_variable_comes_before_a_download(cache, root, monkeypatch):
    add_sequence(cache / "DAVIS-2016", "cow")
    add_split(cache / "DAVIS-2016", "2016", "val", ["cow"])
    monkeypatch.setenv("RANET_EDU_DAVIS", str(root))
    assert [clip.name for clip in find_clips()] == ["bear"]
    assert [clip.name for clip in find_clips("2017", split="train")] == ["dog"]
    monkeypatch.setenv("RANET_EDU_DAVIS", "")
    assert [clip.name for clip in find_clips()] == ["cow"]


def test_the_variable_may_name_the_folder_of_both_years(cache, monkeypatch):
    for year, name in (("2016", "bear"), ("2017", "camel")):
        add_sequence(cache / f"DAVIS-{year}", name)
        add_split(cache / f"DAVIS-{year}", year, "val", [name])
    monkeypatch.setenv("RANET_EDU_DAVIS", str(cache))
    assert [find_clips(year)[0].name for year in ("2016", "2017")] == ["bear", "camel"]


def test_a_wrong_variable_is_named_with_what_is_missing(cache, root, monkeypatch):
    monkeypatch.setenv("RANET_EDU_DAVIS", str(root / "nowhere"))
    with pytest.raises(FileNotFoundError, match="^RANET_EDU_DAVIS=.*nowhere: no DAVIS at .*nowhere.* unset it"):
        find_clips()
    monkeypatch.setenv("RANET_EDU_DAVIS", str(root))
    with pytest.raises(FileNotFoundError, match="^RANET_EDU_DAVIS=.*no split train of DAVIS 2016.*is all, .*, val"):
        find_clips("2016", split="train")
    with pytest.raises(ValueError, match="2016 and 2017, not 2018"):
        find_clips("2018")


def test_real_davis(shared_data):
    dataset = DavisDataset(shared_data / "DAVIS", year="2016", split="train")
    assert len(dataset) == 30
    assert sum(len(sequence) for sequence in dataset) == 2079
    flamingo = dataset["flamingo"]
    assert flamingo.read_frame(0).shape == (480, 854, 3)
    assert flamingo.object_count == 1 and set(np.unique(flamingo.read_annotation(5))) == {0, 1}


def test_real_objects(shared_data):
    dogs = DavisDataset(shared_data / "multi_object", year="2017", split="all")["dogs_jump"]
    assert (len(dogs), dogs.size, dogs.object_count) == (66, (240, 432), 3)


def test_every_second_frame_keeps_its_annotation(root):
    dataset = DavisDataset(root, year="2017", split="val")
    thinned = dataset.every(2)
    assert [sequence.name for sequence in thinned] == ["camel", "bear"]
    bear = thinned["bear"]
    for paths in (bear.frame_paths, bear.annotation_paths):
        assert [path.stem for path in paths] == ["00000", "00002"]
    np.testing.assert_array_equal(bear.read_annotation(1), labels_of(2))
    assert (thinned.split, thinned.year, len(dataset["bear"])) == ("val, 1 frame in 2", "2017", 4)
    assert (dataset.step, thinned.step, thinned.every(3).step) == (1, 2, 6)


def test_a_step_below_one_is_refused(root):
    with pytest.raises(ValueError, match="1 or more, not 0"):
        DavisDataset(root, year="2017", split="val").every(0)
