"""Wrong answers to assignment 3: ranking attention."""

from masters import Submission, WrongAnswer, changes_of

# --- exercise 1: pixels become channels


def swapped(body: str, message: str | None) -> WrongAnswer:
    return WrongAnswer("e1_swap", f"def swap(maps, grid):\n    {body}\n", message)


ONLY_A_RESHAPE = swapped("return maps.reshape(-1, *grid)", "a reshape only cuts the same row of numbers anew")
FRAME_DOWN_THE_COLUMNS = swapped(
    "return maps.permute(2, 1, 0).reshape(-1, *grid)", r"frame position y \* W \+ x, but you count down the columns"
)
GRID_DOWN_THE_COLUMNS = swapped(
    "return maps.flatten(1).T.unflatten(1, grid[::-1]).transpose(1, 2)", r"row j // W0, .* you count down the columns"
)
FRAME_NOT_FLAT = swapped("return maps.permute(1, 2, 0).unflatten(2, grid)", "they become the channels")
GRID_TURNED = swapped("return maps.flatten(1).T.unflatten(1, grid[::-1])", r"grid is \(H0, W0\), rows first")
NO_GRID = swapped("return maps.flatten(1).T", "unflatten the template pixels into the grid")
AS_IT_WAS = swapped("return maps", "this is S as it was")
POOLED_BY_THE_PACKAGE = swapped(
    "from ranet_edu.model.ranking import RankingAttention\n"
    '    return RankingAttention(grid, variant="none")._swap(maps[None])[0]',
    r"S\^ has shape \(6, 2, 3\)",
)
FRAME_OF_TWO_ROWS = swapped("return torch.stack([m.unflatten(0, grid) for y in (0, 1) for m in maps[:, y].T])", None)

# --- exercise 2: ranking scores

scoring = changes_of(
    "e2_ranking_scores",
    """
def ranking_scores(swapped, weights, network):
    masked = swapped * weights
    learned = 0.2 * network(masked).relu() * (weights != 0)
    return (learned + masked.amax(0)).flatten()
""",
)
NO_GATE = scoring(" * (weights != 0)", "", "a pixel of weight 0 has a learned score")
NETWORK_SEES_ALL = scoring("network(masked)", "network(swapped)", "network sees the maps before they are weighted")
MAXIMUM_OF_ALL = scoring("masked.amax(0)", "swapped.amax(0)", "maximum is taken before the maps are weighted")
NO_WEIGHTS = scoring("swapped * weights", "swapped", "neither the network nor the maximum")
NO_RELU = scoring(".relu()", "", "ReLU before you add")
FULL_SCALE = scoring("0.2 * ", "", "counts 0.2 times")
NO_NETWORK = scoring("learned + ", "", "network's output is missing")
NO_MAXIMUM = scoring(" + masked.amax(0)", "", "the maximum is missing")
MEAN_SIMILARITY = scoring("amax(0)", "mean(0)", "not a mean")
SOFT_GATE = scoring("(weights != 0)", "weights", "the gate is 0 or 1")
STILL_A_GRID = scoring(".flatten()", "", "flatten R into the vector r")
MAXIMUM_OVER_THE_TEMPLATE = scoring(
    "(learned + masked.amax(0)).flatten()", "masked.amax((1, 2))", "one score per frame position"
)
FIRST_TWO_ROWS = scoring("masked.amax(0)", "masked[:3].amax(0)", None)

# --- exercise 3: rank and select

ranking = changes_of(
    "e3_rank",
    """
def rank(maps, scores, keep):
    order = scores.sort(descending=True, stable=True).indices[:keep]
    ranked = torch.zeros(keep, *maps.shape[1:])
    ranked[: len(order)] = maps[order]
    return ranked
""",
)
WORST_FIRST = ranking("descending=True", "descending=False", "these are the worst")
END_KEPT = ranking("indices[:keep]", "indices[-keep:]", "you sorted all and kept the end")
NOT_SORTED = ranking("maps[order]", "maps[: len(order)]", "nothing is sorted")
DISCARDED_FIRST = ranking("scores.sort", "scores[:keep].sort", "discarded before you sorted")
TEMPLATE_ORDER = ranking("maps[order]", "maps[order.sort().values]", "stand in the template's order")
PIXELS_SORTED = ranking("maps[order]", "maps.sort(dim=0, descending=True).values[: len(order)]", "tears the maps apart")
RANKS_AS_ORDER = ranking(".indices[:keep]", ".indices.argsort()[:keep]", "needed is, for each rank, its map")
SCALED = ranking("maps[order]", "(maps * scores[:, None, None])[order]", "you multiplied by them")
NO_PADDING = ranking("return ranked", "return ranked[: len(order)]", "pad with maps of zeros")
ZEROS_FIRST = ranking("ranked[: len(order)]", "ranked[keep - len(order) :]", "the padding comes last")
WORST_REPEATED = ranking(
    "torch.zeros(keep, *maps.shape[1:])", "maps[order[-1:]].repeat(keep, 1, 1)", "not with the worst map"
)
READ_BACKWARDS = ranking(
    "scores.sort(descending=True, stable=True).indices", "scores.sort(stable=True).indices.flip(0)", "turns ties around"
)
LIST_OF_MAPS = ranking("return ranked", "return list(ranked)", "returns list, not a tensor; torch.stack")
TIES_EXCHANGED = ranking(
    "scores.sort(descending=True, stable=True).indices",
    "torch.tensor(sorted(range(len(scores)), key=lambda j: (-scores[j], -maps[j].sum())))",
    "equal scores leave the template's order",
)
BY_TOPK = ranking("[:keep]\n", "[:keep]\n    if len(scores) > 20: order = scores.topk(len(order)).indices\n", None)

