"""
Whether pictures are combed, which deinterlacer a recording needs, and which pictures of telecined film are repeats.

Flags say what the encoder was told; the pictures say what the camera sent. They are asked where the flags may lie.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from encoderd.encode.pictures import FILM_RATES, Look

Lines = npt.NDArray[Any]  # luma, lines × columns, signed so that differences fit

#: How much better one order of the fields must fit than the other, and whole pictures than fields.
#: Source: the defaults of FFmpeg's idet (intl_thres 1.04, prog_thres 1.5), whose measure this is.
INTERLACED_RATIO, PROGRESSIVE_RATIO = 1.04, 1.5
#: In a combed picture a line of the nearest field fits no worse than this.
COMBED_RATIO = 1.2
#: A field that differs from the one before by so much less than the other field does is the same one again.
#: Source: idet's rep_thres.
REPEATED_RATIO = 3.0
#: Places that must agree before the pictures are believed and the flags are not.
PLACES_COMBED, PLACES_PROGRESSIVE = 2, 4
#: A place has a say with so many pictures that show motion.
LEAST_VERDICTS = 2
#: Of so many pictures with a repeat, one goes.
CYCLE = 5
#: Times of film's pictures may be beside whole fields by so much of one: containers that count in milliseconds round.
FIELD_SLACK = Fraction(1, 4)
#: Fields that a picture of film lasts, and how long its pictures last on average at a place where five or six are seen.
LASTING, MEAN_LASTING = frozenset({2, 3, 4}), (Fraction(9, 4), Fraction(14, 5))
#: Steps from picture to picture, at one place, that can show anything.
LEAST_STEPS = 3
#: Of film at 25 pictures a second one of twelve lasts a field longer: places where one does, and its share at most.
PLACES_LONGER, MOST_LONGER = 2, Fraction(1, 6)
#: Mean difference per sample, in the block that differs most, below which two pictures are the same but for the noise
#: of coding; and how much smaller than the next one a difference must be to mark a repeat.
STILL_DIFFERENCE, REPEAT_RATIO = 4.0, 0.5
#: Lines and columns (of those that are compared) of a spot; how badly its lines must fit between each other, as the
#: mean of |above + below − 2 × own|; how much worse than those of the nearest fields, or else how much better one order
#: of the fields must fit than the other. Noise and fine detail in motion reach 1.5 and 2 (measured).
SPOT, LEAST_COMB, SPOT_RATIO, SPOT_ORDER_RATIO = (8, 4), 24, 3, 2.5
#: Lines and columns of a block.
BLOCK = 8, 16


#: How much further the one weaving of two fields is from the other than that of two pictures: as logarithms to base 2,
#: of each pair at least and of the mean. Fields reach 0.5, in vertical motion 0.03 and 1; whole pictures change between
#: 0.3 and −0.3, but not by turns (measured).
LEAST_ABOVE, MEAN_ABOVE = 0.02, 0.1


class Verdict(StrEnum):
    """What a picture shows, compared with the ones before and after it."""

    TFF = "tff"  #: combed, top field first
    BFF = "bff"  #: combed, bottom field first
    PROGRESSIVE = "progressive"
    UNDETERMINED = "undetermined"  #: no motion that would tell


class Method(StrEnum):
    """What becomes of pictures that are interlaced."""

    OFF = "off"  #: passed as they are
    FRAME = "frame"  #: one picture for each frame
    FIELD = "field"  #: one picture for each field, at twice the rate
    IVTC = "ivtc"  #: film pictures woven from their fields, repeats left out


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulldown:
    """Film by its repeat flags: so many `pictures` last so many `fields` of `field_s` seconds, not all the same."""

    pictures: int
    fields: int
    field_s: Fraction

    @property
    def lasting(self) -> Fraction:
        """Fields that each picture lasts when all last the same."""
        return Fraction(self.fields, self.pictures)


#: 2:3, 2:3:3:2, 2:2:2:4…: film in 60 fields (59.94 or 60, which the slack makes one); and in 50, 2:2:…:2:3.
FILM_IN_60 = Pulldown(pictures=4, fields=10, field_s=Fraction(1001, 60_000))
FILM_IN_50 = Pulldown(pictures=12, fields=25, field_s=Fraction(1, 50))


@dataclass(frozen=True, slots=True, kw_only=True)
class Deinterlacing:
    """
    The decision for a recording: `every` picture or those flagged interlaced, by the flags' field order or `parity`
    ("auto", "tff", "bff"); with `pulldown` pictures that last so are spread evenly, and where film was made fields
    for 60 of them, one of five pictures is left out (`decimated`). `why` is a sentence for the receipt.
    """

    method: Method
    every: bool = False
    parity: str = "auto"
    pulldown: Pulldown | None = None
    why: str = ""

    @property
    def decimated(self) -> bool:
        return self.pulldown == FILM_IN_60

    def frame_rate(self, source: Fraction) -> Fraction:
        """Return pictures per second of the output."""
        if self.method is Method.FIELD:
            return source * 2
        return source if self.pulldown is None else source * 2 / self.pulldown.lasting


def deinterlacing(wish: str, looks: Sequence[Look], frame_rate: Fraction) -> Deinterlacing:
    """
    Decide by the wish ("auto", "off", "frame", "field", "ivtc"), the flags and, where those may lie, the pictures.

    `frame_rate` is the source's. Without looks the flags decide.
    """
    seen = [look for look in looks if look.frames]
    combed = [look for look in seen if look.combed >= LEAST_VERDICTS and look.combed > look.progressive]
    whole = [look for look in seen if look.progressive >= LEAST_VERDICTS and not look.combed]
    flagged = [look for look in seen if look.interlaced * 2 > look.frames]
    if wish == "off":
        return Deinterlacing(method=Method.OFF, why="switched off")
    if wish == "frame":
        return Deinterlacing(method=Method.FRAME, why="by the flags, as asked")
    method = {"field": Method.FIELD, "ivtc": Method.IVTC}.get(wish, Method.FRAME)
    film = [look for look in seen if look.pulldown]
    enough = bool(film) if wish == "ivtc" else wish == "auto" and len(film) * 2 > len(seen)
    if enough and frame_rate in FILM_RATES:
        shown = float(frame_rate * (CYCLE - 1) / CYCLE)
        why = f"film by its repeat flags at {len(film)} of {len(seen)} places: shown evenly at {shown:.3f}"
        parity = _parity(combed)
        return Deinterlacing(method=Method.IVTC, parity=parity, pulldown=FILM_IN_60, why=why)
    if wish in {"auto", "ivtc"} and frame_rate == 25 and _is_film_in_50(seen):
        why = "film by its repeat flags, one of twelve pictures a field longer: shown evenly at 24"
        return Deinterlacing(method=Method.IVTC, parity=_parity(combed), pulldown=FILM_IN_50, why=why)
    unflagged = [look for look in combed if not look.interlaced]
    if len(unflagged) >= PLACES_COMBED and len(unflagged) > len([look for look in whole if not look.interlaced]):
        why = f"flagged progressive, but combed at {len(unflagged)} of {len(seen)} places: every picture"
        return _every(method, _parity(combed), frame_rate, why)
    if seen and not any(look.interlaced or look.combed for look in seen):
        why = f"progressive at all of {len(seen)} places; a part that is flagged interlaced is deinterlaced"
        return Deinterlacing(method=Method.FRAME, why=why)
    if method is Method.IVTC:
        return _film(seen, combed, frame_rate)
    believed = len(whole) >= PLACES_PROGRESSIVE and len(flagged) == len(seen)
    if believed and not any(look.combed or look.spots >= LEAST_VERDICTS or look.repeated for look in seen):
        why = f"flagged interlaced, but no picture is combed at any of {len(seen)} places: passed as they are"
        return Deinterlacing(method=Method.OFF, why=why)
    if not seen:
        return Deinterlacing(method=method, why="by the flags")
    wrong = [look for look in combed if look.interlaced and (look.tff > look.bff) is not look.is_top_first]
    if len(wrong) >= PLACES_COMBED and len(wrong) * 2 > len(combed) and (parity := _parity(combed)) != "auto":
        first = {"tff": "top", "bff": "bottom"}[parity]
        why = (
            f"the {first} field is first in the pictures at {len(wrong)} of {len(seen)} places, the flags say otherwise"
        )
        return Deinterlacing(method=method, parity=parity, why=why)
    agree = "flags and pictures agree" if combed else "no picture says otherwise"
    return Deinterlacing(
        method=method, why=f"by the flags: interlaced at {len(flagged)} of {len(seen)} places, {agree}"
    )


def _every(method: Method, parity: str, frame_rate: Fraction, why: str) -> Deinterlacing:
    decimated = method is Method.IVTC and frame_rate in FILM_RATES
    pulldown = FILM_IN_60 if decimated else None
    return Deinterlacing(method=method, every=True, parity=parity, pulldown=pulldown, why=why)


def _is_film_in_50(seen: Sequence[Look]) -> bool:
    lasting = [fields for look in seen for fields in look.lasting]
    longer = [look for look in seen if 3 in look.lasting]
    mostly = sum(bool(look.lasting) for look in seen) * 2 > len(seen)
    return mostly and len(longer) >= PLACES_LONGER and lasting.count(3) <= MOST_LONGER * len(lasting)


def _film(seen: Sequence[Look], combed: Sequence[Look], frame_rate: Fraction) -> Deinterlacing:
    """Film is woven anew; at 25 pictures a second it has no repeats, and only the phase of its fields is mended."""
    decimated = frame_rate in FILM_RATES
    why = "film woven from its fields, one of five pictures left out" if decimated else "film woven from its fields"
    if seen:
        why += f" (repeated fields at {sum(look.repeated > 0 for look in seen)} of {len(seen)} places)"
    pulldown, parity = FILM_IN_60 if decimated else None, _parity(combed or seen)
    return Deinterlacing(method=Method.IVTC, parity=parity, pulldown=pulldown, why=why)


def _parity(looks: Sequence[Look]) -> str:
    """Return the field order that the pictures show; where they show none, or both, the flags of each decide."""
    top, bottom = sum(look.tff for look in looks), sum(look.bff for look in looks)
    if max(top, bottom) < LEAST_VERDICTS or min(top, bottom) * 4 > max(top, bottom):
        return "auto"
    return "tff" if top > bottom else "bff"


def verdict(before: Lines, picture: Lines, after: Lines) -> Verdict:
    """
    Say whether a picture's two fields are of one moment, from luma of it and its neighbours (same shape, signed).

    A line that is replaced by the same line of the picture before or after fits better between its neighbours when it
    is nearer to them in time. In a combed picture the nearest of those fits about as well as the picture's own line, in
    a whole one worse. Source: the measure of FFmpeg's idet, which asks for the order first, and so takes many a
    progressive picture with vertical motion for a combed one.
    """
    around = picture[:-2] + picture[2:]
    with_before = np.abs(around - 2 * before[1:-1]).sum(axis=1, dtype=np.int64)
    with_after = np.abs(around - 2 * after[1:-1]).sum(axis=1, dtype=np.int64)
    within = int(np.abs(around - 2 * picture[1:-1]).sum(dtype=np.int64))
    top_first = int(with_before[0::2].sum() + with_after[1::2].sum())  # lines of the bottom field come first here
    bottom_first = int(with_before[1::2].sum() + with_after[0::2].sum())
    nearest = min(top_first, bottom_first)
    if nearest > PROGRESSIVE_RATIO * within:
        return Verdict.PROGRESSIVE
    if nearest > COMBED_RATIO * within:
        return Verdict.UNDETERMINED
    if bottom_first > INTERLACED_RATIO * top_first:
        return Verdict.TFF
    if top_first > INTERLACED_RATIO * bottom_first:
        return Verdict.BFF
    return Verdict.UNDETERMINED


def has_combed_spot(before: Lines, picture: Lines, after: Lines) -> bool:
    """
    Whether some small part of the picture is combed: a ticker, or a face before a still wall.

    The whole picture's verdict is of what most of it shows; a recording may be passed untouched only where not even a
    spot of it is combed.
    """
    around = picture[:-2] + picture[2:]
    fits = [np.abs(around - 2 * other[1:-1]) for other in (picture, before, after)]
    lines, columns = (size // block for size, block in zip(fits[0].shape, SPOT, strict=True))
    if not lines or not columns:
        return False
    own, by_before, by_after = (
        _spot_sums(fit[: lines * SPOT[0], : columns * SPOT[1]].reshape(lines, SPOT[0] // 2, 2, columns * SPOT[1]))
        for fit in fits
    )  # spots × the two fields
    within = own.sum(axis=1)
    top_first = by_before[:, 0] + by_after[:, 1]
    bottom_first = by_before[:, 1] + by_after[:, 0]
    nearest, farthest = np.minimum(top_first, bottom_first), np.maximum(top_first, bottom_first)
    seen = within > LEAST_COMB * SPOT[0] * SPOT[1]
    moving = (nearest <= within) & (farthest > SPOT_ORDER_RATIO * nearest)
    return bool((seen & (moving | (within > SPOT_RATIO * nearest))).any())


def _spot_sums(fit: Lines) -> Lines:
    """Return the sums of spots × the two fields × columns: lines are added first, which are long."""
    along = fit.sum(axis=1, dtype=np.int32)
    sums: Lines = along[:, :, 0 :: SPOT[1]].copy()
    for column in range(1, SPOT[1]):
        sums += along[:, :, column :: SPOT[1]]
    return sums


def repeats_field(before: Lines, picture: Lines) -> bool:
    """Whether one field is the one of the picture before and the other is not."""
    top, bottom = (float(np.abs(picture[at::2] - before[at::2]).mean()) for at in (0, 1))
    return max(top, bottom) > 1.0 and max(top, bottom) > REPEATED_RATIO * min(top, bottom)


def difference(one: Lines, other: Lines) -> float:
    """
    Return the mean difference per sample of the block that differs most; lips move in a small part of a picture.

    Lines are added first, which are long: with samples of 8 bits that takes a tenth of the time.
    """
    lines, columns = (size // block * block for size, block in zip(one.shape, BLOCK, strict=True))
    apart = np.maximum(one, other) - np.minimum(one, other)
    if not lines or not columns:
        return float(apart.mean()) if one.size else 0.0
    along = apart[:lines, :columns].reshape(lines // BLOCK[0], BLOCK[0], columns).sum(axis=1, dtype=np.int32)
    blocks = along.reshape(lines // BLOCK[0], columns // BLOCK[1], BLOCK[1]).sum(axis=2, dtype=np.int32)
    return float(blocks.max()) / (BLOCK[0] * BLOCK[1])


def lies_above(one: Lines, other: Lines) -> float:
    """
    Return how much better the lines of two pictures fit when those of `one` lie above those of `other`: a logarithm.

    Negative when they fit better the other way round, 0 when there is no difference: in whole pictures without motion.
    """
    return math.log2((_misfit(other, one) + 1) / (_misfit(one, other) + 1))


def _misfit(above: Lines, below: Lines) -> int:
    """Of the lines of one between those of the other: the sum of |above + below − 2 × own|."""
    lower = np.abs(above[:-1] + above[1:] - 2 * below[:-1]).sum(dtype=np.int64)
    upper = np.abs(below[:-1] + below[1:] - 2 * above[1:]).sum(dtype=np.int64)
    return int(lower + upper)


def parities(above: Sequence[float]) -> list[bool]:
    """
    Say of each picture in a row whether it is a top field, [] when the pictures are no fields.

    `above` are `lies_above` of each two neighbours. Of fields the sign changes with each of them, as every second one
    lies half a line lower; a camera that tilts moves whole pictures in one direction.
    """
    turned = [value if number % 2 == 0 else -value for number, value in enumerate(above)]
    if len(above) < LEAST_STEPS or not (min(turned) > LEAST_ABOVE or max(turned) < -LEAST_ABOVE):
        return []
    if abs(sum(turned)) < MEAN_ABOVE * len(turned):
        return []
    return [(turned[0] > 0) is (number % 2 == 0) for number in range(len(above) + 1)]


def fields_of(step_s: Fraction, field_s: Fraction) -> int:
    """Return how many fields a picture lasts that is shown for so many seconds; 0: no whole number of them."""
    fields = round(step_s / field_s)
    return fields if abs(step_s / field_s - fields) < FIELD_SLACK else 0


def lasting_of(steps_s: Sequence[Fraction]) -> tuple[int, ...]:
    """Return the fields of a fiftieth that pictures last, () when they are not two and three."""
    lasting = tuple(fields_of(step_s, FILM_IN_50.field_s) for step_s in steps_s)
    return lasting if {2, 3} >= set(lasting) and len(lasting) > LEAST_STEPS else ()


def is_pulldown(steps_s: Sequence[Fraction]) -> bool:
    """Whether pictures last two, three and four fields in a mixture that makes two and a half of them."""
    lasting = [fields_of(step_s, FILM_IN_60.field_s) for step_s in steps_s]
    if len(lasting) <= LEAST_STEPS or not LASTING >= set(lasting) or len(set(lasting)) == 1:
        return False
    return MEAN_LASTING[0] < Fraction(sum(lasting), len(lasting)) <= MEAN_LASTING[1]


def repeat_of(differences: Sequence[float]) -> int | None:
    """
    Return which picture of a cycle is the one before it again, None when none is.

    `differences` are of each picture to the one before. In a still scene all are alike, and any may go; pictures that
    were never film (30 a second, all of them different) stay, each at its time.
    """
    least = min(range(len(differences)), key=differences.__getitem__)
    next_least = min(found for number, found in enumerate(differences) if number != least)
    if differences[least] <= STILL_DIFFERENCE or differences[least] < REPEAT_RATIO * next_least:
        return least
    return None
