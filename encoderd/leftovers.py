"""
Partial files that a former life of the daemon left in the output folders.

A library may be large or on a share that hangs: the walk has a thread of its own, and the daemon takes what it found.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from encoderd.encode.publish import job_of_partial


class Leftovers:
    """Walks the folders once, from `start` on. `found` is called from the daemon's thread."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = tuple(folders)
        self._found: queue.SimpleQueue[tuple[Path, int]] = queue.SimpleQueue()
        self._stopping = False
        self._thread = threading.Thread(target=self._walk, name="leftovers", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the walk; one that hangs in its file system is left behind."""
        self._stopping = True
        if self._thread.is_alive():
            self._thread.join(0.5)

    def found(self) -> Iterator[tuple[Path, int]]:
        """Yield (partial file, number of its job) of what was found since the last call."""
        while True:
            try:
                yield self._found.get_nowait()
            except queue.Empty:
                return

    def _walk(self) -> None:
        for folder in self._folders:
            for where, _, names in os.walk(folder):
                if self._stopping:
                    return
                for name in names:
                    job = job_of_partial(name)
                    if job is not None:
                        self._found.put((Path(where) / name, job))
