"""Checks judge the answer, not the way: solutions that look nothing like the master's pass all tests."""

import pytest
from masters import MASTERS, cells_by_id, execute, read_master, run_answers

OTHERS = {
    "A1 e4_boundary_f": """
import cv2

def boundary_f(predicted, true, radius):
    if not predicted.any() or not true.any():
        return float(predicted.any() == true.any())
    n = int(radius)
    y, x = np.ogrid[-n : n + 1, -n : n + 1]
    disk = (x * x + y * y <= radius * radius).astype(np.uint8)
    near_true, near_predicted = (cv2.dilate(b.astype(np.uint8), disk) for b in (true, predicted))
    precision, recall = near_true[predicted].mean(), near_predicted[true].mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0
""",
    "A1 e5_statistics": """
def statistics(values):
    limits = [int(np.floor(x + 0.5)) - 1 for x in np.linspace(1, len(values), 5)]
    first, last = (values[limits[k] : limits[k + 1] + 1] for k in (0, 3))
    return values.mean(), np.mean(values > 0.5), first.mean() - last.mean()
""",
    "A2 e1_similarity_map": """
def similarity_map(template, frame, row, column):
    kernel = template[:, row, column].numpy()
    rows = [[place / max(np.linalg.norm(place), 1e-12) for place in line] for line in frame.numpy().transpose(1, 2, 0)]
    length = max(np.linalg.norm(kernel), 1e-12)
    return torch.tensor([[float(kernel @ place) / length for place in line] for line in rows])
""",
    "A2 e2_similarity_maps": """
def similarity_maps(template, frame):
    K = template / template.norm(dim=1, keepdim=True).clamp(min=1e-8)
    I = frame / frame.norm(dim=1, keepdim=True).clamp(min=1e-8)
    return torch.einsum("bcij,bchw->bijhw", K, I).flatten(1, 2)
""",
    "A2 e3_best_matches": """
def best_matches(maps):
    places = [np.unravel_index(int(m.argmax()), m.shape) for m in maps]
    return torch.tensor([[int(row), int(column)] for row, column in places])
""",
    "A2 e3_best_matches list_of_tensors": """
def best_matches(maps):
    return [(m == m.max()).nonzero()[0] for m in maps]
""",
    "A2 e4_split_maps": """
def split_maps(maps, mask, grid, background_share=0.9):
    weights = F.interpolate(mask[None, None], size=grid, mode="area").view(-1, 1, 1)
    return [maps * weights, torch.where(1 - weights >= background_share, maps, torch.zeros(()))]
""",
    "A2 e5_combine": """
def combine(maps, chosen, best):
    count = min(best, int(chosen.sum()))
    if count == 0:
        return -torch.ones_like(maps[0])
    ordered = maps.masked_fill(~chosen[:, None, None], -9).sort(dim=0, descending=True).values
    return sum(ordered[k] for k in range(count)) / count
""",
    "A2 e6_overlay_map": """
def overlay_map(frame, similarity, limits):
    large = F.interpolate(torch.from_numpy(similarity)[None, None], size=frame.shape[:2], mode="bilinear")[0, 0].numpy()
    values = np.interp(large, limits, (0, 1))
    grey = frame.astype(float).sum(2) / 3
    picture = np.empty(frame.shape, np.uint8)
    for channel in range(3):
        picture[..., channel] = 0.35 * grey + 0.65 * 255 * colormaps["viridis"](values)[..., channel]  # cuts off
    return picture
""",
    "A3 e1_swap": """
def swap(maps, grid):
    return maps.reshape(*grid, -1).permute(2, 0, 1)
""",
    "A3 e2_ranking_scores": """
def ranking_scores(swapped, weights, network):
    masked = torch.einsum("pij,ij->pij", swapped, weights)
    learned = torch.where(weights > 0, network(masked).clamp(min=0) / 5, torch.zeros(()))
    return learned.reshape(-1) + masked.flatten(1).max(dim=0).values
""",
    "A3 e3_rank": """
def rank(maps, scores, keep):
    order = sorted(range(len(scores)), key=lambda j: (-float(scores[j]), j))
    best = [maps[j] for j in order[:keep]]
    return torch.stack(best + [torch.zeros_like(maps[0])] * (keep - len(best)))
""",
    "A3 e4_largest_change": """
def largest_change(select, maps, scores, permutation):
    def permuted(x):
        return torch.stack([x[j] for j in permutation])
    return torch.dist(select(permuted(maps), permuted(scores)), select(maps, scores), p=float("inf"))
""",
    "A3 e5_without_ranking": """
def without_ranking(variant, maps, weights):
    weighted = torch.stack([w * m for w, m in zip(weights, maps)])
    total = weights.sum()
    average = weighted.sum(0)[None] / total if total > 0 else torch.zeros_like(maps[:1])
    results = {"none": weighted, "maximum": weighted.max(dim=0).values[None], "average": average}
    if variant not in results:
        raise ValueError("no such variant")
    return results[variant]
""",
    "A3 e6_rank_and_learn": """
def rank_and_learn(maps, scores, keep, temperature):
    order = scores.argsort(dim=1, descending=True, stable=True)[:, :keep]
    index = order[..., None, None].expand(-1, -1, *maps.shape[2:])
    places = torch.take_along_dim(scores, order, 1)
    P = torch.softmax(-(places.unsqueeze(2) - scores.unsqueeze(1)).abs() / temperature, -1)
    lesson = ((P - P.detach()) @ maps.flatten(2)).unflatten(2, maps.shape[2:])
    return torch.cat([maps.gather(1, index) + lesson, maps.new_zeros(len(maps), keep, *maps.shape[2:])], 1)[:, :keep]
""",
    "A4 e1_merge_module": """
from collections import OrderedDict

class MergeModule(nn.Module):
    def __init__(self, kept_maps, first, inner, last):
        super().__init__()
        blocks = {"one": ConvBlock(kept_maps, first), "two": ResBlock(first, inner), "three": ConvBlock(first, last)}
        self.layers = nn.Sequential(OrderedDict(blocks))

    def forward(self, ranked, size):
        return torch.cat([self.refined(stream, size) for stream in ranked.unbind(1)], 1)

    def refined(self, stream, size):
        maps = nn.Upsample(size, mode="bilinear")(stream)
        return self.layers[2](self.layers[1](self.layers[0](maps)))
""",
    "A4 e2_pyramid_step": """
class PyramidStep(nn.Module):
    def __init__(self, in_channels, skip_channels, skip_width, out_channels):
        super().__init__()
        self.reduce = nn.ModuleList()
        for channels in skip_channels:
            self.reduce.append(ConvBlock(channels, skip_width, kernel_size=1))
            in_channels += skip_width
        blocks = {"one": ConvBlock(in_channels, out_channels), "two": ResBlock(out_channels, out_channels // 2)}
        self.refine = nn.Sequential()
        for name, block in blocks.items():
            self.refine.add_module(name, block)

    def forward(self, x, skips, size):
        near = nn.Upsample(x.shape[2:], mode="bilinear", align_corners=True)
        for i in reversed(range(len(skips))):
            x = torch.cat([near(self.reduce[i](skips[i])), x], 1)
        x = self.refine[1](self.refine[0](x))
        return nn.Upsample(size, mode="bilinear", align_corners=True)(x)
""",
    "A4 e3_balanced_bce": """
def balanced_bce(logits, true, valid, object_weight):
    results = []
    for x, y, v in zip(logits, true, valid):
        x, y = x[v > 0], y[v > 0]
        loss = object_weight * y * F.softplus(-x) + (1 - y) * F.softplus(x)
        results.append(loss.sum() / (y * object_weight + 1 - y).sum() if len(x) else x.sum())
    return torch.stack(results)
""",
    "A4 e4_training_step": """
def training_step(network, optimiser, batches, loss):
    values = []
    network.zero_grad(set_to_none=False)
    for inputs, true in reversed(batches):
        values.append(loss(network(inputs), true))
        values[-1].backward()
    for parameter in network.parameters():
        parameter.grad /= len(batches)
    optimiser.step()
    return sum(map(float, values)) / len(values)
""",
    "A4 e4_training_step without_backward": """
def training_step(network, optimiser, batches, loss):
    weights, total = list(network.parameters()), 0
    gradients = [torch.zeros_like(w) for w in weights]
    for inputs, true in batches:
        part = loss(network(inputs), true) / len(batches)
        for gradient, added in zip(gradients, torch.autograd.grad(part, weights)):
            gradient += added
        total += part.item()
    for w, gradient in zip(weights, gradients):
        w.grad = gradient
    optimiser.step()
    return total
""",
    "A4 e4_training_step in_two_passes": """
def training_step(network, optimiser, batches, loss):
    before = np.mean([loss(network(inputs), true).item() for inputs, true in batches])
    optimiser.zero_grad()
    for inputs, true in batches:
        loss(network(inputs), true).backward(torch.tensor(1 / len(batches)))
    optimiser.step()
    return before
""",
}


@pytest.mark.parametrize("exercise", OTHERS)
def test_another_way_is_as_good(exercise) -> None:
    assignment, name, *_ = exercise.split()
    master = next(read_master(path) for path in MASTERS if path.stem.startswith(f"{assignment}_"))
    variables = run_answers(master, {name: OTHERS[exercise]})
    for kind in ("check", "hidden"):
        execute(cells_by_id(master)[f"{name}_{kind}"].source, variables)
