"""Bounded pipes between threads: backpressure, order, and ends that everybody notices."""

from __future__ import annotations

import threading
import time

import pytest

from encoderd.encode.pipe import Breaker, Broken, Pipe

LIMIT_S = 10.0


def within(condition: threading.Event) -> None:
    assert condition.wait(LIMIT_S), "nothing happened within the limit"


def wait_until_full(pipe: Pipe[int], size: int) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while len(pipe._items) < size:
        assert time.monotonic() < deadline_s, "the pipe never filled"
        time.sleep(0.001)


def test_items_come_out_in_the_order_they_went_in() -> None:
    breaker = Breaker()
    pipe: Pipe[int] = Pipe(breaker, 3)

    def write() -> None:
        for number in range(1000):
            pipe.put(number)
        pipe.end()

    breaker.run("write", write)

    assert list(pipe) == list(range(1000))
    breaker.close()


def test_a_full_pipe_holds_its_writer_up() -> None:
    """At most `size` items wait: that is what keeps memory bounded."""
    breaker = Breaker()
    pipe: Pipe[int] = Pipe(breaker, 2)
    written: list[int] = []

    def write() -> None:
        for number in range(5):
            pipe.put(number)
            written.append(number)
        pipe.end()

    breaker.run("write", write)
    wait_until_full(pipe, 2)

    assert len(written) <= 2
    assert list(pipe) == [0, 1, 2, 3, 4]
    breaker.close()


def test_a_pipe_ends_with_its_last_writer() -> None:
    breaker = Breaker()
    pipe: Pipe[int] = Pipe(breaker, 100, writers=2)
    for first in (0, 100):

        def write(first: int = first) -> None:
            for number in range(first, first + 40):
                pipe.put(number)
            pipe.end()

        breaker.run(f"write {first}", write)
    found = list(pipe)

    assert sorted(found) == [*range(40), *range(100, 140)]
    assert [number for number in found if number < 100] == list(range(40)), "each writer's own order stays"
    breaker.close()


def test_breaking_wakes_a_writer_that_waits() -> None:
    breaker = Breaker()
    pipe: Pipe[int] = Pipe(breaker, 1)
    ended = threading.Event()

    def write() -> None:
        try:
            while True:
                pipe.put(0)
        finally:
            ended.set()

    breaker.run("write", write)
    wait_until_full(pipe, 1)
    breaker.trip(RuntimeError("the muxer failed"))
    within(ended)

    with pytest.raises(RuntimeError, match="the muxer failed"):
        breaker.close()


def test_breaking_wakes_a_reader_that_waits() -> None:
    breaker = Breaker()
    pipe: Pipe[int] = Pipe(breaker, 1)
    started, ended = threading.Event(), threading.Event()

    def read() -> None:
        started.set()
        try:
            list(pipe)
        except Broken:
            ended.set()
            raise

    breaker.run("read", read)
    within(started)
    breaker.trip(OSError(28, "No space left on device"))
    within(ended)

    with pytest.raises(OSError, match="No space"):
        breaker.close()


@pytest.mark.parametrize("failing", ["first", "middle", "last"])
def test_whichever_thread_fails_all_of_them_end(failing: str) -> None:
    """Three in a row, as in a transcode: the error of the one that failed comes out, the others just end."""
    breaker = Breaker()
    one: Pipe[int] = Pipe(breaker, 2)
    two: Pipe[int] = Pipe(breaker, 2)

    def fail_at(name: str, number: int) -> None:
        if name == failing and number == 50:
            raise MemoryError(name)

    def first() -> None:
        for number in range(1000):
            fail_at("first", number)
            one.put(number)
        one.end()

    def middle() -> None:
        for number in one:
            fail_at("middle", number)
            two.put(number)
        two.end()

    def last() -> None:
        for number in two:
            fail_at("last", number)

    for work in (first, middle, last):
        breaker.run(work.__name__, work)

    with pytest.raises(MemoryError, match=failing):
        breaker.close()


def test_the_first_error_is_the_one_that_counts() -> None:
    """What comes after is often its consequence."""
    breaker = Breaker()
    breaker.trip(RuntimeError("cause"))
    breaker.trip(RuntimeError("consequence"))

    with pytest.raises(RuntimeError, match="cause"):
        breaker.close()


def test_nothing_can_be_put_into_a_broken_pipe() -> None:
    breaker = Breaker()
    pipe: Pipe[int] = Pipe(breaker, 10)
    breaker.trip(RuntimeError("x"))

    with pytest.raises(Broken):
        pipe.put(1)
    with pytest.raises(Broken):
        list(pipe)
