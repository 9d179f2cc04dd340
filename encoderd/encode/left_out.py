"""
What of a recording is not in its output, with the reason, and whether a viewer misses it.

What nobody can name may be anything, so it counts as missed. Sources: ISO/IEC 13818-1, table 2-34 (stream_type); ETSI
EN 300 468, 6.2 and 6.2.47 (VBI data); ETSI TS 102 809, 5.3 (applications); ANSI/SCTE 35, 8.1; SMPTE registrations.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from encoderd.encode.elementary_streams import descriptors
from encoderd.encode.media import LeftOut

_REGISTRATION, _METADATA, _VBI, _APPLICATIONS, _EXTENSION, _DATA_COMPONENT = 0x05, 0x26, 0x45, 0x6F, 0x7F, 0xFD
_TTML = 0x20
#: Types of streams that carry sections: tables, files and marks for receivers. No picture or sound travels so.
_SECTIONS = {
    0x05: "private sections",
    0x08: "DSM-CC",
    0x09: "DSM-CC addresses",
    0x0A: "DSM-CC carousel",
    0x0B: "DSM-CC carousel",
    0x0C: "DSM-CC events",
    0x0D: "DSM-CC carousel",
    0x13: "MPEG-4 sections",
    0x14: "DSM-CC download",
    0x16: "metadata sections",
    0x17: "metadata carousel",
    0x18: "metadata carousel",
    0x1A: "rights management",
    0x86: "SCTE 35 marks",
    0x95: "data service tables",
    0xC0: "data service",
    0xC1: "text messages",
}
#: PIDs up to here are the tables' own. Source: ETSI EN 300 468, table 1.
LAST_TABLE_PID = 0x1F
_FOR_RECEIVERS = "data for receivers, no part of the programme"
_UNKNOWN = "nobody here knows what it is"
#: Lines of VBI data that hold what a viewer reads: teletext, closed captions, samples. Programme marks and the
#: picture's shape (4, 5) are not missed.
_VBI_CONTENT = frozenset({1, 2, 6, 7})
#: Data of other containers, by FFmpeg's name or the container's own: reason, and whether it is missed.
_DATA = {
    "dvd_nav_packet": ("a DVD's navigation", False),
    "dvd_nav": ("a DVD's navigation", False),
    "timecode": ("the source's own time code", False),
    "chapters": ("the chapters' own track", False),
    "hint": ("hints for streaming", False),
    "scte_35": ("marks of advertisements", False),
    "epg": ("programme guide", False),
    "timed_id3": ("metadata of a stream", False),
    "klv": ("metadata of a camera; no container here takes it", True),
    "bin_data": (_UNKNOWN, True),
    "ttf": ("a font; this container, or this PyAV, takes none", True),
    "otf": ("a font; this container, or this PyAV, takes none", True),
}
#: So many PES packets that begin are a stream and no noise; more PIDs are not named.
LEAST_STARTS, _MOST_NAMED = 3, 100


def of_table_entry(pid: int, stream_type: int, loop: bytes) -> LeftOut:
    """Return what becomes of a data stream that a PMT names; `loop` are its descriptors."""
    where = f"PID {pid:#x}"
    if stream_type in _SECTIONS:
        name = _SECTIONS[stream_type]
        if any(tag == _APPLICATIONS for tag, _ in descriptors(loop)):
            name = "HbbTV applications"
        return LeftOut(what=f"{name} ({where})", reason=_FOR_RECEIVERS, matters=False, pid=pid)
    for tag, body in descriptors(loop):
        if tag == _VBI:
            services = {body[at] for at in _steps(body)}
            missed = bool(services & _VBI_CONTENT)
            return LeftOut(what=f"VBI data ({where})", reason="no container here takes it", matters=missed, pid=pid)
        if tag == _EXTENSION and body[:1] == bytes([_TTML]):
            return LeftOut(what=f"TTML subtitles ({where})", reason="no file here takes them", matters=True, pid=pid)
        if tag == _REGISTRATION and body[:4] == b"CUEI":
            return LeftOut(what=f"SCTE 35 marks ({where})", reason=_FOR_RECEIVERS, matters=False, pid=pid)
        if (form := _metadata_format(tag, body)) == b"ID3 ":
            return LeftOut(what=f"ID3 metadata ({where})", reason=_FOR_RECEIVERS, matters=False, pid=pid)
        if form == b"KLVA":
            return LeftOut(what=f"KLV metadata ({where})", reason=_DATA["klv"][0], matters=True, pid=pid)
        if tag == _DATA_COMPONENT and len(body) >= 2:
            name = f"data component {body[0] << 8 | body[1]:#06x} ({where})"
            return LeftOut(what=name, reason=_UNKNOWN, matters=True, pid=pid)
    return LeftOut(what=f"data of type {stream_type:#04x} ({where})", reason=_UNKNOWN, matters=True, pid=pid)


def _metadata_format(tag: int, body: bytes) -> bytes:
    """Return the registered name of metadata, of its own descriptor or of a registration; b"" without one."""
    if tag == _REGISTRATION:
        return body[:4]
    at = 6 if body[:2] == b"\xff\xff" else 2  # of the application; then of the format
    return body[at + 1 : at + 5] if tag == _METADATA and body[at : at + 1] == b"\xff" else b""


def _steps(body: bytes) -> Iterable[int]:
    """Yield where each service of a VBI data descriptor begins: its number, a length, and so many bytes."""
    at = 0
    while at + 2 <= len(body):
        yield at
        at += 2 + body[at + 1]


def of_tables(pid: int) -> LeftOut:
    """Return what becomes of a PID of the broadcaster's own tables, which FFmpeg lists as a stream of data."""
    return LeftOut(what=f"service information (PID {pid:#x})", reason=_FOR_RECEIVERS, matters=False, pid=pid)


