"""Wrong answers to assignment 2: correlation and similarity."""

from masters import Submission, WrongAnswer, changes_of

# --- exercise 1: one template pixel

one_map = changes_of(
    "e1_similarity_map",
    """
def similarity_map(template, frame, row, column):
    kernel = template[:, row, column]
    result = torch.zeros(frame.shape[1:])
    for y in range(frame.shape[1]):
        for x in range(frame.shape[2]):
            pixel = frame[:, y, x]
            lengths = kernel.norm() * pixel.norm()
            if lengths > 0:
                result[y, x] = kernel @ pixel / lengths
    return result
""",
)
DOT_PRODUCT = one_map("kernel @ pixel / lengths", "kernel @ pixel", r"not normalised: the largest value is 14\.0")
TEMPLATE_LENGTH_ALONE = one_map("kernel.norm() * pixel.norm()", "kernel.norm()", "template vector's length alone")
FRAME_LENGTH_ALONE = one_map("kernel.norm() * pixel.norm()", "pixel.norm()", "frame vectors' lengths alone")
SQUARED_LENGTHS = one_map("/ lengths", "/ lengths**2", "take their roots")
ROW_FOR_COLUMN = one_map("template[:, row, column]", "template[:, column, row]", "row and column are swapped")
TRANSPOSED = one_map("return result", "return result.T", r"shape \(2, 3\), not \(3, 2\): .*in this order")
NO_NEGATIVES = one_map("return result", "return result.clamp(min=0)", "negative cosines are gone")
NO_SIGNS = one_map("return result", "return result.abs()", "signs are gone")
ZERO_BY_ZERO = one_map("if lengths > 0:", "if True:", "0 / 0: where the frame's vector is zero")
ZERO_IN_THE_FRAME_ONLY = one_map("if lengths > 0:", "if pixel.norm() > 0:", None)
TWO_CHANNELS = one_map("kernel @ pixel", "kernel[:2] @ pixel[:2]", None)

# --- exercise 2: equation 1

all_maps = changes_of(
    "e2_similarity_maps",
    """
def similarity_maps(template, frame):
    K = F.normalize(template, dim=1).flatten(2).transpose(1, 2)
    P = F.normalize(frame, dim=1).flatten(2)
    return (K @ P).unflatten(2, frame.shape[2:])
""",
)
NO_COSINES = WrongAnswer(
    "e2_similarity_maps",
    "from ranet_edu.model.correlation import similarity_maps",
    r"not normalised: the largest value is \d+\.\d, and a cosine can't pass 1",
)
RAW_FRAME = all_maps("F.normalize(frame, dim=1)", "frame", "divide by the template vectors' lengths alone")
OVER_THE_PIXELS = WrongAnswer(
    "e2_similarity_maps",
    """
def similarity_maps(template, frame):
    K, P = (F.normalize(x.flatten(2), dim=2) for x in (template, frame))
    return (K.transpose(1, 2) @ P).unflatten(2, frame.shape[2:])
""",
    "needs it over the channels",
)

MIXED_CHANNELS = all_maps(
    "flatten(2).transpose(1, 2)", "reshape(len(template), -1, template.shape[1])", "a reshape mixes channels and pixels"
)
DOWN_THE_COLUMNS = all_maps("flatten(2).transpose", "transpose(2, 3).flatten(2).transpose", "count down the columns")
FIRST_TEMPLATE = all_maps("(K @ P)", "(K[:1] @ P)", "first template is used for the whole batch")
ONE_SAMPLE = all_maps(
    "return (K @ P).unflatten(2, frame.shape[2:])",
    "return (K @ P)[0].unflatten(1, frame.shape[2:])",
    "the batch is gone",
)
FLAT = all_maps(".unflatten(2, frame.shape[2:])", "", "unflatten the last dimension")
STILL_A_LOOP = all_maps(
    "K @ P", "torch.stack([K[:, j : j + 1] @ P for j in range(K.shape[1])], 1).flatten(1, 2)", "a loop"
)
LOOP_OVER_THE_BATCH = all_maps("K @ P", "torch.stack([k @ p for k, p in zip(K, P)])", "a loop over .* the batch")
NO_GRADIENT = all_maps("(K @ P)", "(K @ P).detach()", None)

# --- exercise 3: the best match

