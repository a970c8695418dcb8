"""From a DAVIS folder to its tables: predictions written, resumed, scored, and every mistake named."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from ranet_edu.datasets.davis import DavisDataset
from ranet_edu.evaluation import benchmark
from ranet_edu.evaluation.benchmark import (
    MEASURES,
    ObjectResult,
    Results,
    comparison_table,
    evaluate,
    format_table,
    predict,
    read_scores,
    score_frame,
    score_predictions,
    write_results,
)
from ranet_edu.evaluation.published import TABLE_1, TABLE_2
from ranet_edu.video.masks import read_mask, write_mask

SIZE = (30, 40)
FRAMES = 6
OBJECTS = {"bear": 1, "camel": 2, "dog": 3}


def true_labels(sequence, number):
    """Objects 1 ... n in a row, which grow to the right from frame to frame."""
    labels = np.zeros(SIZE, np.uint8)
    for label in range(1, OBJECTS[sequence] + 1):
        labels[5:20, 12 * (label - 1) + 1 : 12 * (label - 1) + 5 + number] = label
    return labels


@pytest.fixture
def root(tmp_path):
    """A DAVIS folder of three sequences with one, two and three objects."""
    root = tmp_path / "DAVIS"
    for sequence in OBJECTS:
        frames, annotations = (root / kind / "480p" / sequence for kind in ("JPEGImages", "Annotations"))
        frames.mkdir(parents=True)
        for number in range(FRAMES):
            Image.new("RGB", SIZE[::-1], (40 * number, 0, 0)).save(frames / f"{number:05d}.jpg")
            write_mask(annotations / f"{number:05d}.png", true_labels(sequence, number))
    for year in ("2016", "2017"):
        (root / "ImageSets" / year).mkdir(parents=True)
        (root / "ImageSets" / year / "val.txt").write_text("\n".join(OBJECTS))
    return root


@pytest.fixture(params=["2016", "2017"])
def dataset(root, request):
    return DavisDataset(root, request.param, "val")


@pytest.fixture
def dataset_2017(root):
    return DavisDataset(root, "2017", "val")


def write_predictions(dataset, folder, change=lambda labels, sequence, number: labels):
    """The true annotations, changed, as predictions of all frames."""
    for sequence in dataset:
        for number, path in enumerate(sequence.annotation_paths):
            write_mask(folder / sequence.name / path.name, change(read_mask(path), sequence.name, number))
    return folder


def score(dataset, folder):
    return score_predictions(dataset, folder, progress=False)


def keep_first(frames, first_mask):
    """A segmenter that answers every frame with the first mask."""
    for _ in frames:
        yield first_mask


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_true_masks_score_100_percent(dataset, tmp_path):
    results = score(dataset, write_predictions(dataset, tmp_path / "out"))
    assert results.overall == (1, 1, 1, 0, 1, 1, 0)
    assert all(scores == (1, 1, 1, 0, 1, 1, 0) for scores in results.per_object.values())


def test_names_of_rows(root, tmp_path):
    folder = write_predictions(DavisDataset(root, "2017"), tmp_path / "out")
    assert list(score(DavisDataset(root, "2016"), folder).per_object) == ["bear", "camel", "dog"]
    names = ["bear_1", "camel_1", "camel_2", "dog_1", "dog_2", "dog_3"]
    assert list(score(DavisDataset(root, "2017"), folder).per_object) == names


def test_shifted_masks_score_as_pixel_loops_do(dataset, tmp_path, naive):
    def shifted(labels, sequence, number):
        return np.roll(labels, (2, number), axis=(0, 1))

    results = score(dataset, write_predictions(dataset, tmp_path / "out", shifted))
    for item in results.objects:
        sequence = dataset[item.sequence]
        assert item.region.shape == item.boundary.shape == (FRAMES - 2,)
        for row, number in enumerate(range(1, FRAMES - 1)):
            labels = true_labels(item.sequence, number)
            labels = labels > 0 if sequence.single_object else labels == item.object_id
            predicted = shifted(labels, item.sequence, number)
            assert item.region[row] == naive.region(predicted, labels)
            assert item.boundary[row] == naive.boundary(predicted, labels)


def test_the_first_and_the_last_frame_do_not_count(dataset, tmp_path):
    def wrong_at_both_ends(labels, sequence, number):
        return np.zeros_like(labels) if number in (0, FRAMES - 1) else labels

    folder = write_predictions(dataset, tmp_path / "out", wrong_at_both_ends)
    assert score(dataset, folder).overall.jf_mean == 1
    for sequence in dataset:
        for name in ("00000.png", f"{FRAMES - 1:05d}.png"):
            (folder / sequence.name / name).unlink()
    assert score(dataset, folder).overall.jf_mean == 1


def test_the_split_is_a_mean_over_objects_not_sequences(dataset_2017, tmp_path):
    def dogs_missed(labels, sequence, number):
        return np.zeros_like(labels) if sequence == "dog" else labels

    overall = score(dataset_2017, write_predictions(dataset_2017, tmp_path / "out", dogs_missed)).overall
    assert overall.j_mean == overall.f_mean == overall.jf_mean == pytest.approx(3 / 6)


def test_statistics_of_an_object():
    region, boundary = np.array([0.9, 0.7, 0.5, 0.2]), np.array([0.8, 0.8, 0.6, 0.6])
    scores = ObjectResult("bear", 1, region, boundary).scores
    assert scores.j_mean == pytest.approx(0.575)
    assert scores.f_mean == pytest.approx(0.7)
    assert scores.jf_mean == pytest.approx((0.575 + 0.7) / 2)
    assert (scores.j_recall, scores.f_recall) == (0.5, 1)
    # Quarters of four frames, ends included and rounded up at a half: frames 0-1 and 2-3.
    assert scores.j_decay == pytest.approx(0.8 - 0.35)
    assert scores.f_decay == pytest.approx(0.8 - 0.6)


def test_missing_objects_are_empty_masks(dataset_2017, tmp_path):
    def without_the_last(labels, sequence, number):
        return np.where(labels == OBJECTS[sequence], 0, labels)

    per_object = score(dataset_2017, write_predictions(dataset_2017, tmp_path / "out", without_the_last)).per_object
    assert {name: scores.j_mean for name, scores in per_object.items()} == {
        "bear_1": 0, "camel_1": 1, "camel_2": 0, "dog_1": 1, "dog_2": 1, "dog_3": 0,
    }  # fmt: skip


def test_an_object_gone_from_both_masks_is_right(dataset_2017, tmp_path):
    """Present in the first annotation, hidden afterwards: predicting nothing scores 1, predicting something 0."""
    bear = dataset_2017["bear"]
    for path in bear.annotation_paths[1:]:
        write_mask(path, np.zeros(SIZE, np.uint8))
    folder = write_predictions(dataset_2017, tmp_path / "out")
    assert score(dataset_2017, folder).per_object["bear_1"].jf_mean == 1
    write_mask(folder / "bear" / "00002.png", true_labels("bear", 2))
    assert score(dataset_2017, folder).per_object["bear_1"].jf_mean == pytest.approx(1 - 1 / (FRAMES - 2))


def test_a_label_too_many_names_the_file(root, tmp_path):
    def one_more(labels, sequence, number):
        if (sequence, number) == ("camel", 3):
            labels[0, 0] = 7
        return labels

    folder = write_predictions(DavisDataset(root, "2017"), tmp_path / "out", one_more)
    with pytest.raises(ValueError, match="camel/00003.png holds the label 7, but sequence camel has 2 objects"):
        score(DavisDataset(root, "2017"), folder)
    # In DAVIS 2016 every label belongs to the one object.
    assert score(DavisDataset(root, "2016"), folder).per_object["camel"].j_mean < 1


def test_predictions_may_be_black_and_white(root, tmp_path):
    dataset = DavisDataset(root, "2016")
    folder = write_predictions(dataset, tmp_path / "out")
    for path in folder.glob("*/*.png"):
        Image.fromarray((read_mask(path) > 0).astype(np.uint8) * 255).save(path)
    assert score(dataset, folder).overall.jf_mean == 1


def test_what_can_not_be_scored_is_named(dataset, tmp_path):
    with pytest.raises(FileNotFoundError, match="no predictions at .*nowhere"):
        score(dataset, tmp_path / "nowhere")
    folder = write_predictions(dataset, tmp_path / "out")
    path = folder / "camel" / "00002.png"
    path.write_bytes(b"no image")
    with pytest.raises(ValueError, match="camel/00002.png"):
        score(dataset, folder)
    write_mask(path, np.ones((15, 20), np.uint8))
    with pytest.raises(ValueError, match="camel/00002.png is 20 x 15, but sequence camel is 40 x 30"):
        score(dataset, folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="prediction .*camel/00002.png is missing"):
        score(dataset, folder)


def test_a_sequence_of_two_frames_has_nothing_to_score(root, tmp_path):
    for kind in ("JPEGImages", "Annotations"):
        for path in sorted((root / kind / "480p" / "dog").iterdir())[2:]:
            path.unlink()
    with pytest.raises(ValueError, match="dog has no frame to score"):
        score(DavisDataset(root, "2016"), root)


def test_score_frame_gives_j_and_f_of_each_object():
    true, predicted = true_labels("dog", 2), true_labels("dog", 2)
    predicted[predicted == 2] = 0
    np.testing.assert_array_equal(score_frame(predicted, true, 3), [(1, 1), (0, 0), (1, 1)])


def test_evaluate_writes_predictions_and_tables(dataset, tmp_path, naive):
    out = tmp_path / "out"
    results = evaluate(dataset, keep_first, out, progress=False, run={"weights": "none"})
    for sequence in dataset:
        names = sorted(path.name for path in (out / sequence.name).iterdir())
        assert names == [f"{number:05d}.png" for number in range(FRAMES)]
        with Image.open(out / sequence.name / names[-1]) as image:
            assert image.mode == "P"
        np.testing.assert_array_equal(read_mask(out / sequence.name / names[-1]), sequence.read_annotation(0))
    assert results.overall == score(dataset, out).overall
    region = [naive.region(true_labels("bear", 0), true_labels("bear", number)) for number in range(1, FRAMES - 1)]
    np.testing.assert_array_equal(results.objects[0].region, region)

    header, *rows = read_csv(out / "per_sequence.csv")
    assert header == ["Sequence", *MEASURES]
    assert [row[0] for row in rows] == list(results.per_object)
    for row, scores in zip(rows, results.per_object.values(), strict=True):
        np.testing.assert_allclose([float(cell) for cell in row[1:]], scores, atol=5e-7)
    header, values = read_csv(out / "global.csv")
    assert header == ["J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay"]
    np.testing.assert_allclose([float(cell) for cell in values], results.overall, atol=5e-7)
    expected = {"year": dataset.year, "resolution": "480p", "weights": "none"}
    assert json.loads((out / "run.json").read_text()) == expected


def test_segment_gets_all_frames_in_order_and_the_first_mask(dataset, tmp_path):
    seen = []

    def segment(frames, first_mask):
        for number, frame in enumerate(frames):
            assert frame.shape == (*SIZE, 3) and frame.dtype == np.uint8
            seen.append(round(frame[0, 0, 0] / 40))
            yield first_mask if number == 0 else np.zeros_like(first_mask)

    predict(dataset, segment, tmp_path, progress=False)
    assert seen == list(range(FRAMES)) * 3
    first = read_mask(tmp_path / "dog" / "00000.png")
    np.testing.assert_array_equal(first, true_labels("dog", 0) > 0 if dataset.year == "2016" else true_labels("dog", 0))


def test_segment_may_use_its_array_again(dataset_2017, tmp_path):
    def segment(frames, first_mask):
        labels = np.zeros_like(first_mask)
        for number, _ in enumerate(frames):
            labels[:] = number % 2
            yield labels

    predict(dataset_2017, segment, tmp_path, progress=False)
    assert [read_mask(tmp_path / "bear" / f"{number:05d}.png").max() for number in range(4)] == [0, 1, 0, 1]


def test_a_stopped_run_goes_on_with_the_sequence_it_was_in(dataset_2017, tmp_path):
    started = []

    def segment(frames, first_mask):
        started.append(int(first_mask.max()))
        for number, _ in enumerate(frames):
            if len(started) == 2 and number == 3:
                raise KeyboardInterrupt
            yield first_mask

    with pytest.raises(KeyboardInterrupt):
        predict(dataset_2017, segment, tmp_path, progress=False)
    assert len(list((tmp_path / "bear").iterdir())) == FRAMES
    assert len(list((tmp_path / "camel").iterdir())) == 3
    predict(dataset_2017, segment, tmp_path, progress=False)
    # bear (1 object) once, camel (2) twice, dog (3) once; another call has nothing to do.
    assert started == [1, 2, 2, 3]
    predict(dataset_2017, segment, tmp_path, progress=False)
    assert started == [1, 2, 2, 3]
    assert all(len(list((tmp_path / name).iterdir())) == FRAMES for name in OBJECTS)


@pytest.mark.parametrize("damage", ["delete", "truncate", "resize"])
def test_a_damaged_prediction_is_made_again(dataset_2017, tmp_path, damage):
    predict(dataset_2017, keep_first, tmp_path, progress=False)
    path = tmp_path / "camel" / "00004.png"
    before = path.read_bytes()
    if damage == "delete":
        path.unlink()
    elif damage == "truncate":
        path.write_bytes(before[: len(before) // 2])
    else:
        write_mask(path, np.zeros((3, 4), np.uint8))
    predict(dataset_2017, keep_first, tmp_path, progress=False)
    assert path.read_bytes() == before


def test_another_run_may_not_go_on_in_the_same_folder(dataset_2017, tmp_path):
    options = {"weights": "lite", "options": {"size": (240, 432)}}
    predict(dataset_2017, keep_first, tmp_path, progress=False, run=options)
    predict(dataset_2017, keep_first, tmp_path, progress=False, run=options)
    with pytest.raises(ValueError, match=r"another run \(weights 'lite', now 'paper'\); choose another folder"):
        predict(dataset_2017, keep_first, tmp_path, progress=False, run={**options, "weights": "paper"})
    with pytest.raises(ValueError, match="another run .options"):
        predict(dataset_2017, keep_first, tmp_path, progress=False, run={**options, "options": {}})
    with pytest.raises(ValueError, match="another run .weights 'lite', now None"):
        predict(dataset_2017, keep_first, tmp_path, progress=False)
    with pytest.raises(ValueError, match="year '2017', now '2016'"):
        predict(DavisDataset(dataset_2017.root, "2016"), keep_first, tmp_path, progress=False, run=options)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match="run.json is damaged"):
        predict(dataset_2017, keep_first, tmp_path, progress=False, run=options)


def test_a_run_that_failed_before_its_first_prediction_keeps_no_folder(dataset_2017, tmp_path):
    def fail(frames, first_mask):
        raise ValueError("no such precision")

    options = {"weights": "lite", "options": {"precision": "half"}}
    with pytest.raises(ValueError, match="no such precision"):
        predict(dataset_2017, fail, tmp_path, progress=False, run=options)
    predict(dataset_2017, keep_first, tmp_path, progress=False, run={**options, "options": {}})
    assert json.loads((tmp_path / "run.json").read_text())["options"] == {}


def test_predictions_of_all_frames_are_not_those_of_every_second(dataset_2017, tmp_path):
    """The objects have moved twice as far, so the masks are others."""
    predict(dataset_2017, keep_first, tmp_path / "all", progress=False)
    with pytest.raises(ValueError, match=r"another run \(every None, now 2\)"):
        predict(dataset_2017.every(2), keep_first, tmp_path / "all", progress=False)
    predict(dataset_2017.every(2), keep_first, tmp_path / "second", progress=False)
    with pytest.raises(ValueError, match=r"another run \(every 2, now None\)"):
        predict(dataset_2017, keep_first, tmp_path / "second", progress=False)


def test_predictions_of_another_split_keep_their_record(root, tmp_path):
    splits = []
    for name in ("bear", "camel"):
        (tmp_path / f"{name}.txt").write_text(name)
        splits.append(DavisDataset(root, "2017", tmp_path / f"{name}.txt"))
    predict(splits[0], keep_first, tmp_path / "out", progress=False, run={"weights": "lite"})
    with pytest.raises(ValueError, match="another run .weights 'lite', now 'paper'"):
        predict(splits[1], keep_first, tmp_path / "out", progress=False, run={"weights": "paper"})


def test_predictions_of_unknown_origin_are_not_continued(dataset_2017, tmp_path):
    write_predictions(dataset_2017, tmp_path)
    with pytest.raises(ValueError, match="predictions of bear but no run.json"):
        predict(dataset_2017, keep_first, tmp_path, progress=False)


@pytest.mark.parametrize("change, message", [
    (lambda maps: maps[:-1], "gave 5 label maps for the 6 frames of bear"),
    (lambda maps: maps + maps, "gave label map 7 of sequence bear .* has 6 frames"),
    (lambda maps: [labels[:-1] for labels in maps], r"gave label map 1 of sequence bear with the shape \(29, 40\)"),
    (lambda maps: [labels.astype(np.float32) for labels in maps], "integers, not float32"),
])  # fmt: skip
def test_wrong_label_maps_are_refused(dataset_2017, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        predict(dataset_2017, lambda frames, mask: change([mask for _ in frames]), tmp_path, progress=False)


def test_evaluate_refuses_before_it_segments(root, tmp_path):
    def segment(frames, first_mask):
        pytest.fail("segmented what can't be scored")

    annotations = root / "Annotations" / "480p" / "dog"
    (annotations / "00003.png").unlink()
    with pytest.raises(FileNotFoundError, match="dog can't be scored: its annotation .*00003.png is missing"):
        evaluate(DavisDataset(root, "2016"), segment, tmp_path / "out", progress=False)
    for name in ("00000.png", "00003.png"):
        write_mask(annotations / name, np.zeros(SIZE, np.uint8))
    with pytest.raises(ValueError, match="dog/00000.png shows no object"):
        evaluate(DavisDataset(root, "2016"), segment, tmp_path / "out", progress=False)


def test_progress_is_shown_unless_told_not_to(dataset_2017, tmp_path, capsys):
    evaluate(dataset_2017, keep_first, tmp_path / "out")
    shown = capsys.readouterr().err
    assert "segmenting" in shown and "18/18" in shown and "scoring" in shown and "12/12" in shown
    evaluate(dataset_2017, keep_first, tmp_path / "out", progress=False)
    assert capsys.readouterr().err == ""


def results_of(year, split="val"):
    item = ObjectResult("bear", 1, np.full(4, 0.8125), np.full(4, 0.25))
    return Results(year, split, (item,))


def test_table_stands_beside_the_papers():
    table = format_table(results_of("2016"))
    lines = table.splitlines()
    assert lines[0].split()[:3] == ["Method", "OL", "ms/frame"]
    assert len({len(line) for line in lines[:22]}) == 1
    ranet = next(line for line in lines if line.startswith("RANet "))
    assert ranet.split() == ["RANet", "no", "33", "85.5", "85.5", "97.2", "6.2", "85.4", "94.9", "5.1"]
    ours = next(line for line in lines if line.startswith("this run"))
    assert ours.split()[-7:] == ["53.1", "81.2", "100.0", "0.0", "25.0", "0.0", "0.0"]
    assert "Table 1, as published, on DAVIS-2016 val." in table


def test_table_says_when_splits_differ():
    assert "on DAVIS-2016 val, another split than this run" in format_table(results_of("2016", "train"))
    assert "this run, DAVIS-2016 mine.txt" in format_table(results_of("2016", "some/where/mine.txt"))


def test_table_of_2017_shows_what_the_paper_has():
    table = format_table(results_of("2017"))
    ranet = next(line for line in table.splitlines() if line.startswith("RANet "))
    assert ranet.split() == ["RANet", "no", "-", "65.7", "63.2", "-", "-", "-", "-", "-"]
    assert "Table 3, as published, on DAVIS-2017 val." in table


def test_table_without_the_papers_rows():
    table = format_table(results_of("2016"), published=False)
    assert "OSVOS" not in table and "Table 1" not in table and "this run" in table


def test_tables_appear_whole_or_not_at_all(tmp_path, monkeypatch):
    folder = tmp_path / "new" / "folder"
    write_results(results_of("2016"), folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(before) == ["global.csv", "per_sequence.csv"]

    class BreaksOff:
        def __init__(self, file, **options):
            self.file = file

        def writerows(self, rows):
            self.file.write("half of it")
            raise OSError("No space left on device")

    monkeypatch.setattr(benchmark.csv, "writer", BreaksOff)
    with pytest.raises(OSError, match="No space left"):
        write_results(results_of("2017"), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.fixture(params=[("DAVIS", "2016", "dog-agility"), ("multi_object", "2017", "dogs_jump")])
def real_dataset(request, shared_data, tmp_path):
    """One real sequence: a single object at 480p, three objects at 240p."""
    folder, year, name = request.param
    (tmp_path / "one.txt").write_text(name)
    return DavisDataset(shared_data / folder, year, tmp_path / "one.txt")


def test_true_masks_of_real_sequences_score_100_percent(real_dataset):
    assert score(real_dataset, real_dataset.root / "Annotations" / "480p").overall == (1, 1, 1, 0, 1, 1, 0)


def test_shifted_masks_of_real_sequences_score_as_pixel_loops_do(real_dataset, tmp_path, naive):
    sequence = real_dataset[0]

    def shifted(frames, first_mask):
        for number, _ in enumerate(frames):
            yield np.roll(sequence.read_annotation(number), 5, axis=1)

    results = evaluate(real_dataset, shifted, tmp_path / "out", progress=False)
    for item in results.objects[:2]:
        true = sequence.read_annotation(12) == item.object_id
        assert item.region[11] == naive.region(np.roll(true, 5, axis=1), true)
        assert item.boundary[11] == naive.boundary(np.roll(true, 5, axis=1), true)
    assert 0.4 < results.overall.jf_mean < 0.99


def test_scores_are_read_as_they_were_written(tmp_path):
    results = results_of("2016")
    write_results(results, tmp_path)
    assert read_scores(tmp_path / "per_sequence.csv") == results.per_object


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "HEADER\n", "HEADER\nbear,1,2\n", "HEADER\nbear,a,b,c,d,e,f,g\n"])
def test_a_damaged_table_of_scores_is_named(tmp_path, text):
    path = tmp_path / "scores.csv"
    path.write_text(text.replace("HEADER", ",".join(["Sequence", *MEASURES])))
    with pytest.raises(ValueError, match=r"scores\.csv"):
        read_scores(path)


def test_a_missing_table_of_scores_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="per_sequence.csv"):
        read_scores(tmp_path / "none.csv")


def test_comparison_has_the_columns_of_the_papers_table():
    lines = comparison_table(TABLE_2, {"ours, six clips": results_of("2016").overall}).splitlines()
    assert lines[0].split() == ["Method", "J", "Mean", "J", "Recall", "J", "Decay"]
    assert lines[7].split() == ["RANet", "83.2", "94.2", "9.3"]
    assert set(lines[9]) == {"-"}
    assert lines[10].split()[-3:] == ["81.2", "100.0", "0.0"]
    assert "Table 2, as published, on DAVIS-2016 trainval. Below: measured here." in lines[11]


def test_comparison_without_measurements_is_the_papers_table():
    table = comparison_table(TABLE_1, {})
    assert "measured" not in table and table.splitlines()[1].strip("-") == "" and len(table.splitlines()) == 22