def of_stream(kind: str, name: str, index: int, timecode: str = "") -> LeftOut:
    """
    Return what becomes of another container's stream; `name` is FFmpeg's of the codec, or ours of its purpose.

    A time code is missed that begins at another time than the pictures do, 00:00:00:00.
    """
    reason, matters = _DATA.get(name, (_UNKNOWN, True))
    if name == "timecode" and timecode.strip("0:;."):
        name, matters = f"timecode {timecode}", True
    if kind == "video":
        reason, matters = "a picture for a shelf, which this output does not keep", True
    elif kind == "attachment" and name not in _DATA:
        reason = "an attached file, which this output does not keep"
    return LeftOut(what=f"{name or 'unknown ' + kind} (stream {index})", reason=reason, matters=matters)


def unnamed_pids(starts_by_pid: Mapping[int, int], named: Iterable[int]) -> tuple[int, ...]:
    """
    Return the PIDs that no table names; `starts_by_pid` counts PES packets that begin, in the sampled places.

    Noise makes PIDs of its own, with a packet or two.
    """
    known = set(named)
    found = [pid for pid, starts in sorted(starts_by_pid.items()) if starts >= LEAST_STARTS and pid not in known]
    return tuple(found[:_MOST_NAMED])


def of_unnamed(pid: int) -> LeftOut:
    """Return what becomes of a PID that no table names."""
    return LeftOut(
        what=f"PES packets (PID {pid:#x})", reason="no table of the recording names them", matters=True, pid=pid
    )


def arrived(left_out: Iterable[LeftOut], sent: Collection[int]) -> tuple[LeftOut, ...]:
    """
    Return what was left out, as the whole recording shows it: nobody misses what a table names and nobody sent.

    `sent` are the PIDs that have packets; empty where none were counted.
    """
    return tuple(
        replace(one, reason="announced, but no packet of it is in the recording", matters=False)
        if sent and one.pid and one.pid not in sent
        else one
        for one in left_out
    )
