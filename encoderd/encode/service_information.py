"""
What the broadcaster says of a recording: service, event and clock, from the tables SDT, EIT and TOT or TDT.

A recording begins before its programme and ends behind it: the event that counts is the one that most of the sampled
places name as present. ARIB (Japan) and DVB share the tables; text and clock differ. ATSC's PSIP is not read.
Sources: ETSI EN 300 468, 5.2 and annex C; ARIB STD-B10 part 2, 5.2; network numbers: ARIB TR-B14 volume 7, TR-B15.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone

import numpy as np

from encoderd.encode.byte_clock import CLOCK_HZ, CLOCK_WRAP
from encoderd.encode.elementary_streams import Component, component, descriptors
from encoderd.encode.media import Service
from encoderd.encode.service_text import arib_text, dvb_text
from encoderd.encode.transport_stream import headers, packet_places, packet_shape, sections_of

_SDT_PID, _EIT_PID, _TOT_PID = 0x11, 0x12, 0x14
_SDT, _EIT_PRESENT, _TDT, _TOT = 0x42, 0x4E, 0x70, 0x73
_SERVICE, _SHORT_EVENT, _LOCAL_OFFSET = 0x48, 0x4D, 0x58
#: Packets of these tables that are read of one place; a whole schedule may be among them.
_MOST_PACKETS = 2_000
#: Japan's networks: BS, CS and the terrestrial ones, which are numbered by region. They send ARIB's text.
_ARIB_NETWORKS = {0x0004, 0x0006, 0x0007, 0x000A, *range(0x7880, 0x8000)}
_JAPAN = timezone(timedelta(hours=9))
#: A clock that is read farther away is not counted back to the beginning.
_MOST_COUNTED_BACK_S = 12 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of a service; times are None when not told, `start` has the broadcaster's own offset."""

    event_id: int
    title: str
    description: str
    start: datetime | None
    duration_s: int | None
    components: tuple[Component, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSample:
    """
    What one place tells: {service: (name, provider)}, {service: its present event}, the broadcaster's clock with the
    PCR (90 kHz) nearest to it and the first PCR of the place, both of the same PID; None when there is none.
    """

    names: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    present: Mapping[int, Event] = field(default_factory=dict)
    clock: datetime | None = None
    clock_pcr: int | None = None
    first_pcr: int | None = None


def read_services(data: bytes, pcr_pid: int) -> ServiceSample:
    """Return what a piece of a transport stream (some MiB: the tables come every few seconds) tells; never raises."""
    shape = packet_shape(data)
    if shape is None:
        return ServiceSample()
    names: dict[int, tuple[str, str]] = {}
    present: dict[int, Event] = {}
    clock: datetime | None = None
    clock_at, offset, local = 0, timedelta(0), False
    networks: set[int] = set()
    for _, at, section in sections_of(data, shape, (_SDT_PID, _EIT_PID, _TOT_PID), _MOST_PACKETS):
        if section[0] == _SDT and section[5] & 1:
            names.update(_services(section))
            networks.add(section[8] << 8 | section[9])
        elif section[0] == _EIT_PRESENT and section[5] & 1 and section[6] == 0:
            event = _present(section)
            if event is not None:
                present.setdefault(section[3] << 8 | section[4], event)
                networks.add(section[10] << 8 | section[11])
        elif section[0] in (_TDT, _TOT) and len(section) >= 8:
            told = _date(section[3:8])
            if told is not None and (clock is None or section[0] == _TOT):
                clock, clock_at = told, at
                offset, local = _offset(section) if section[0] == _TOT else (offset, local)
    japan = not networks.isdisjoint(_ARIB_NETWORKS) if networks else local
    first_pcr, clock_pcr = _pcrs(data, shape, pcr_pid, clock_at)
    return ServiceSample(
        names=names,
        present=present,
        clock=None if clock is None else _with_offset(clock, offset, japan),
        clock_pcr=None if clock is None else clock_pcr,
        first_pcr=first_pcr,
    )


def service(places: Sequence[ServiceSample], number: int) -> tuple[Service, Event | None]:
    """
    Return what the places of a recording (in its order, the head first) tell of programme `number`, and its event.

    `Service.started_at` is the clock of the first place that has one, counted back by the PCR to the first packet.
    """
    named = next((place.names[number] for place in places if number in place.names), ("", ""))
    seen = [place.present[number] for place in places if number in place.present]
    event: Event | None = None
    if seen:
        most, _ = Counter(one.event_id for one in seen).most_common(1)[0]
        event = next(one for one in seen if one.event_id == most)
    return (
        Service(
            name=named[0],
            provider=named[1],
            title="" if event is None else event.title,
            description="" if event is None else event.description,
            started_at=_started_at(places),
        ),
        event,
    )


def _started_at(places: Sequence[ServiceSample]) -> str:
    clocked = next((place for place in places if place.clock is not None), None)
    if clocked is None or clocked.clock is None or not places:
        return ""
    begin = places[0].first_pcr
    passed_s = 0
    if begin is not None and clocked.clock_pcr is not None:
        passed_s = round((clocked.clock_pcr - begin) % CLOCK_WRAP / CLOCK_HZ)
    if passed_s > _MOST_COUNTED_BACK_S:
        passed_s = 0 if clocked is places[0] else -1
    if passed_s < 0:
        return ""
    try:
        return (clocked.clock - timedelta(seconds=passed_s)).isoformat()
    except OverflowError:
        return ""


# --- tables


def _loop(section: bytes, at: int, head: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield (fixed part, descriptors) of a loop whose entries begin with `head` bytes, the length in the last two."""
    end = len(section) - 4
    while at + head <= end:
        length = (section[at + head - 2] & 0x0F) << 8 | section[at + head - 1]
        yield section[at : at + head], section[at + head : min(at + head + length, end)]
        at += head + length


def _text_of(network: int) -> Callable[[bytes], str]:
    return arib_text if network in _ARIB_NETWORKS else dvb_text


def _services(section: bytes) -> Iterator[tuple[int, tuple[str, str]]]:
    text = _text_of(section[8] << 8 | section[9])
    for head, loop in _loop(section, 11, 5):
        for tag, body in descriptors(loop):
            if tag == _SERVICE and len(body) >= 3:
                provider = body[2 : 2 + body[1]]
                rest = body[2 + body[1] :]
                name = rest[1 : 1 + rest[0]] if rest else b""
                yield head[0] << 8 | head[1], (text(name), text(provider))


def _present(section: bytes) -> Event | None:
    if len(section) < 18:
        return None
    network = section[10] << 8 | section[11]
    arib = network in _ARIB_NETWORKS
    text = _text_of(network)
    for head, loop in _loop(section, 14, 12):
        title = description = ""
        components = []
        for tag, body in descriptors(loop):
            if tag == _SHORT_EVENT and len(body) >= 5 and not title:
                title = text(body[4 : 4 + body[3]])
                rest = body[4 + body[3] :]
                description = text(rest[1 : 1 + rest[0]]) if rest else ""
            told = component(tag, body)
            if told is not None:
                components.append(told)
        start = _date(head[2:7])
        return Event(
            event_id=head[0] << 8 | head[1],
            title=title,
            description=description,
            start=None if start is None else start.replace(tzinfo=_JAPAN if arib else UTC),
            duration_s=_duration_s(head[7:10]),
            components=tuple(components),
        )
    return None


def _offset(section: bytes) -> tuple[timedelta, bool]:
    """Return the local time offset of a TOT, and whether it looks like Japan's, which sends none and local time."""
    loop = section[10:-4]
    for tag, body in descriptors(loop):
        if tag == _LOCAL_OFFSET and len(body) >= 6:
            if body[:3] == b"JPN":
                return timedelta(0), True
            minutes = _decimal(body[4]) * 60 + _decimal(body[5])
            if minutes <= 14 * 60:
                return timedelta(minutes=-minutes if body[3] & 1 else minutes), False
    return timedelta(0), not loop


def _with_offset(clock: datetime, offset: timedelta, arib: bool) -> datetime:
    """Return the clock with its offset: ARIB sends Japan's time, DVB universal time and the offset."""
    if arib:
        return clock.replace(tzinfo=_JAPAN)
    try:
        return clock.replace(tzinfo=UTC).astimezone(timezone(offset))
    except OverflowError:
        return clock.replace(tzinfo=UTC)


def _decimal(byte: int) -> int:
    return (byte >> 4) * 10 + (byte & 15)


def _duration_s(coded: bytes) -> int | None:
    if coded == b"\xff\xff\xff":
        return None
    hours, minutes, seconds = map(_decimal, coded)
    return hours * 3600 + minutes * 60 + seconds


def _date(coded: bytes) -> datetime | None:
    """Return a time as annex C of EN 300 468 codes it, without an offset; None for what is no time."""
    day = coded[0] << 8 | coded[1]
    hour, minute, second = map(_decimal, coded[2:5])
    if coded == b"\xff" * 5 or hour > 23 or minute > 59 or second > 59:
        return None
    # the modified Julian date of 1970-01-01 is 40587
    return datetime(1970, 1, 1) + timedelta(days=day - 40587, hours=hour, minutes=minute, seconds=second)


def _pcrs(data: bytes, shape: tuple[int, int, int], pid: int, near: int) -> tuple[int | None, int | None]:
    """Return the first PCR of `pid` in the piece, and the last one before `near` (else the first behind)."""
    size, start, ahead = shape
    view = np.frombuffer(data, np.uint8)
    at = packet_places(view, size, start + ahead)
    head = headers(view, at)
    at = at[(head >> 8 & 0x1FFF == pid) & (head & 0x20 != 0) & (head & 0x800000 == 0)]
    at = at[(view[at + 4] >= 7) & (view[at + 5] & 0x10 != 0)]
    if len(at) == 0:
        return None, None
    before = max(0, int(np.searchsorted(at, near)) - 1)
    return _ticks(data, int(at[0])), _ticks(data, int(at[before]))


def _ticks(data: bytes, at: int) -> int:
    return int.from_bytes(data[at + 6 : at + 11], "big") >> 7