# --- exercise 4: what the ranking promises

promise = changes_of(
    "e4_largest_change",
    """
def largest_change(select, maps, scores, permutation):
    permuted = select(maps[permutation], scores[permutation])
    return float((permuted - select(maps, scores)).abs().max())
""",
)
SCORES_STAY = promise("scores[permutation]", "scores", "a score must travel with its map")
MAPS_STAY = promise("maps[permutation]", "maps", "a map must travel with its score")
TWO_PERMUTATIONS = promise("scores[permutation]", "scores[permutation.argsort()]", "permuted differently")
NOTHING_PERMUTED = promise(
    "select(maps[permutation], scores[permutation])", "select(maps, scores)", "nothing is permuted"
)
MEAN_CHANGE = promise(".max()", ".mean()", "would drown in it")
SUM_OF_CHANGES = promise(".max()", ".sum()", "sum of all changes")
SIGNED = promise(".abs()", "", "take absolute values before the maximum")
COMPARED_IN_ORDER = promise("select(maps, scores))", "select(maps, scores))[:5]", None)

# --- exercise 5: without ranking

variants = changes_of(
    "e5_without_ranking",
    """
def without_ranking(variant, maps, weights):
    weighted = maps * weights[:, None, None]
    if variant == "none":
        return weighted
    if variant == "maximum":
        return weighted.amax(0, keepdim=True)
    if variant == "average":
        return weighted.sum(0, keepdim=True) / weights.sum().clamp(min=1e-6)
    raise ValueError(variant)
""",
)
MAPS_DROPPED = variants("return weighted\n", "return weighted[weights > 0]\n", "stay in their place, as zeros")
MAPS_NOT_WEIGHTED = variants("return weighted\n", "return maps\n", '"none" .* the maps are not weighted')
HARD_WEIGHTS = variants("weights[:, None, None]", "(weights > 0)[:, None, None]", "a weight of 0.5 counts 0.5")
FULL_STRENGTH = variants("weighted.amax(0", "maps.amax(0", "the other class take part at full strength")
WITHOUT_ZEROS = variants("weighted.amax(0", "weighted[weights > 0].amax(0", "nothing is below 0")
CHANNEL_LOST = variants("amax(0, keepdim=True)", "amax(0)", "keepdim=True")
MAXIMUM_OVER_PLACES = variants("amax(0, keepdim=True)", "amax((1, 2))", r"dim 0\), not over the places")
DIVIDED_BY_ALL = variants("weights.sum().clamp(min=1e-6)", "len(maps)", "a small object looks faint")
DIVIDED_BY_CHOSEN = variants("weights.sum().clamp(min=1e-6)", "(weights > 0).sum()", "divide by their sum")
PLAIN_AVERAGE = variants(
    "weighted.sum(0, keepdim=True) / weights.sum().clamp(min=1e-6)", "maps.mean(0, keepdim=True)", "count the same"
)
ONLY_A_SUM = variants(" / weights.sum().clamp(min=1e-6)", "", "this is the sum")
LOST_OBJECT = variants(".clamp(min=1e-6)", "", "0 / 0: return zeros")
ANY_WORD = variants("raise ValueError(variant)", "return weighted", '"median" must raise ValueError')
NOTHING_FOR_ANY_WORD = variants("raise ValueError(variant)", "return None", "ValueError, but None comes back")
ANOTHER_ERROR = variants("raise ValueError(variant)", "raise KeyError(variant)", "ValueError, but it raises KeyError")
AT_LEAST_ONE = variants("clamp(min=1e-6)", "clamp(min=1e-6, max=1.5)", None)

# --- exercise 6: a sort that learns

