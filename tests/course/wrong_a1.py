"""Wrong answers to assignment 1: masks and metrics."""

from masters import Submission, WrongAnswer

# --- exercise 1: one mask for each object


def masks(body: str, message: str | None) -> WrongAnswer:
    return WrongAnswer("e1_object_masks", f"def object_masks(labels, count):\n    {body}\n", message)


EVERY_VALUE = masks("return np.stack([labels == value for value in np.unique(labels)])", "each value that occurs")
BACKGROUND_FIRST = masks("return np.stack([labels == k for k in range(count)])", "plane 0 is the background")
OBJECTS_LAST = masks("return labels[..., None] == np.arange(1, count + 1)", "objects come last")
AT_LEAST = masks("return np.stack([labels >= k for k in range(1, count + 1)])", "compare with ==")
LABELS_KEPT = masks("return np.stack([labels * (labels == k) for k in range(1, count + 1)])", "planes keep the labels")
NOT_BOOL = masks("return np.stack([(labels == k) * 1 for k in range(1, count + 1)])", "int64, not an array")
THREE_OBJECTS = masks("return np.stack([labels == 1, labels == 2, labels == 3])", None)

# --- exercise 2: J


def jaccard(body: str, message: str | None) -> WrongAnswer:
    counts = "both, either = (predicted & true).sum((1, 2)), (predicted | true).sum((1, 2))"
    return WrongAnswer("e2_jaccard", f"def jaccard(predicted, true):\n    {counts}\n    {body}\n", message)


NOT_A_NUMBER = jaccard("return both / either", "0 / 0 is not a number")
EMPTY_IS_WRONG = jaccard("return both / np.maximum(either, 1)", "scores 1, not 0")
DICE = jaccard(
    "size = predicted.sum((1, 2)) + true.sum((1, 2))\n"
    "    return np.where(size > 0, 2 * both / np.maximum(size, 1), 1.0)",
    "Dice coefficient",
)
ACCURACY = jaccard("return (predicted == true).mean((1, 2))", "background included")
ALL_FRAMES = jaccard("return both.sum() / either.sum()", "counted together")
SMALL_NUMBER = jaccard("return (both + 1e-8) / (either + 1e-8)", "a small number is added to avoid 0 / 0")
SINGLE_PRECISION = jaccard(
    "return np.where(either > 0, both / np.maximum(either, 1), 1).astype(np.float32)", "float32; divide whole numbers"
)
LIST = jaccard("return [b / e if e else 1 for b, e in zip(both, either)]", "of type list, not an array; np.array")
FOUR_SCORES = jaccard("return np.array([0.25, 1, 1, 0])", None)

# --- exercise 3: the boundary


def boundary(body: str, message: str | None) -> WrongAnswer:
    return WrongAnswer("e3_boundary", f"def boundary(mask):\n    {body}\n", message)


PIXELS_OF_THE_MASK = boundary(
    "from scipy.ndimage import binary_erosion\n    return mask & ~binary_erosion(mask, border_value=1)",
    "pixels of the mask that touch",
)
NO_DIAGONAL = boundary(
    'm = np.pad(mask, (0, 1), mode="edge")\n    return (mask != m[:-1, 1:]) | (mask != m[1:, :-1])',
    "diagonal is missing",
)
WRAPPED = boundary(
    "right, lower = np.roll(mask, -1, 1), np.roll(mask, -1, 0)\n"
    "    return (mask != right) | (mask != lower) | (mask != np.roll(mask, (-1, -1), (0, 1)))",
    "np.roll wraps around",
)
CLOSED_BY_THE_FRAME = boundary(
    "m = np.pad(mask, (0, 1))\n    return (mask != m[:-1, 1:]) | (mask != m[1:, :-1]) | (mask != m[1:, 1:])",
    "frame's own edge",
)
LAST_ROW_LOST = boundary(
    "m = mask[:-1, :-1]\n    return (m != mask[:-1, 1:]) | (m != mask[1:, :-1]) | (m != mask[1:, 1:])",
    r"\(5, 7\).*are lost",
)
FRAME_OF_SIX_BY_EIGHT = boundary(
    'm = np.pad(mask, (0, 1), mode="edge")[:7, :9]\n'
    "    found = np.zeros_like(mask)\n"
    "    found[:6, :8] = (m[:-1, :-1] != m[:-1, 1:]) | (m[:-1, :-1] != m[1:, :-1]) | (m[:-1, :-1] != m[1:, 1:])\n"
    "    return found",
    None,
)

