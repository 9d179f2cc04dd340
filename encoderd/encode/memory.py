"""Memory that nothing uses any more goes back to the system."""

from __future__ import annotations

import ctypes
import gc

#: mallopt(3), from glibc's malloc.h.
_M_MMAP_THRESHOLD = -3
#: Bytes from which a piece of memory is the system's own, and goes back to it at once.
_LARGE = 2**20


def give_back_memory() -> None:
    """What decoders, encoders and demuxers had is free but not the system's; the C library keeps it unless asked."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's own
    if trim is not None:
        trim(0)


def keep_large_apart() -> None:
    """
    From now on, what is large is taken from the system and given back at once. For what follows the encode.

    The index of a long MP4 is a few arrays of many megabytes, which grow as it is read: in the C library's own heap
    they leave holes, and the second reading took 40 % more than the first (measured). Pictures would be slower.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