match = changes_of(
    "e3_best_matches",
    """
def best_matches(maps):
    height, width = maps.shape[1:]
    flat = maps.flatten(1).argmax(1)
    return torch.stack([flat // width, flat % width], dim=1)
""",
)
X_BEFORE_Y = match("[flat // width, flat % width]", "[flat % width, flat // width]", "row and column are swapped")
DIVIDED_BY_HEIGHT = match(
    "[flat // width, flat % width]", "[flat // height, flat % height]", "you divide the flat index by H"
)
WORST = match("argmax", "argmin", "smallest values")
ABSOLUTE = match("maps.flatten(1)", "maps.flatten(1).abs()", "largest absolute values")
FRACTIONS = match("flat // width", "flat / width", "/ leaves fractions")
FLOATS = match("dim=1)", "dim=1).float()", "torch.float32; whole numbers")
FLAT_INDEX = match("torch.stack([flat // width, flat % width], dim=1)", "flat", "one flat index per map")
FOUR_WIDE = match("height, width = maps.shape[1:]", "width = 4", None)

# --- exercise 4: foreground and background

split = changes_of(
    "e4_split_maps",
    """
def split_maps(maps, mask, grid, background_share=0.9):
    shares = F.adaptive_avg_pool2d(mask[None], grid).flatten()
    background = (1 - shares >= background_share).float()
    return maps * shares[:, None, None], maps * background[:, None, None]
""",
)
BACKGROUND_FIRST = split(
    "maps * shares[:, None, None], maps * background[:, None, None]",
    "maps * background[:, None, None], maps * shares[:, None, None]",
    "the two are swapped",
)
ONE_PIXEL_DECIDES = split(
    "F.adaptive_avg_pool2d(mask[None], grid)",
    "F.interpolate(mask[None, None], size=grid)",
    "one pixel of each cell decides for all 16",
)
INTERPOLATED = split(
    "F.adaptive_avg_pool2d(mask[None], grid)",
    'F.interpolate(mask[None, None], size=grid, mode="bilinear")',
    "interpolation reads 4 of the 16 pixels",
)
MAX_POOLED = split("adaptive_avg_pool2d", "adaptive_max_pool2d", "not the maximum")
ROUNDED = split("maps * shares[:, None, None],", "maps * shares.round()[:, None, None],", "75 % object weighs 0.75")
UNWEIGHTED = split("maps * shares[:, None, None],", "maps,", "not weighted at all")
DROPPED = split("maps * shares[:, None, None],", "maps[shares > 0],", "stay in their place, as zeros")
SOFT_BACKGROUND = split("(1 - shares >= background_share).float()", "1 - shares", "1 - share is a soft weight")
SHARE_COMPARED = split("1 - shares >=", "shares <=", "75 % object counts as background")
NO_OBJECT_PIXEL = split("1 - shares >= background_share", "shares == 0", "its 1 - share is 0.9375")
HALF_IS_ENOUGH = split("background_share)", "0.5)", "the threshold is 0.5")
PARTS_OF_PIXELS = split(
    "F.adaptive_avg_pool2d(mask[None], grid)",
    "torch.from_numpy(cv2.resize(mask.numpy(), grid[::-1], interpolation=cv2.INTER_AREA))",
    None,
)
MORE_THAN_THE_SHARE = split(">= background_share", "> background_share", None)
ALWAYS_NINE_TENTHS = split(">= background_share", ">= 0.9", None)

# --- exercise 5: from the maximum to the mean