# --- exercise 4: F

NEAR = """
from scipy.ndimage import distance_transform_edt, distance_transform_cdt

def boundary_f(predicted, true, radius):
    if not predicted.any() or not true.any():
        return float(predicted.any() == true.any())
    precision = np.mean(distance_transform_edt(~true)[predicted] <= radius)
    recall = np.mean(distance_transform_edt(~predicted)[true] <= radius)
    return 2 * precision * recall / (precision + recall)
"""


def boundary_f(change: str, by: str, message: str | None) -> WrongAnswer:
    assert change in NEAR
    return WrongAnswer("e4_boundary_f", NEAR.replace(change, by), message)


STRICTLY_NEARER = boundary_f("<= radius", "< radius", "exactly the radius")
SQUARE = boundary_f("_edt(~", "_cdt(~", "neighbourhood is a square")
PLAIN_MEAN = boundary_f("2 * precision * recall / (precision + recall)", "(precision + recall) / 2", "harmonic mean")
PRECISION_ALONE = boundary_f("2 * precision * recall / (precision + recall)", "precision", "precision alone")
NO_EMPTY_MAPS = boundary_f("if not predicted.any() or not true.any():", "if False:", "0 / 0 is not a number")
DILATED = """
import cv2
from scipy.ndimage import binary_dilation

def boundary_f(predicted, true, radius):
    if not predicted.any() or not true.any():
        return float(predicted.any() == true.any())
    near_true, near_predicted = (binary_dilation(b, NEIGHBOURHOOD) for b in (true, predicted))
    precision, recall = near_true[predicted].mean(), near_predicted[true].mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
"""


def dilated(neighbourhood: str, message: str) -> WrongAnswer:
    return WrongAnswer("e4_boundary_f", DILATED.replace("NEIGHBOURHOOD", neighbourhood), message)


FRACTIONAL_OFFSETS = dilated(
    "np.hypot(*np.ogrid[-radius : radius + 1, -radius : radius + 1]) <= radius", "while the disk's offsets are"
)
DIAMOND = dilated("iterations=int(radius)", "the neighbourhood is a diamond")
ELLIPSE = dilated(
    "cv2.getStructuringElement(cv2.MORPH_ELLIPSE, [2 * int(radius) + 1] * 2)", "the ellipse of cv2 is larger"
)
WHOLE_RADIUS = boundary_f("<= radius", "<= int(radius)", "the radius is rounded down")
RADIUS_THREE = boundary_f("<= radius", "<= min(radius, 3)", None)

# --- exercise 5: mean, recall, decay

STATISTICS = """
def statistics(values):
    limits = np.floor(np.linspace(0, len(values) - 1, 5) + 0.5).astype(int)
    decay = values[: limits[1] + 1].mean() - values[limits[3] :].mean()
    return values.mean(), (values > 0.5).mean(), decay
"""


def statistics(change: str, by: str, message: str | None) -> WrongAnswer:
    assert change in STATISTICS
    return WrongAnswer("e5_statistics", STATISTICS.replace(change, by), message)


