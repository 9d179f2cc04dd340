"""Bounded pipes between the threads of a transcode: a full one waits, a broken one wakes everybody."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Broken(Exception):
    """Another thread failed; this one has only to end."""


class Breaker:
    """
    The first error of any thread. Breaking wakes all threads that wait on a pipe of this breaker.

    `run` starts a thread whose exceptions break; `close` waits for all of them and raises the first error.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._pipes: list[Pipe[object]] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def run(self, name: str, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except Broken:
                pass
            except BaseException as error:  # noqa: BLE001 - carried to the main thread, raised by close()
                self.trip(error)

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def trip(self, error: BaseException) -> None:
        with self._lock:
            if self.error is None:
                self.error = error
        for pipe in self._pipes:
            pipe.wake()

    def watch(self, pipe: Pipe[object]) -> None:
        self._pipes.append(pipe)

    def close(self) -> None:
        """Wait for the threads; raise what the first failed one raised."""
        for thread in self._threads:
            thread.join()
        if self.error is not None:
            raise self.error


class Pipe(Generic[T]):
    """A queue of at most `size` items between threads; `end` closes it after `writers` writers have said so."""

    def __init__(self, breaker: Breaker, size: int, writers: int = 1) -> None:
        self._breaker = breaker
        self._size = size
        self._writers = writers
        self._items: deque[T] = deque()
        self._lock = threading.Lock()
        self._not_empty = threading.Condition(self._lock)
        self._not_full = threading.Condition(self._lock)
        breaker.watch(self)  # type: ignore[arg-type]  # the breaker only wakes it

    def put(self, item: T) -> None:
        """Append; waits while the pipe is full. Raises Broken when another thread failed."""
        with self._lock:
            while len(self._items) >= self._size:
                self._check()
                self._not_full.wait()
            self._check()
            self._items.append(item)
            self._not_empty.notify()

    def end(self) -> None:
        """Say that this writer has written its last item."""
        with self._lock:
            self._writers -= 1
            self._not_empty.notify_all()

    def __iter__(self) -> Iterator[T]:
        """Yield items until all writers have ended. Raises Broken when another thread failed."""
        while True:
            with self._lock:
                while not self._items:
                    self._check()
                    if self._writers == 0:
                        return
                    self._not_empty.wait()
                item = self._items.popleft()
                self._not_full.notify()
            yield item

    def wake(self) -> None:
        with self._lock:
            self._not_empty.notify_all()
            self._not_full.notify_all()

    def _check(self) -> None:
        if self._breaker.error is not None:
            raise Broken