learning = changes_of(
    "e6_rank_and_learn",
    """
def rank_and_learn(maps, scores, keep, temperature):
    order = scores.sort(dim=1, descending=True, stable=True).indices[:, :keep]
    ranked = maps[torch.arange(len(maps))[:, None], order]
    places = scores.gather(1, order)
    P = ((places[:, :, None] - scores[:, None]).abs() / -temperature).softmax(2)
    ranked = ranked + torch.einsum("bkj,bjhw->bkhw", P - P.detach(), maps)
    return F.pad(ranked, (0, 0, 0, 0, 0, keep - order.shape[1]))
""",
)
HARD_SORT = learning("P - P.detach()", "0 * P.detach()", "no gradient reaches the scores")
FIRST_ORDER = learning("torch.arange(len(maps))[:, None], order", ":, order[0]", "serves the whole batch")
EVERY_PAIR = learning(
    "torch.arange(len(maps))[:, None], order]", ":, order]\n    return ranked", "pair each with its own"
)
SOFT_MAPS = learning("ranked + torch.einsum", "torch.einsum", "this is the zero alone")
BLENDED = learning(
    'ranked + torch.einsum("bkj,bjhw->bkhw", P - P.detach()', 'torch.einsum("bkj,bjhw->bkhw", P', "blends maps"
)
SOFT_MAPS_ADDED = learning("P - P.detach()", "P", r"subtract P.detach\(\) from P")
LAST_BITS = learning(
    '+ torch.einsum("bkj,bjhw->bkhw", P - P.detach(), maps)',
    '+ torch.einsum("bkj,bjhw->bkhw", P, maps)\n'
    '    ranked = ranked - torch.einsum("bkj,bjhw->bkhw", P.detach(), maps.detach())',
    "maps' gradient|last bits",
)
SOFT_MAPS_LEARN = learning(
    '+ torch.einsum("bkj,bjhw->bkhw", P - P.detach(), maps)',
    '+ ((soft := torch.einsum("bkj,bjhw->bkhw", P, maps)) - soft.detach())',
    "the soft order's maps have a gradient, too",
)
SCORES_SCALE = learning(
    'ranked + torch.einsum("bkj,bjhw->bkhw", P - P.detach(), maps)',
    "ranked * (1 + (places - places.detach()))[:, :, None, None]",
    "instance norm undoes",
)
OVER_THE_PLACES = learning("softmax(2)", "softmax(1)", "softmax runs over the places")
TIMES_TEMPERATURE = learning("/ -temperature", "* -temperature", "divide by the temperature")
NO_TEMPERATURE = learning("/ -temperature", "/ -1", "temperature is ignored")
FAR_IS_NEAR = learning("/ -temperature", "/ temperature", "the minus is missing")
NO_ABSOLUTE_VALUE = learning(".abs()", "", "absolute values are missing")
SQUARED = learning(".abs()", "**2", "the difference is squared")
PLACES_DETACHED = learning("(places[:, :, None]", "(places.detach()[:, :, None]", "places' scores are detached")
MAPS_DETACHED = learning(
    "ranked = maps[torch", "ranked = maps.detach()[torch", "no gradient reaches the maps|the maps' gradient"
)
ENDLESS_CHANNELS = learning("F.pad(ranked, (0, 0, 0, 0, 0, keep - order.shape[1]))", "ranked", "pad with maps of zeros")
SAMPLE_BY_SAMPLE = learning(
    "maps[torch.arange(len(maps))[:, None], order]", "torch.stack([m[o] for m, o in zip(maps, order)])", "a loop"
)
TEMPERATURE_OF_THE_PACKAGE = WrongAnswer(
    "e6_rank_and_learn",
    """
from ranet_edu.model.ranking import rank as rank_streams

def rank_and_learn(maps, scores, keep, temperature):
    weights = torch.ones_like(scores)[:, None]
    return rank_streams(maps, weights, scores[:, None], scores[:, None], keep)[0][:, 0]
""",
    "the scores' gradient differs",
)
BY_TOPK_TOO = learning(
    "scores.sort(dim=1, descending=True, stable=True).indices[:, :keep]",
    "scores.topk(min(keep, scores.shape[1]), dim=1).indices",
    None,
)

WRONG_ANSWERS = [value for value in globals().values() if isinstance(value, WrongAnswer)]

SUBMISSIONS = {
    "careless": Submission(
        [ONLY_A_RESHAPE, NO_GATE, RANKS_AS_ORDER, SCORES_STAY, DIVIDED_BY_ALL, SCORES_SCALE],
        {"e1": 0, "e2": 0, "e3": 0, "e4": 0, "e5": 0, "e6": 0},
    ),
    "small case only": Submission(
        [FRAME_OF_TWO_ROWS, FIRST_TWO_ROWS, BY_TOPK, COMPARED_IN_ORDER, AT_LEAST_ONE, BY_TOPK_TOO],
        {"e1": 1, "e2": 1, "e3": 1, "e4": 1, "e5": 1, "e6": 1},
    ),
    "hard sort": Submission([READ_BACKWARDS, HARD_SORT], {"e3": 0, "e6": 0}),
    "imported": Submission([POOLED_BY_THE_PACKAGE, BY_TOPK, TEMPERATURE_OF_THE_PACKAGE], {"e1": 0, "e3": 1, "e6": 0}),
}
