"""What a recording's clock did: the jumps, gaps and wrong timestamps that its receipt lists."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from encoderd.encode.epochs import FLICKS

#: Of each sort so many are listed; all are counted. A recording that is all damage has tens of thousands.
MOST_NOTED = 1000


class Kind(StrEnum):
    """What a step of the source's timestamps was taken for."""

    WRAP = "wrap"  #: the 33 bits began again; noted for the first stream
    FORWARD = "forward"  #: a jump of the clock, closed
    BACKWARD = "backward"  #: the same, back
    GAP = "gap"  #: time without packets, kept
    OUTLIER = "outlier"  #: one wrong timestamp, replaced


@dataclass(frozen=True, slots=True, kw_only=True)
class Discontinuity:
    """
    A jump of the clock, a gap or an outlier: at `at_s` on the output timeline, by `step_s` seconds of source time.

    Steps are without wraps: a jump by 20 hours forward is one by 6.5 hours back.
    """

    at_s: float
    step_s: float
    stream: int
    kind: Kind


def note(noted: list[Discontinuity], stream: int, kind: Kind, at: int, step: int) -> None:
    """Add to a list that does not grow without bound; `at` and `step` are flicks."""
    if len(noted) < MOST_NOTED:
        noted.append(Discontinuity(at_s=at / FLICKS, step_s=step / FLICKS, stream=stream, kind=kind))
