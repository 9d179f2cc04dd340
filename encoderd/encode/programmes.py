"""
The programmes of a whole recording: which there are, which one is kept, and what its tracks are.

A PMT holds for a while; the next one may name other PIDs. PIDs that replace one another are one *track* of the
recording; PIDs that stand in one PMT together never are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from encoderd.encode.dispositions import in_order
from encoderd.encode.elementary_streams import Component, ElementaryStream, Kind
from encoderd.encode.left_out import unnamed_pids
from encoderd.encode.transport_stream import Programme, TransportSample

#: What is looked at in one programme; a recording has a handful of each, noise any number.
_MOST_TABLES, _MOST_TRACKS = 32, 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """
    One track of a programme: the PIDs that carry it, in the order they were seen; `codec` is the first PID's.

    Languages, title and descriptors are those of the first PMT that tells any, dispositions those of all together;
    `component_tag` is -1 without one, `main` says that it is the broadcaster's first choice of its kind.
    """

    kind: Kind
    codec: str
    pids: tuple[int, ...]
    languages: tuple[str, ...] = ()
    component_tag: int = -1
    dual_mono: bool = False
    dispositions: tuple[str, ...] = ()
    title: str = ""
    main: bool = False
    descriptors: bytes = field(default=b"", repr=False)
    stream_type: int = -1

    @property
    def language(self) -> str:
        """The first language; of dual mono both, with a comma between where they differ ("jpn,eng")."""
        return ",".join(self.languages[: 2 if self.dual_mono else 1])


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgrammeLayout:
    """One programme over the whole recording. `tracks` are in the order of the PMTs, those seen first at first."""

    number: int
    tracks: tuple[Track, ...]
    pcr_pids: tuple[int, ...] = ()

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(pid for track in self.tracks for pid in track.pids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """
    All programmes, in the order they were seen; `bytes_by_pid` are the clear ones of the sampled places, and
    `starts_by_pid` the PES packets that begin there. `named` are all PIDs that a table names.
    """

    programmes: tuple[ProgrammeLayout, ...] = ()
    bytes_by_pid: Mapping[int, int] = field(default_factory=dict)
    starts_by_pid: Mapping[int, int] = field(default_factory=dict)
    named: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """
    The programme that is kept and the numbers of the others. `programme` is None when there is none to choose, or when
    `unknown` (else 0) was asked for and does not exist: then `others` names those that do. `unnamed` are the PIDs
    with content that no table names.
    """

    programme: ProgrammeLayout | None
    others: tuple[int, ...] = ()
    unknown: int = 0
    unnamed: tuple[int, ...] = ()


def layout(places: Sequence[tuple[float, TransportSample]]) -> Layout:
    """Return what the sampled places (share of the file 0…1, sample) tell together; the order of `places` is free."""
    tables: dict[int, list[Programme]] = {}
    counts: dict[int, int] = {}
    starts: Counter[int] = Counter()
    for _, told in sorted(places, key=lambda place: place[0]):
        for table in told.tables:
            tables.setdefault(table.number, []).append(table)
        for pid, size in told.bytes_by_pid.items():
            counts[pid] = counts.get(pid, 0) + size
        starts.update(told.starts_by_pid)
    return Layout(
        programmes=tuple(
            ProgrammeLayout(
                number=number,
                tracks=_tracks([table.streams for table in found]),
                pcr_pids=tuple(dict.fromkeys(table.pcr_pid for table in found)),
            )
            for number, found in tables.items()
        ),
        bytes_by_pid=counts,
        starts_by_pid=starts,
        named=frozenset(
            pid for found in tables.values() for table in found for pid in (*table.pids, table.pcr_pid, table.pmt_pid)
        ),
    )


def choose(found: Layout, wish: int = 0, video_bytes_by_pid: Mapping[int, int] | None = None) -> Choice:
    """
    Return the programme with the number `wish`, with 0 the one that has the most clear video; the first of equals.

    `video_bytes_by_pid` stands in for the layout's own counts, when better ones are known.
    """
    counts = found.bytes_by_pid if video_bytes_by_pid is None else video_bytes_by_pid
    numbers = tuple(programme.number for programme in found.programmes)
    if wish and wish not in numbers:
        return Choice(programme=None, others=numbers, unknown=wish)
    if not numbers:
        return Choice(programme=None)
    if wish:
        kept = found.programmes[numbers.index(wish)]
    else:
        kept = max(found.programmes, key=lambda programme: _video_bytes(programme, counts))
    return Choice(
        programme=kept,
        others=tuple(number for number in numbers if number != kept.number),
        unnamed=unnamed_pids(found.starts_by_pid, found.named),
    )


def late_pids(programme: ProgrammeLayout, head: TransportSample) -> frozenset[int]:
    """Return the PIDs of video, audio and captions that the head's last PMT does not name: they begin later."""
    there = {pid for table in head.programmes if table.number == programme.number for pid in table.pids}
    return frozenset(
        pid for track in programme.tracks if track.kind is not Kind.DATA for pid in track.pids if pid not in there
    )


