"""Reading and writing beside the network: one thread reads the next frames, another writes the last masks.

Image files are packed and unpacked without Python's lock, so that the network computes meanwhile; memory stays
constant, because a thread that is too far ahead, or behind, is waited for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
NO_MORE = object()


def read_ahead(items: Iterable[Item], count: int = 2) -> Iterator[Item]:
    """The items in order, made by a thread that is at most `count` ahead.

    An exception comes where the item would have come. Who stops early (an exception, Ctrl-C, `close`) waits for the
    item at hand and for no other.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1) as thread:
        coming = deque(thread.submit(next, iterator, NO_MORE) for _ in range(count))
        try:
            while (item := coming.popleft().result()) is not NO_MORE:
                coming.append(thread.submit(next, iterator, NO_MORE))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)


@contextmanager
def write_behind(count: int = 8) -> Iterator[Callable[..., None]]:
    """A function `later(function, *arguments)`: a thread calls in that order, while the block goes on.

    At most `count` calls wait. What a call raises is raised by a later `later` or by the end of the block. However the
    block ends, by Ctrl-C too, the calls that wait are made first.
    """
    waiting: deque[Future[object]] = deque()

    def later(function: Callable[..., object], *arguments: object) -> None:
        while waiting and (len(waiting) >= count or waiting[0].done()):
            waiting.popleft().result()
        waiting.append(thread.submit(function, *arguments))

    with ThreadPoolExecutor(1) as thread:
        yield later
        for call in waiting:
            call.result()
