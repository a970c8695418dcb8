"""ranet_edu.video.beside: in order, a few at a time, whole on every way out."""

from __future__ import annotations

import threading

import pytest

from ranet_edu.video.beside import read_ahead, write_behind


def test_items_come_in_order_and_none_is_lost():
    assert list(read_ahead(iter(range(50)))) == list(range(50))
    assert list(read_ahead([])) == []


def test_it_reads_a_few_ahead_and_no_more():
    read, third = [], threading.Event()

    def items():
        for number in range(100):
            read.append(number)
            if number == 2:
                third.set()
            yield number

    ahead = read_ahead(items(), count=2)
    assert next(ahead) == 0
    assert third.wait(10)  # both that may be read are read, without being asked for
    ahead.close()
    assert read == [0, 1, 2]


def test_an_error_comes_in_its_place():
    def broken():
        yield from (0, 1)
        raise ValueError("frame 2 is damaged")

    found = []
    with pytest.raises(ValueError, match="frame 2 is damaged"):
        for item in read_ahead(broken()):
            found.append(item)
    assert found == [0, 1]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_who_stops_reading_early_leaves_no_thread(error):
    threads = threading.active_count()
    with pytest.raises(error):
        for item in read_ahead(iter(range(100))):
            if item == 3:
                raise error
    assert threading.active_count() == threads


def test_calls_are_made_in_order_and_all_of_them():
    written = []
    with write_behind(count=2) as later:
        for number in range(50):
            later(written.append, number)
    assert written == list(range(50))


def test_it_waits_for_calls_that_lag_behind():
    gate, asked, written = threading.Event(), [], []

    def slow(number):
        gate.wait(10)
        written.append(number)

    def ask():
        with write_behind(count=3) as later:
            for number in range(10):
                later(slow, number)
                asked.append(number)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(0.2)
    assert asked == [0, 1, 2] and written == []  # the fourth has to wait
    gate.set()
    thread.join(10)
    assert written == list(range(10))


def test_an_error_of_a_call_is_raised_and_no_later_call_is_asked_for():
    written = []

    def write(number):
        if number == 2:
            raise OSError("2.png: the disk is full")
        written.append(number)

    with pytest.raises(OSError, match="2.png: the disk is full"), write_behind(count=1) as later:
        for number in range(10):
            later(write, number)
    assert written == [0, 1]


def test_the_last_call_s_error_is_not_lost():
    with pytest.raises(ZeroDivisionError), write_behind() as later:
        later(divmod, 1, 0)


def test_after_ctrl_c_what_was_asked_for_is_written_whole():
    gate, written = threading.Event(), []
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt), write_behind() as later:
        later(gate.wait, 10)
        for number in range(3):
            later(written.append, number)
        gate.set()
        raise KeyboardInterrupt
    assert written == [0, 1, 2] and threading.active_count() == threads