def with_components(programme: ProgrammeLayout, components: Sequence[Component]) -> ProgrammeLayout:
    """
    Return the programme with what an event tells of its sound and captions.

    ARIB has languages, dual mono and which sound is the main one nowhere else.
    """
    told = {component.component_tag: component for component in components}
    return ProgrammeLayout(
        number=programme.number,
        tracks=tuple(
            _with_component(track, told[track.component_tag])
            if track.kind in {Kind.AUDIO, Kind.CAPTIONS} and track.component_tag in told
            else track
            for track in programme.tracks
        ),
        pcr_pids=programme.pcr_pids,
    )


def _with_component(track: Track, told: Component) -> Track:
    return replace(
        track,
        languages=track.languages or told.languages,
        dual_mono=track.dual_mono or told.dual_mono,
        dispositions=in_order((*track.dispositions, *told.dispositions)),
        title=track.title or told.title,
        main=track.main or told.main,
    )


def _video_bytes(programme: ProgrammeLayout, counts: Mapping[int, int]) -> int:
    return sum(counts.get(pid, 0) for track in programme.tracks if track.kind is Kind.VIDEO for pid in track.pids)


@dataclass(slots=True)
class _Growing:
    """A track while the PMTs are walked through; `position` is its place among its kind, in the last PMT it was in."""

    first: ElementaryStream
    position: int
    pids: dict[int, None]
    languages: tuple[str, ...]
    tag: int
    dual_mono: bool
    dispositions: tuple[str, ...] = ()
    title: str = ""
    main: bool = False
    descriptors: bytes = b""

    def take(self, stream: ElementaryStream, position: int) -> None:
        self.position = position
        self.pids[stream.pid] = None
        self.languages = self.languages or stream.languages
        self.tag = stream.component_tag if self.tag < 0 else self.tag
        self.dual_mono = self.dual_mono or stream.dual_mono
        self.dispositions = in_order((*self.dispositions, *stream.dispositions))
        self.title = self.title or stream.title
        self.main = self.main or stream.main
        self.descriptors = self.descriptors or stream.descriptors


def _tracks(tables: Sequence[tuple[ElementaryStream, ...]]) -> tuple[Track, ...]:
    tables = list(dict.fromkeys(tables))[:_MOST_TABLES]
    apart: dict[int, set[int]] = {}
    for table in tables:
        for stream in table:
            apart.setdefault(stream.pid, set()).update(other.pid for other in table)
    grown: list[_Growing] = []
    for table in tables:
        newcomers = []
        for stream, position in _positions(table):
            own = next(
                (n for n, one in enumerate(grown) if stream.pid in one.pids and one.first.kind is stream.kind), None
            )
            if own is None:
                newcomers.append((stream, position))
            else:
                grown[own].take(stream, position)
        for stream, position in newcomers:
            likeness = {
                n: _likeness(one, stream, position)
                for n, one in enumerate(grown)
                if apart[stream.pid].isdisjoint(one.pids)
            }
            best = max(likeness, key=likeness.__getitem__, default=None)
            if best is None or likeness[best] == 0:
                if len(grown) >= _MOST_TRACKS:
                    continue
                best = len(grown)
                grown.append(_Growing(stream, position, {}, (), -1, False))
            grown[best].take(stream, position)
    return tuple(
        Track(
            kind=one.first.kind,
            codec=one.first.codec,
            pids=tuple(one.pids),
            languages=one.languages,
            component_tag=one.tag,
            dual_mono=one.dual_mono,
            dispositions=one.dispositions,
            title=one.title,
            main=one.main,
            descriptors=one.descriptors,
            stream_type=one.first.stream_type,
        )
        for one in grown
    )


def _positions(table: tuple[ElementaryStream, ...]) -> Iterator[tuple[ElementaryStream, int]]:
    """Yield each stream with its place among those of its kind."""
    seen: dict[Kind, int] = {}
    for stream in table:
        seen[stream.kind] = seen.get(stream.kind, -1) + 1
        yield stream, seen[stream.kind]


def _likeness(track: _Growing, stream: ElementaryStream, position: int) -> int:
    """Return how much speaks for the stream being the track's next PID; 0: it is not."""
    if track.first.kind is not stream.kind:
        return 0
    if track.tag >= 0 and stream.component_tag >= 0:
        return 4 if track.tag == stream.component_tag else 0
    if track.languages and stream.languages:
        if track.languages[0] != stream.languages[0]:
            return 0
        return 3 if track.position == position else 2
    return 1 if track.position == position else 0
