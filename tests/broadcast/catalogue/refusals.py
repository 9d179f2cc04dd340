"""Recordings that look worse than they are: streams that never came, and bytes that are no content."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.broadcast import transport
from tests.broadcast.studio import SECOND_PID, TFF, audio, service, steady, video
from tests.broadcast.transport import PRIVATE, Elementary
from tests.broadcast.truth import Made, Recipe, truth_of
from tests.sections import descriptor, language

AC3 = 0x81


def announced_and_never_sent() -> Made:
    """A second sound, a third by a private descriptor, and captions stand in the table and have no packet."""
    never = [
        Elementary(pid=SECOND_PID, stream_type=AC3, units=[], descriptors=language("eng")),
        Elementary(pid=0x112, stream_type=PRIVATE, units=[], descriptors=descriptor(0x6A, b"\0") + language("fre")),
        Elementary(pid=0x120, stream_type=PRIVATE, units=[], descriptors=descriptor(0x59, b"ger\x10\0\1\0\1")),
    ]
    data = transport.multiplexed(service(video([TFF]), audio([TFF]), *never), clock=steady())
    says = (
        f"no packet of PID {SECOND_PID:#x} (ac3, eng) is in the recording",
        "no packet of PID 0x112 (ac3, fre) is in the recording",
        "no packet of PID 0x120 (dvb_subtitle, ger) is in the recording",
    )
    return Made(data=data, truth=truth_of([TFF], says=says, doubts=()))


def padded(before: bytes = b"", behind: bytes = b"", form: Callable[[bytes], bytes] = bytes) -> Made:
    """Bytes that are no content stand before and behind; all of what is between is there, and nothing is in doubt."""
    data = transport.multiplexed(service(video([TFF]), audio([TFF])), clock=steady())
    return Made(data=before + form(data) + behind, truth=truth_of([TFF], doubts=()))


def hole(size: int) -> Made:
    """Zeros between two packets, as a disk gives them whose blocks were lost and are there again behind."""
    data = transport.multiplexed(service(video([TFF]), audio([TFF])), clock=steady())
    middle = len(data) // 2 // 188 * 188
    return Made(data=data[:middle] + bytes(size) + data[middle:], truth=truth_of([TFF], says=("to byte",)))


def with_fec(data: bytes) -> bytes:
    return b"".join(data[at : at + 188] + bytes(16) for at in range(0, len(data), 188))


def junk(size: int) -> bytes:
    """What the disk held before: sync bytes too, in no rhythm."""
    return random.Random(size).randbytes(size)


NULL = b"\x47\x1f\xff\x10" + b"\xff" * 184

CATALOGUE: dict[str, Recipe] = {
    "announced_and_never_sent": Recipe(make=announced_and_never_sent),
    "preallocated_zeros": Recipe(make=lambda: padded(behind=bytes(24 << 20))),
    "preallocated_ff": Recipe(make=lambda: padded(behind=b"\xff" * (9 << 20))),
    "padded_with_null_packets": Recipe(make=lambda: padded(behind=NULL * 40_000)),
    "junk_before": Recipe(make=lambda: padded(junk(15 << 20))),
    "junk_before_m2ts": Recipe(make=lambda: padded(junk(3_000_001), bytes(5 << 20), transport.as_m2ts), suffix=".m2ts"),
    "junk_before_fec": Recipe(make=lambda: padded(junk(3_000_003), form=with_fec)),
    "hole_of_zeros": Recipe(make=lambda: hole(3 << 20)),
    "topfield_header": Recipe(make=lambda: padded(b"TFrc" + junk(3756)), suffix=".rec"),
}
