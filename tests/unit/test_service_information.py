"""Service, event and clock, from the tables of a broadcast."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd.encode.elementary_streams import Component
from encoderd.encode.media import Service
from encoderd.encode.service_information import ServiceSample, read_services, service
from tests.sections import (
    broadcast_time,
    clock_field,
    descriptor,
    eit,
    packet,
    packets_of_section,
    sdt,
    section,
    tdt,
    tot,
)

PCR_PID = 0x100
BS = 0x0004  # a network of Japan
#: 2024-02-29 is the modified Julian date 60369.
LEAP_DAY = 60369
NEWS = b"\x7a\x6b\x0eNEWS"  # [新]NEWS, as ARIB codes it
GERMANY = descriptor(0x58, b"DEU\x02\x01\x00" + b"\0" * 5 + b"\x02\x00")


def piece(*tables: tuple[int, bytes], ticks: int = 0, before: int = 10) -> bytes:
    """A PCR a tenth of a second, the tables (PID, section) behind the first `before` of them, and 30 PCRs more."""
    packets, counters = [], dict.fromkeys((pid for pid, _ in tables), 0)
    for number in range(before + 30):
        if number == before:
            for pid, whole in tables:
                made = packets_of_section(pid, whole, counters[pid])
                counters[pid] += len(made)
                packets += made
        packets.append(packet(PCR_PID, b"x" * 100, counter=number, adaptation=clock_field(ticks + number * 9000)))
    return b"".join(packets)


def event(number: int, title: bytes, network: int = BS, **more: bytes) -> tuple[int, bytes]:
    at = broadcast_time(LEAP_DAY, 21, 0, 0)
    return 0x12, eit(101, [(number, at, 5400, title, more.get("text", b""))], network, code=b"jpn")


def told(*tables: tuple[int, bytes]) -> Service:
    return service([read_services(piece(*tables), PCR_PID)], 101)[0]


def test_service_and_event_are_read() -> None:
    """In ARIB's coding where the network is one of Japan; the clock counts back to the first packet."""
    found, event_found = service(
        [
            read_services(
                piece(
                    (0x11, sdt({101: (b"", b"\x0eNHK BS\x0f\x46\x7c"), 102: (b"", b"\x0eBS2")}, BS)),
                    event(7, NEWS, text=b"\x0eText"),
                    (0x14, tot(broadcast_time(LEAP_DAY, 21, 0, 10))),
                    before=50,
                ),
                PCR_PID,
            )
        ],
        101,
    )

    assert (
        Service(
            name="NHK BS日", provider="", title="[新]NEWS", description="Text", started_at="2024-02-29T21:00:05+09:00"
        )
        == found
    )
    assert event_found is not None
    assert (7, 5400, datetime(2024, 2, 29, 21, tzinfo=timezone(timedelta(hours=9)))) == (
        event_found.event_id,
        event_found.duration_s,
        event_found.start,
    )


def test_dvb_has_its_own_text_and_clock() -> None:
    """Universal time, and the offset that the TOT tells; the event starts in universal time."""
    place = read_services(
        piece(
            (0x11, sdt({101: (b"\x05ARD", b"Das Erste HD")})),
            (0x12, eit(101, [(1, broadcast_time(LEAP_DAY, 19, 15, 0), 5400, b"\x05Tatort: \xdcbel", b"")])),
            (0x14, tot(broadcast_time(LEAP_DAY, 19, 14, 0), GERMANY)),
        ),
        PCR_PID,
    )
    found, event_found = service([place], 101)

    assert Service(
        name="Das Erste HD", provider="ARD", title="Tatort: Übel", started_at="2024-02-29T20:13:59+01:00"
    ) == Service(name=found.name, provider=found.provider, title=found.title, started_at=found.started_at)
    assert event_found is not None
    assert datetime(2024, 2, 29, 19, 15, tzinfo=UTC) == event_found.start


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        # universal time alone
        ([(0x14, tdt(broadcast_time(LEAP_DAY, 19, 14, 1)))], "2024-02-29T19:14:00+00:00"),
        # a TOT without an offset is Japan's
        ([(0x14, tot(broadcast_time(LEAP_DAY, 19, 14, 1)))], "2024-02-29T19:14:00+09:00"),
        # unless the network is another one
        (
            [(0x11, sdt({1: (b"", b"X")})), (0x14, tot(broadcast_time(LEAP_DAY, 19, 14, 1)))],
            "2024-02-29T19:14:00+00:00",
        ),
        # west of Greenwich
        (
            [(0x14, tot(broadcast_time(LEAP_DAY, 19, 14, 1), descriptor(0x58, b"BRA\x03\x03\0" + b"\0" * 7)))],
            "2024-02-29T16:14:00-03:00",
        ),
        # the TOT wins
        (
            [
                (0x14, tdt(broadcast_time(LEAP_DAY, 19, 14, 1))),
                (0x14, tot(broadcast_time(LEAP_DAY, 19, 14, 1), GERMANY)),
                (0x14, tdt(broadcast_time(LEAP_DAY, 19, 14, 1))),
            ],
            "2024-02-29T20:14:00+01:00",
        ),
        ([(0x14, tdt(b"\xff" * 5))], ""),
        ([(0x14, tdt(broadcast_time(LEAP_DAY, 29, 0, 0)))], ""),
        ([(0x14, tot(broadcast_time(LEAP_DAY, 1, 1, 1))[:-1] + b"!")], ""),
        ([], ""),
    ],
)
def test_the_clock_tells_when_the_first_packet_was_sent(tables: list[tuple[int, bytes]], expected: str) -> None:
    """The tables stand a second behind the first packet."""
    assert expected == told(*tables).started_at