combination = changes_of(
    "e5_combine",
    """
def combine(maps, chosen, best):
    candidates = maps[chosen]
    if not len(candidates):
        return torch.full(maps.shape[1:], -1.0)
    return candidates.topk(min(best, len(candidates)), dim=0).values.mean(0)
""",
)
CHOSEN_IGNORED = combination("maps[chosen]", "maps", "not chosen take part")
ZEROS_TAKE_PART = combination("maps[chosen]", "maps * chosen[:, None, None]", "as zeros, and 0 beats")
MEAN_OF_ALL = combination("candidates.topk(min(best, len(candidates)), dim=0).values", "candidates", "not the best 2")
SAME_FOR_ALL_PLACES = combination(
    "candidates.topk(min(best, len(candidates)), dim=0).values",
    "candidates[candidates.amax((1, 2)).topk(min(best, len(candidates))).indices]",
    "each place has its own best",
)
MAXIMUM = combination("values.mean(0)", "values[0]", "right for best = 1")
LAST_OF_THE_BEST = combination("values.mean(0)", "values[-1]", "second largest alone")
SUMMED = combination("values.mean(0)", "values.sum(0)", "divide by how many were added")
TOO_MANY = combination(
    "min(best, len(candidates))", "best", "best = 20 of 3 chosen maps ends in an error .*no more than"
)
DIVIDED_BY_BEST = combination(".mean(0)", ".sum(0) / best", "divide by the 3 that there are")
NOT_A_NUMBER = combination("if not len(candidates):", "if False:", "0 / 0 is not a number; no map is no evidence")
ZERO_IS_NO_EVIDENCE = combination("-1.0", "0.0", "0 is a better match than many")
AVERAGED_OVER_PLACES = combination("values.mean(0)", "values.mean((1, 2))", "keep the places")
TEN_AT_MOST = combination("min(best, len(candidates))", "min(best, len(candidates), 3)", None)

# --- exercise 6: a map over its frame

overlay = changes_of(
    "e6_overlay_map",
    """
def overlay_map(frame, similarity, limits):
    height, width = frame.shape[:2]
    low, high = limits
    enlarged = cv2.resize(similarity, (width, height))
    colours = 255 * colormaps["viridis"]((enlarged - low) / (high - low))[..., :3]
    grey = frame.mean(axis=2, keepdims=True)
    return np.round(0.35 * grey + 0.65 * colours).astype(np.uint8)
""",
)
OWN_RANGE = overlay("low, high = limits", "low, high = similarity.min(), similarity.max()", "to its own range")
NO_LIMITS = overlay("(enlarged - low) / (high - low)", "enlarged", "limits are ignored")
NO_FRAME = overlay("0.35 * grey + 0.65 * colours", "colours", "the frame is missing")
SHARES_SWAPPED = overlay("0.35 * grey + 0.65 * colours", "0.65 * grey + 0.35 * colours", "0.65 is for the colours")
COLOURED_FRAME = overlay("frame.mean(axis=2, keepdims=True)", "frame", "make it grey")
DIM_COLOURS = overlay("255 * colormaps", "colormaps", "multiply by 255")
ZERO_TO_ONE = overlay(
    "np.round(0.35 * grey + 0.65 * colours).astype(np.uint8)", "(0.35 * grey + 0.65 * colours) / 255", "not from 0 to 1"
)
FOUR_CHANNELS = overlay("[..., :3]", "", "keep three channels")
FLOAT_PICTURE = overlay(".astype(np.uint8)", "", "float64; pictures are uint8")
WIDTH_FOR_HEIGHT = overlay(
    "cv2.resize(similarity, (width, height))",
    "cv2.resize(similarity, (height, width)).reshape(height, width)",
    r"cell \(1, 4\) of 4 x 6 covers",
)
NOT_ENLARGED = overlay(
    "cv2.resize(similarity, (width, height))",
    "similarity\n    frame = cv2.resize(frame, similarity.shape[::-1])",
    "enlarge the map to the frame",
)
NEAREST = overlay("(width, height))", "(width, height), interpolation=cv2.INTER_NEAREST)", None)

WRONG_ANSWERS = [value for value in globals().values() if isinstance(value, WrongAnswer)]

SUBMISSIONS = {
    "careless": Submission(
        [DOT_PRODUCT, MIXED_CHANNELS, DIVIDED_BY_HEIGHT, SOFT_BACKGROUND, ZEROS_TAKE_PART, OWN_RANGE],
        {"e1": 0, "e2": 0, "e3": 0, "e4": 0, "e5": 0, "e6": 0},
    ),
    "small case only": Submission(
        [TWO_CHANNELS, NO_GRADIENT, FOUR_WIDE, ALWAYS_NINE_TENTHS, TEN_AT_MOST, NEAREST],
        {"e1": 1, "e2": 1, "e3": 1, "e4": 1, "e5": 1, "e6": 1},
    ),
    "imported": Submission([NO_COSINES, ZERO_BY_ZERO, FLOATS], {"e1": 0, "e2": 0, "e3": 2}),
}
