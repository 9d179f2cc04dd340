"""
The index of an MP4 (its "moov" box), read from several segments of one movie and joined into one.

Each segment is a whole MP4 that libavformat wrote: its boxes tell all that there is to tell of its samples. The joined
index has the boxes of the first segment that has the track, with the tables of all of them and the durations of the
whole. Written as libavformat writes it (libavformat/movenc.c). Source: ISO/IEC 14496-12, chapter 8.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoderd.encode.movie_boxes import (
    BitRates,
    Offsets,
    Pieces,
    box,
    boxes,
    children,
    duration_of,
    in_box,
    longer_edit_list,
    timescale,
    track_number,
    with_bit_rates,
    with_duration,
)

#: The order in which libavformat writes a sample table; boxes that are not named here follow.
_TABLES = (b"stsd", b"stts", b"stss", b"sdtp", b"ctts", b"stsc", b"stsz", b"stco")
#: Bits of a sample in "sdtp" that say whether it depends on others: a key frame does not.
_INDEPENDENT, _DEPENDENT = 0x20, 0x10

#: What is raised where a segment is not what it should be.
UNREADABLE = (ValueError, LookupError, ArithmeticError, struct.error)

Runs = NDArray[np.int32]  # rows of (how often, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackTimes:
    """
    What the muxer was given of one track in one segment, in the track's ticks.

    `end_pts` is the latest end of a packet, `keys` how many packets were key frames (None: the muxer lists none of this
    track, whatever their flags; so with sound), `bit_rate_bps` the encoder's word (0: none).
    """

    first_dts: int
    first_pts: int
    end_pts: int
    keys: int | None
    bit_rate_bps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """
    One segment: its "moov" box without its head, the times of its tracks by track number, and where its samples lie.

    Chunk offsets in the box, and `first` and `end` (of the payload of "mdat"), count from the segment's own beginning.
    """

    moov: bytes
    times: Mapping[int, TrackTimes]
    first: int
    end: int


@dataclass(slots=True, kw_only=True)
class _Table:
    """
    The samples of one track in one segment, or in several. It is kept for each of a million samples: small numbers.
    """

    sizes: NDArray[np.uint32]
    steps: Runs  # from DTS to DTS
    shifts: Runs  # from DTS to PTS
    keys: NDArray[np.uint32] | None  # their numbers, from 0; None: all
    chunks: tuple[tuple[int, NDArray[np.unsignedinteger[Any]]], ...]
    in_chunk: Runs  # chunks, samples in each of them
    dependencies: bytes | None

    @property
    def samples(self) -> int:
        return len(self.sizes)

    @property
    def ticks(self) -> int:
        return int((self.steps[:, 0].astype(np.int64) * self.steps[:, 1]).sum())


class _Track:
    """One track of the movie: the boxes of the first segment that has it, and all segments' tables."""

    def __init__(self, trak: bytes, number: int) -> None:
        self.number = number
        self.trak = trak
        self.first: TrackTimes | None = None
        self.tables: list[_Table] = []
        self.end_pts = 0
        self.first_end_pts = 0
        self.first_average_bps = 0
        self._next_dts: int | None = None  # as the table before says
        self._samples = 0

    def add(self, trak: bytes, times: TrackTimes | None, moved: int) -> None:
        """Append a segment's samples, whose chunks lie `moved` bytes further on in the joined movie."""
        table = _read_table(trak, None if times is None else times.keys)
        if not self.tables:
            self.first_average_bps = _average_bps(table, trak)
        table.chunks = tuple((moved, chunks) for _, chunks in table.chunks)
        if table.keys is not None:
            table.keys += np.uint32(self._samples)
        if times is not None:
            if self.first is None:
                self.first, self.first_end_pts, self.end_pts = times, times.end_pts, times.end_pts
            self.end_pts = max(self.end_pts, times.end_pts)
            if self._next_dts is not None and self.tables:
                _lengthen(self.tables[-1], times.first_dts - self._next_dts)
            self._next_dts = times.first_dts + table.ticks
        self._samples += table.samples
        self.tables.append(table)

    def joined(self) -> _Table:
        """Return all samples as one table; the track is used up."""
        tables, self.tables = self.tables, []
        starts = list(accumulate((table.samples for table in tables), initial=0))
        dependencies = keys = None
        if any(table.dependencies is not None for table in tables):
            dependencies = b"".join(_dependencies(table, start) for table, start in zip(tables, starts, strict=False))
        if any(table.keys is not None for table in tables):
            keys = np.concatenate([_keys(table, start) for table, start in zip(tables, starts, strict=False)])
        return _Table(
            sizes=np.concatenate([table.sizes for table in tables]),
            steps=_merged([table.steps for table in tables]),
            shifts=_merged([table.shifts for table in tables]),
            keys=keys,
            chunks=tuple(part for table in tables for part in table.chunks),
            in_chunk=_merged([table.in_chunk for table in tables]),
            dependencies=dependencies,
        )


