"""
A transport stream opened so that FFmpeg knows all its streams from the beginning, also those that begin later.

FFmpeg's demuxer finds streams in the head of a file; PyAV makes nothing of those that appear afterwards, and decoders
and muxers want to know theirs before the first packet. So the demuxer is shown a *prefix* first: the tables of later
places, the head, and those places' packets of the missing PIDs. When it knows all streams it is set to the byte behind
the prefix, which is the beginning of the recording, and reads on as if there had been none:

- The streams keep their places when a PMT leaves them out and when they return (the demuxer's PID filters stay).
- The head in the prefix is what fixes start times and the sense of 33-bit wraps; the streams of the head have both as
  if the file alone had been opened. Only the late streams' `start_time` is that of the place their packets came from.
- `Packet.pos` counts from the beginning of the prefix.

Both parts are joined by FFmpeg's own concat protocol: no byte passes through Python.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence

import av
import numpy as np
from av.container import InputContainer

from encoderd.encode.continuity import ContinuityCounter
from encoderd.encode.elementary_streams import Kind
from encoderd.encode.transport_stream import (
    NULL_PID,
    PACKET,
    TransportSample,
    headers,
    packet_places,
    packet_shape,
    sample,
)

#: Bytes of the head that are shown twice, and of each later place that are shown: a second of most broadcasts. The
#: demuxer stops when it has seen 10 s of one stream (probe.PROBE_SIZES), so slow streams are cut shorter: the head at
#: a second by its clock, all but video at so many packets of a PID.
HEAD_BYTES, PLACE_BYTES = 1024 * 1024, 2 * 1024 * 1024
HEAD_MS, SLOW_PACKETS = 1000, 128
#: Half of what the demuxer reads at first (probe.PROBE_SIZES): the file's own head should stay in sight.
MOST_BYTES = 10_000_000


def joining_prefix(head: bytes, places: Sequence[bytes], number: int, pids: Collection[int]) -> bytes:
    """
    Return what is to be shown before the recording, so that the PIDs of programme `number` become streams.

    `head` is the beginning of the recording, `places` are pieces of it where the PIDs were seen, in the order of the
    file. A PID is taken from the first place that has a beginning of its packets. "" when no place helps.
    """
    shape = packet_shape(head)
    missing = set(pids)
    tables: list[bytes] = []
    pieces: list[bytes] = []
    room = MOST_BYTES - HEAD_BYTES
    for place in places:
        told = sample(place)
        place_shape = packet_shape(place[: PLACE_BYTES * 2])
        if shape is None or told is None or place_shape is None or not missing:
            continue
        size, ahead = place_shape[0], place_shape[2]
        shown = _tables(told, number, missing)
        if (size, ahead) != (shape[0], shape[2]) or not shown:
            continue
        video = {stream.pid for table in told.tables for stream in table.streams if stream.kind is Kind.VIDEO}
        piece, found = _packets(place, place_shape, missing, video, min(PLACE_BYTES, room))
        if not found:
            continue
        framed = b"".join(_framed(packet, size, ahead) for packet in shown)
        tables.append(framed)
        pieces.append(framed + piece)
        missing -= found
        room -= len(piece)
    if shape is None or not pieces:
        return b""
    size, start, ahead = shape
    again = head[start : start + _head_bytes(head, shape) // size * size]
    # The demuxer takes notice of a seek only when it moves; it never stops behind a null packet.
    last = _framed(bytes([0x47, NULL_PID >> 8, NULL_PID & 0xFF, 0x10]) + b"\xff" * (PACKET - 4), size, ahead)
    return b"".join([*tables, again, *pieces, last])


def open_joined(source: str, prefix: bytes, options: Mapping[str, str]) -> InputContainer:
    """
    Open the recording that FFmpeg calls `source`, with the demuxer's options, positioned at its true beginning.

    The caller closes the container. Raises what `av.open` raises.
    """
    shown = os.memfd_create("prefix", os.MFD_CLOEXEC)
    try:
        with open(shown, "wb", closefd=False) as file:
            file.write(prefix)
        asked = {**options, "protocol_whitelist": "concat,subfile,file"}
        container = av.open(
            f"concat:/proc/self/fd/{shown}|{source}",
            "r",
            format="mpegts",
            container_options=asked,
            metadata_errors="replace",
        )
    finally:
        os.close(shown)
    try:
        container.seek(len(prefix), unsupported_byte_offset=True)
    except BaseException:
        container.close()
        raise
    return container


def _tables(told: TransportSample, number: int, pids: Collection[int]) -> list[bytes]:
    """Return packets of the place's association table and of those PMTs that name one of the PIDs."""
    found = [table for table in told.tables if table.number == number and not set(table.pids).isdisjoint(pids)]
    if not found:
        return []
    return [
        *_section_packets(0, told.pat),
        *(packet for table in found for packet in _section_packets(table.pmt_pid, table.section)),
    ]


def _section_packets(pid: int, section: bytes) -> list[bytes]:
    data = b"\0" + section
    return [
        bytes([0x47, (0x40 if at == 0 else 0) | pid >> 8, pid & 0xFF, 0x10 | number & 15])
        + data[at : at + PACKET - 4].ljust(PACKET - 4, b"\xff")
        for number, at in enumerate(range(0, len(data), PACKET - 4))
    ]


def _head_bytes(head: bytes, shape: tuple[int, int, int]) -> int:
    """Return how much of the head is shown again."""
    size, start, ahead = shape
    counter = ContinuityCounter(size, ahead)
    counter.feed(head[start : start + HEAD_BYTES], 0)
    told = sample(head)
    clocks = [] if told is None else [counter.clock(programme.pcr_pid) for programme in told.programmes]
    ends = (at for clock in clocks for at in clock.positions if (clock.elapsed_ms(at) or 0) >= HEAD_MS)
    return min(HEAD_BYTES, len(head) - start, min(ends, default=HEAD_BYTES))


def _framed(packet: bytes, size: int, ahead: int) -> bytes:
    return bytes(ahead) + packet + bytes(size - ahead - PACKET)


def _packets(
    place: bytes, shape: tuple[int, int, int], pids: Collection[int], video: Collection[int], most_bytes: int
) -> tuple[bytes, frozenset[int]]:
    """Return the packets of those PIDs, each PID's from where its payload has a beginning, and the PIDs found."""
    size, start, ahead = shape
    view = np.frombuffer(place, np.uint8)
    at = packet_places(view, size, start + ahead)
    at = at[at + size - ahead <= len(view)]
    head = headers(view, at)
    found = head >> 8 & 0x1FFF
    wanted = np.zeros(len(at), np.bool_)
    begun = set()
    for pid in pids:
        own = found == pid
        beginnings = np.flatnonzero(own & (head & 0x400000 != 0) & (head & 0xC0 == 0))
        if len(beginnings):
            own[: beginnings[0]] = False
            if pid not in video:
                own[np.flatnonzero(own)[SLOW_PACKETS:]] = False
            wanted |= own
            begun.add(pid)
    chosen = at[wanted][: max(0, most_bytes // size)]
    rows = view[chosen[:, None] - ahead + np.arange(size)]
    return rows.tobytes(), frozenset(begun)
