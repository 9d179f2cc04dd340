"""Recordings that look worse than they are: streams that never came, and bytes that are no content."""

from __future__ import annotations

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


CATALOGUE: dict[str, Recipe] = {
    "announced_and_never_sent": Recipe(make=announced_and_never_sent),
}