class MovieIndex:
    """
    The index of the whole movie, from its segments in their order.

    Raises (all methods) one of UNREADABLE when a segment is not what libavformat writes.
    """

    def __init__(self) -> None:
        self._heads: list[tuple[bytes, bytes]] = []  # the boxes of the first "moov" that are no tracks
        self._tracks: dict[int, _Track] = {}
        self.payload_bytes = 0

    def add(self, segment: Segment) -> int:
        """Add the next segment; returns the place of its samples, counted from the first one's first byte."""
        place, first = self.payload_bytes, not self._heads
        for kind, payload in boxes(segment.moov):
            if kind == b"trak":
                self._add(payload, segment, place - segment.first, first=first)
            elif first:
                self._heads.append((kind, payload))
        self.payload_bytes += segment.end - segment.first
        return place

    def _add(self, trak: bytes, segment: Segment, moved: int, *, first: bool) -> None:
        number = track_number(trak)
        times = segment.times.get(number)
        if times is None and not first:
            return  # chapters: all of them are in each segment
        track = self._tracks.setdefault(number, _Track(trak, number))
        track.add(trak, times, moved)

    def render(self, *, wide: bool) -> Pieces:
        """Return the box, its chunk offsets of 64 bits where they are `wide`; the index is used up."""
        movie_scale = timescale(dict(self._heads)[b"mvhd"])
        most = max(self._tracks)
        tracks = [_rendered(self._tracks.pop(number), movie_scale, wide=wide) for number in sorted(self._tracks)]
        longest = max(duration for duration, _ in tracks)
        out: Pieces = []
        for kind, payload in self._heads:
            if kind == b"mvhd":
                head = with_duration(payload, longest, before=1)
                out.append(box(kind, head[:-4], struct.pack(">I", most + 1)))
                for _, trak in tracks:
                    out += trak
            else:
                out.append(box(kind, payload))
        return in_box(b"moov", out)


# --- reading


def _read_table(trak: bytes, key_count: int | None) -> _Table:
    stbl = children(children(children(trak)[b"mdia"])[b"minf"])[b"stbl"]
    tables = children(stbl)
    uniform, count = struct.unpack_from(">II", tables[b"stsz"], 4)
    steps = _pairs(tables[b"stts"])
    if count != steps[:, 0].sum():
        raise ValueError(f"{count} samples, but times for {steps[:, 0].sum()}")
    if uniform:
        sizes = np.full(count, uniform, np.uint32)
    else:
        sizes = np.frombuffer(tables[b"stsz"], ">u4", count, 12).astype(np.uint32)
    chunks: NDArray[np.unsignedinteger[Any]]
    if b"co64" in tables:
        chunks = np.frombuffer(tables[b"co64"], ">u8", offset=8).astype(np.uint64)
    else:
        chunks = np.frombuffer(tables[b"stco"], ">u4", offset=8).astype(np.uint32)
    keys = None
    if b"stss" in tables:
        keys = np.frombuffer(tables[b"stss"], ">u4", offset=8).astype(np.uint32) - np.uint32(1)
    elif key_count == 0:
        keys = np.zeros(0, np.uint32)
    shifts = np.array([[count, 0]], np.int32)
    if b"ctts" in tables:
        shifts = _pairs(tables[b"ctts"])
    in_chunk = _chunk_runs(tables[b"stsc"], len(chunks))
    if count != shifts[:, 0].sum() or count != (in_chunk[:, 0] * in_chunk[:, 1]).sum():
        raise ValueError(f"{count} samples, but not as many in chunks, or with offsets")
    return _Table(
        sizes=sizes,
        steps=steps,
        shifts=shifts,
        keys=keys,
        chunks=((0, chunks),),
        in_chunk=in_chunk,
        dependencies=tables[b"sdtp"][4:] if b"sdtp" in tables else None,
    )


def _pairs(table: bytes) -> Runs:
    """Of "stts" and "ctts"."""
    return np.frombuffer(table, ">i4", offset=8).astype(np.int32).reshape(-1, 2)


def _chunk_runs(table: bytes, chunks: int) -> Runs:
    rows = np.frombuffer(table, ">u4", offset=8).astype(np.int64).reshape(-1, 3)
    counts = np.diff(np.append(rows[:, 0], chunks + 1))
    return np.stack([counts, rows[:, 1]], axis=1).astype(np.int32)


def _average_bps(table: _Table, trak: bytes) -> int:
    """As libavformat counts it (compute_avg_bitrate), in 32 bits."""
    scale = timescale(children(children(trak)[b"mdia"])[b"mdhd"])
    return int(table.sizes.sum(dtype=np.int64)) * 8 * scale // max(1, table.ticks) & 0xFFFFFFFF


def _lengthen(table: _Table, ticks: int) -> None:
    """The last sample of a segment lasts until the first one of the next: nobody knew when that would be."""
    count, step = (int(number) for number in table.steps[-1])
    table.steps = np.concatenate([table.steps[:-1], np.array([[count - 1, step], [1, step + ticks]], np.int32)])


def _merged(parts: Sequence[Runs]) -> Runs:
    """Return the runs of all parts, equal neighbours as one."""
    runs = np.concatenate(parts)
    runs = runs[runs[:, 0] > 0]
    if not len(runs):
        return runs
    starts = np.flatnonzero(np.append(True, runs[1:, 1] != runs[:-1, 1]))
    return np.stack([np.add.reduceat(runs[:, 0], starts), runs[starts, 1]], axis=1).astype(np.int32)


