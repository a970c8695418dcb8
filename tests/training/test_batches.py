import pytest
import torch
from tiny_run import TinySamples

from ranet_edu.training.batches import StepSampler, load_batches, without_tracebacks


def test_every_sample_is_seen_once_and_in_order():
    indices = [i for batch in StepSampler(0, 5, batch=3, accumulation=2) for i in batch]
    assert indices == list(range(30))


def test_processes_share_out_what_one_process_with_a_larger_batch_would_see():
    alone = list(StepSampler(0, 4, batch=6, accumulation=2))
    shared = zip(*(StepSampler(0, 4, 2, 2, process, 3) for process in range(3)), strict=True)
    assert [sum(parts, []) for parts in shared] == alone


def test_a_later_start_continues_where_the_first_would_be():
    whole, late = StepSampler(0, 9, 2, 2, 1, 2), StepSampler(6, 9, 2, 2, 1, 2)
    assert list(late) == list(whole)[12:]
    assert len(late) == len(list(late)) == 6


class BadFile(TinySamples):
    """Samples of which one can't be read."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def __getitem__(self, index):
        if index == 3:
            raise self.error
        return super().__getitem__(index)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("kind", [ValueError, FileNotFoundError])
def test_an_error_in_a_worker_is_one_line_of_the_same_kind(kind, workers):
    batches = iter(load_batches(BadFile(kind("a.png: it is no image")), StepSampler(0, 3, batch=2), workers))
    with pytest.raises(kind) as caught:
        list(without_tracebacks(batches))
    assert str(caught.value) == "a.png: it is no image"


def test_workers_do_not_change_the_samples():
    sampler = StepSampler(0, 3, batch=2)
    alone, helped = (list(load_batches(TinySamples(), sampler, workers)) for workers in (0, 2))
    for one, other in zip(alone, helped, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