ONE_HALF_COUNTS = statistics("> 0.5", ">= 0.5", "use >")
GAIN = statistics("mean(), decay", "mean(), -decay", "sign is wrong")
HALVES_TO_EVEN = statistics(
    "np.floor(np.linspace(0, len(values) - 1, 5) + 0.5)", "np.round(np.linspace(0, len(values) - 1, 5))", "4.5 to 4"
)
HALVES_TO_EVEN_FROM_ONE = statistics(
    "np.floor(np.linspace(0, len(values) - 1, 5) + 0.5).astype(int)",
    "np.round(np.linspace(1, len(values), 5)).astype(int) - 1",
    "2 of 2.5, where points count from 1",
)
FIRST_LIMIT_EXCLUDED = statistics("limits[1] + 1", "limits[1]", "the first quarter ends a frame too early")
CUT_OFF = statistics(" + 0.5)", ")", "the points are cut off")
EXCLUSIVE_LIMITS = statistics(
    "values[: limits[1] + 1].mean() - values[limits[3] :].mean()",
    "values[: limits[1]].mean() - values[limits[3] : limits[4]].mean()",
    "share a frame",
)
COUNT = statistics("(values > 0.5).mean()", "(values > 0.5).sum()", "divide by their number")
SEVEN_FRAMES = statistics("np.floor(np.linspace(0, len(values) - 1, 5) + 0.5).astype(int)", "[0, 2, 3, 5, 6]", None)

# --- exercise 6: the protocol

SCORES = """
def davis_scores(predicted, true):
    scores = []
    for name, maps in true.items():
        frames = list(zip(predicted[name], maps, strict=True))[1:-1]
        for label in range(1, int(maps[0].max()) + 1):
            j = np.mean([region_similarity(p == label, t == label) for p, t in frames])
            f = np.mean([boundary_accuracy(p == label, t == label) for p, t in frames])
            scores.append((j, f))
    return tuple(np.mean(scores, axis=0))
"""


def scores(change: str, by: str, message: str | None) -> WrongAnswer:
    assert change in SCORES
    return WrongAnswer("e6_davis_scores", SCORES.replace(change, by), message)


GIVEN_FRAME = scores("[1:-1]", "[:-1]", "first frame counts")
ALL_FRAMES_COUNT = scores("[1:-1]", "", "all frames count")
ONE_OBJECT = scores(
    "range(1, int(maps[0].max()) + 1):",
    "[1]:\n            frames = [(p > 0, t > 0) for p, t in frames]",
    "scored as one",
)
PREDICTED_OBJECTS = scores("maps[0].max()", "predicted[name][1].max()", "only objects that were predicted")
LABELS_OF_ALL_MAPS = scores("maps[0].max()", "np.max(maps)", "the first map doesn't have is no object")
PER_SEQUENCE = scores(
    "            scores.append((j, f))\n",
    "            scores.append((j, f, name))\n"
    "    groups = [[s[:2] for s in scores if s[2] == name] for name in true]\n"
    "    scores = [np.mean(group, axis=0) for group in groups]\n",
    "within each sequence first",
)
TWO_OBJECTS_AT_MOST = scores("int(maps[0].max())", "min(2, int(maps[0].max()))", None)

WRONG_ANSWERS = [value for value in globals().values() if isinstance(value, WrongAnswer)]

SUBMISSIONS = {
    "careless": Submission(
        [AT_LEAST, NOT_A_NUMBER, WRAPPED, STRICTLY_NEARER, HALVES_TO_EVEN, GIVEN_FRAME],
        {"e1": 0, "e2": 0, "e3": 0, "e4": 0, "e5": 0, "e6": 0},
    ),
    "hard-coded": Submission(
        [THREE_OBJECTS, FOUR_SCORES, FRAME_OF_SIX_BY_EIGHT, RADIUS_THREE, SEVEN_FRAMES, TWO_OBJECTS_AT_MOST],
        {"e1": 1, "e2": 1, "e3": 1, "e4": 1, "e5": 1, "e6": 1},
    ),
    "half": Submission([DICE, PLAIN_MEAN, ONE_OBJECT], {"e2": 0, "e4": 0, "e6": 0}),
}