def _keys(table: _Table, start: int) -> NDArray[np.uint32]:
    return np.arange(start, start + table.samples, dtype=np.uint32) if table.keys is None else table.keys


def _dependencies(table: _Table, start: int) -> bytes:
    if table.dependencies is not None:
        return table.dependencies
    flags = np.full(table.samples, _DEPENDENT, np.uint8)
    flags[_keys(table, start) - start] = _INDEPENDENT
    return flags.tobytes()


# --- writing


def _rendered(track: _Track, movie_scale: int, *, wide: bool) -> tuple[int, Pieces]:
    """Return the track's duration in the movie's ticks, and its box."""
    table = track.joined()
    parts = children(track.trak)
    scale = timescale(children(parts[b"mdia"])[b"mdhd"])
    longer = 0
    if track.first is not None:
        whole, part = (end - track.first.first_pts for end in (track.end_pts, track.first_end_pts))
        longer = _scaled_up(whole, movie_scale, scale) - _scaled_up(part, movie_scale, scale)
    duration = duration_of(parts[b"tkhd"], before=2) + longer
    rates = BitRates(
        encoder_bps=0 if track.first is None else track.first.bit_rate_bps,
        first_bps=track.first_average_bps,
        average_bps=_average_bps(table, track.trak),
    )
    out: Pieces = []
    for kind, payload in boxes(track.trak):
        if kind == b"tkhd":
            out.append(box(kind, with_duration(payload, duration, before=2)))
        elif kind == b"edts":
            out.append(box(kind, box(b"elst", longer_edit_list(children(payload)[b"elst"], longer))))
        elif kind == b"mdia":
            out += in_box(kind, _media(payload, table, rates, wide=wide))
        else:
            out.append(box(kind, payload))
    return duration, in_box(b"trak", out)


def _media(payload: bytes, table: _Table, rates: BitRates, *, wide: bool) -> Pieces:
    out: Pieces = []
    for kind, inner in boxes(payload):
        if kind == b"mdhd":
            out.append(box(kind, with_duration(inner, table.ticks, before=1)))
        elif kind == b"minf":
            parts: Pieces = []
            for part, data in boxes(inner):
                parts += in_box(part, _sample_table(data, table, rates, wide=wide) if part == b"stbl" else [data])
            out += in_box(kind, parts)
        else:
            out.append(box(kind, inner))
    return out


def _sample_table(payload: bytes, table: _Table, rates: BitRates, *, wide: bool) -> Pieces:
    old = children(payload)
    new: dict[bytes, Pieces] = {
        b"stsd": [with_bit_rates(old[b"stsd"], rates)],
        b"stts": _counted(table.steps.astype(">i4")),
    }
    if table.keys is not None and 0 < len(table.keys) < table.samples:
        new[b"stss"] = _counted((table.keys + np.uint32(1)).astype(">u4"))
    if table.dependencies is not None:
        new[b"sdtp"] = [bytes(4), table.dependencies]
    if table.shifts[:, 1].any():
        new[b"ctts"] = [old.get(b"ctts", bytes(4))[:4], struct.pack(">I", len(table.shifts))]
        new[b"ctts"].append(table.shifts.astype(">i4").tobytes())
    first = np.cumsum(table.in_chunk[:, 0]) - table.in_chunk[:, 0] + 1
    new[b"stsc"] = _counted(np.stack([first, table.in_chunk[:, 1], np.ones_like(first)], axis=1).astype(">u4"))
    uniform = int(table.sizes[0]) if table.samples and (table.sizes == table.sizes[0]).all() else 0
    new[b"stsz"] = [struct.pack(">III", 0, uniform, table.samples)]
    if not uniform:
        new[b"stsz"].append(table.sizes.astype(">u4").tobytes())
    offsets = Offsets(table.chunks, wide)
    new[b"stco"] = [struct.pack(">II", 0, len(offsets) // (8 if wide else 4)), offsets]
    rest = {kind: data for kind, data in old.items() if kind not in {*_TABLES, b"co64"}}
    if b"sbgp" in rest:
        rest[b"sbgp"] = _regrouped(rest[b"sbgp"], table.samples)
    out: Pieces = []
    for kind in (kind for kind in _TABLES if kind in new):
        out += in_box(b"co64" if wide and kind == b"stco" else kind, new[kind])
    return out + [box(kind, data) for kind, data in rest.items()]


def _counted(rows: NDArray[Any]) -> Pieces:
    return [struct.pack(">II", 0, len(rows)), rows.tobytes()]


def _regrouped(groups: bytes, samples: int) -> bytes:
    """Of "sbgp": the last group goes on to the end."""
    rows = np.frombuffer(groups, ">u4", offset=12).astype(np.int64).reshape(-1, 2)
    rows[-1, 0] = samples - rows[:-1, 0].sum()
    return groups[:12] + rows.astype(">u4").tobytes()


def _scaled_up(ticks: int, to: int, scale: int) -> int:
    return -(-ticks * to // scale)