def test_a_clock_in_a_later_place_counts_back_too() -> None:
    """An hour after the head; the PCR wraps in between."""
    begin = 2**33 - 90_000 * 60
    head = read_services(piece(ticks=begin), PCR_PID)
    later = read_services(
        piece((0x14, tot(broadcast_time(LEAP_DAY, 22, 0, 1))), ticks=(begin + 3600 * 90_000) % 2**33), PCR_PID
    )

    assert "2024-02-29T21:00:00+09:00" == service([head, later], 101)[0].started_at


def test_a_clock_that_jumped_in_between_says_nothing() -> None:
    head = read_services(piece(ticks=90_000 * 3600), PCR_PID)
    later = read_services(piece((0x14, tot(broadcast_time(LEAP_DAY, 22, 0, 1)))), PCR_PID)

    assert "" == service([head, later], 101)[0].started_at


def test_the_event_of_most_places_counts() -> None:
    """The head still has the programme before."""
    titles = [(1, b"\x0eBefore"), (2, b"\x0eIt"), (2, b"\x0eIt"), (3, b"\x0eAfter")]
    places = [read_services(piece(event(number, title)), PCR_PID) for number, title in titles]

    assert "It" == service(places, 101)[0].title
    assert "" == service(places, 102)[0].title


def test_the_event_that_follows_is_not_the_one_that_runs() -> None:
    """Section 0 is the present event, section 1 the following; another service's are not asked for."""
    following = eit(101, [(2, b"\xff" * 5, 1, b"Following", b"")], number=1)
    present = eit(101, [(1, b"\xff" * 5, 1, b"Present", b"")])
    other = eit(9, [(3, b"\xff" * 5, 1, b"Other", b"")])
    place = read_services(piece((0x12, following), (0x12, present), (0x12, following), (0x12, other)), PCR_PID)

    assert "Present" == service([place], 101)[0].title
    assert {101, 9} == set(place.present)
    assert place.present[101].start is None


def test_the_event_tells_about_its_audio() -> None:
    """Dual mono and languages: ARIB's audio component descriptor, and DVB's component descriptor."""
    arib = descriptor(0xC4, b"\xf2\x02\x10\x0f\xff\xc7jpneng")
    dvb = descriptor(0x50, b"\xf2\x02\x11deu")
    loop = arib + dvb + descriptor(0x50, b"\xf1\x0b\x00deu")
    entry = b"\0\1" + broadcast_time(LEAP_DAY, 1, 1, 1) + b"\0\0\1" + (0x8000 | len(loop)).to_bytes(2, "big") + loop
    place = read_services(piece((0x12, section(0x4E, 101, 0, b"\0\1\0\4\0\x4e" + entry))), PCR_PID)

    assert (
        Component(component_tag=0x10, languages=("jpn", "eng"), dual_mono=True, main=True),
        Component(component_tag=0x11, languages=("deu",), dual_mono=True),
    ) == place.present[101].components


def test_other_bytes_tell_nothing() -> None:
    assert ServiceSample() == read_services(b"", PCR_PID)
    assert (Service(), None) == service([], 1)
    assert (Service(), None) == service([read_services(piece(), PCR_PID)], 1)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0x11, 0x12, 0x14]), st.sampled_from([0x42, 0x4E, 0x70, 0x73]), st.binary(max_size=300)
        ),
        max_size=4,
    )
)
def test_no_tables_make_it_raise(tables: list[tuple[int, int, bytes]]) -> None:
    """Sections in the long form with a true CRC, and the short ones with any content."""
    made = [(pid, section(kind, 101, 0, body)) for pid, kind, body in tables]
    made += [(0x14, tot(body[:5].ljust(5, b"\0"), body[5:])) for _, _, body in tables]
    made += [(0x14, bytes([0x70, 0x70, len(body) & 0xFF]) + body[:255]) for _, _, body in tables]
    place = read_services(piece(*made), PCR_PID)

    service([place, place], 101)
