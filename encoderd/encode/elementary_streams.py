"""
What the elementary streams of a programme are, from the descriptors of its PMT.

Codecs are named in libavcodec's words. Where FFmpeg's demuxer decides by the same descriptors it decides alike.
Sources: ISO/IEC 13818-1, 2.4.4.8 and table 2-34; ETSI EN 300 468, 6.2 and annex D; ARIB STD-B10 part 2, 6.2 and
annex J; ARIB TR-B14 volume 3, 4.2.8.1 (component tags); ATSC A/52, annexes A.4 and G.3; SMPTE registration authority.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from encoderd.encode.dispositions import COMPONENTS, ac3_component, arib_audio, in_order, told_by
from encoderd.encode.media import Tags
from encoderd.encode.service_text import arib_text, dvb_text
from encoderd.encode.words import cleaned


class Kind(StrEnum):
    """What a stream is for."""

    VIDEO = "video"
    AUDIO = "audio"
    CAPTIONS = "captions"
    DATA = "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementaryStream:
    """
    One entry of a PMT. `languages` are ISO 639-2, the one that counts first; `component_tag` is -1 without one;
    `dual_mono` says that the two channels of the audio are two programmes; `codec` is "" when the PMT does not say.
    `dispositions` are FFmpeg's words for what it is for, `main` says that it is the broadcaster's first choice;
    `descriptors` are the entry's own.
    """

    pid: int
    stream_type: int
    kind: Kind = Kind.DATA
    codec: str = ""
    languages: tuple[str, ...] = ()
    component_tag: int = -1
    dual_mono: bool = False
    dispositions: tuple[str, ...] = ()
    title: str = ""
    main: bool = False
    descriptors: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """What a broadcaster says of one stream, in a PMT or of one event: see ElementaryStream."""

    component_tag: int
    languages: tuple[str, ...]
    dual_mono: bool = False
    dispositions: tuple[str, ...] = ()
    title: str = ""
    main: bool = False


_STREAM_TYPES = {
    0x01: (Kind.VIDEO, "mpeg2video"),
    0x02: (Kind.VIDEO, "mpeg2video"),
    0x03: (Kind.AUDIO, "mp2"),
    0x04: (Kind.AUDIO, "mp2"),
    0x0F: (Kind.AUDIO, "aac"),
    0x10: (Kind.VIDEO, "mpeg4"),
    0x11: (Kind.AUDIO, "aac_latm"),
    0x1B: (Kind.VIDEO, "h264"),
    0x1C: (Kind.AUDIO, "aac"),
    0x20: (Kind.VIDEO, "h264"),
    0x21: (Kind.VIDEO, "jpeg2000"),
    0x24: (Kind.VIDEO, "hevc"),
    0x2D: (Kind.AUDIO, "mpegh_3d_audio"),
    0x2E: (Kind.AUDIO, "mpegh_3d_audio"),
    0x33: (Kind.VIDEO, "vvc"),
    0x42: (Kind.VIDEO, "cavs"),
    0x81: (Kind.AUDIO, "ac3"),
    0x87: (Kind.AUDIO, "eac3"),
    0x8A: (Kind.AUDIO, "dca"),
    0xD1: (Kind.VIDEO, "dirac"),
    0xD2: (Kind.VIDEO, "avs2"),
    0xD4: (Kind.VIDEO, "avs3"),
    0xEA: (Kind.VIDEO, "vc1"),
}
#: The same numbers where the programme registers as HDMV (Blu-ray, AVCHD cameras).
_HDMV_TYPES = {
    0x80: (Kind.AUDIO, "pcm_bluray"),
    0x81: (Kind.AUDIO, "ac3"),
    0x82: (Kind.AUDIO, "dca"),
    0x83: (Kind.AUDIO, "truehd"),
    0x84: (Kind.AUDIO, "eac3"),
    0x85: (Kind.AUDIO, "dca"),
    0x86: (Kind.AUDIO, "dca"),
    0x90: (Kind.CAPTIONS, "hdmv_pgs_subtitle"),
    0x92: (Kind.CAPTIONS, "hdmv_text_subtitle"),
    0xA1: (Kind.AUDIO, "eac3"),
    0xA2: (Kind.AUDIO, "dca"),
}
_REGISTRATIONS = {
    b"AC-3": (Kind.AUDIO, "ac3"),
    b"AC-4": (Kind.AUDIO, "ac4"),
    b"BSSD": (Kind.AUDIO, "s302m"),
    b"DTS1": (Kind.AUDIO, "dca"),
    b"DTS2": (Kind.AUDIO, "dca"),
    b"DTS3": (Kind.AUDIO, "dca"),
    b"EAC3": (Kind.AUDIO, "eac3"),
    b"HEVC": (Kind.VIDEO, "hevc"),
    b"VVC ": (Kind.VIDEO, "vvc"),
    b"VC-1": (Kind.VIDEO, "vc1"),
    b"Opus": (Kind.AUDIO, "opus"),
    b"drac": (Kind.VIDEO, "dirac"),
}
#: Descriptor tags of DVB that tell what a private stream (type 6) is.
_PRIVATE = {
    0x56: (Kind.CAPTIONS, "dvb_teletext"),
    0x59: (Kind.CAPTIONS, "dvb_subtitle"),
    0x6A: (Kind.AUDIO, "ac3"),
    0x7A: (Kind.AUDIO, "eac3"),
    0x7B: (Kind.AUDIO, "dca"),
    0x7C: (Kind.AUDIO, "aac"),
}
#: The same for DVB's extension descriptor, by the tag in its first byte. Source: EN 300 468, table 109 (0x80: Opus).
_EXTENDED = {
    0x0E: (Kind.AUDIO, "dca"),
    0x15: (Kind.AUDIO, "ac4"),
    0x21: (Kind.AUDIO, "dts_uhd"),
    0x80: (Kind.AUDIO, "opus"),
}
#: Codecs of sound that libavcodec's own word does not say to people.
SOUND_NAMES = {
    "aac": "AAC", "aac_latm": "AAC (LATM)", "ac3": "AC-3", "ac4": "AC-4", "dca": "DTS", "dts_uhd": "DTS-UHD",
    "eac3": "E-AC-3", "mp2": "MPEG audio", "mp3": "MPEG audio", "mp3float": "MPEG audio",
    "mpegh_3d_audio": "MPEG-H 3D Audio", "opus": "Opus", "s302m": "SMPTE 302M", "truehd": "TrueHD",
}  # fmt: skip
_PRIVATE_STREAM = 0x06
_EXTENSION, _SUPPLEMENTARY = 0x7F, 0x06
_ATSC_AC3, _ATSC_EAC3 = 0x81, 0xCC
#: ATSC's descriptors of sound, and the types of streams that have them: in others these tags are private ones.
_ATSC_DESCRIPTORS, _ATSC_SOUND = frozenset({_ATSC_AC3, _ATSC_EAC3}), frozenset({0x81, 0x87})
_REGISTRATION, _LANGUAGE, _COMPONENT, _TELETEXT, _STREAM_IDENTIFIER = 0x05, 0x0A, 0x50, 0x56, 0x52
_SUBTITLING, _ARIB_AUDIO, _ARIB_DATA = 0x59, 0xC4, 0xFD
#: data_component_id of captions: full-segment and one-segment broadcasting. FFmpeg knows them by their component tags
#: (0x30…0x37, 0x87) alone; broadcasters also use others, and 0x38…0x3F for superimposed text (news flashes).
_ARIB_CAPTIONS = frozenset({0x0008, 0x0012})
_DUAL_MONO = 0x02
#: stream_content of DVB's component descriptor: MPEG audio, AC-3, HE-AAC; AC-3; captions. Source: EN 300 468, table 26.
_AUDIO_CONTENTS, _AC3_CONTENT, _CAPTIONS_CONTENT = frozenset({2, 4, 6}), 4, 3
#: component_type of captions for the hard of hearing.
_FOR_THE_DEAF = frozenset(range(0x20, 0x26))
#: FFmpeg looks at no more streams of a programme.
_MOST_STREAMS = 128


def descriptors(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (tag, body) of a descriptor loop, as far as it is whole."""
    at = 0
    while at + 2 <= len(data) and at + 2 + data[at + 1] <= len(data):
        yield data[at], data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]


def parse_streams(section: bytes) -> tuple[ElementaryStream, ...]:
    """Return the streams of a PMT section, as far as it is whole; a PID that is named twice counts once."""
    at = 12 + ((section[10] & 0x0F) << 8 | section[11])
    end = len(section) - 4
    hdmv = any(tag == _REGISTRATION and body[:4] in (b"HDMV", b"HDPR") for tag, body in descriptors(section[12:at]))
    found: dict[int, ElementaryStream] = {}
    while at + 5 <= end and len(found) < _MOST_STREAMS:
        pid = (section[at + 1] & 0x1F) << 8 | section[at + 2]
        length = (section[at + 3] & 0x0F) << 8 | section[at + 4]
        found.setdefault(pid, _stream(pid, section[at], section[at + 5 : min(at + 5 + length, end)], hdmv))
        at += 5 + length
    return tuple(found.values())


def component(tag: int, body: bytes) -> Component | None:
    """Return what ARIB's audio component descriptor or DVB's component descriptor tells; None of all others."""
    if tag == _ARIB_AUDIO and len(body) >= 9:
        # ARIB STD-B10 part 2, 6.2.26; the flag says that there is a second language
        end = 12 if body[5] & 0x80 else 9
        told = arib_audio(body[1], main=bool(body[5] & 0x40))
        return Component(
            component_tag=body[2],
            languages=_languages(body[6:end], 3),
            dual_mono=body[1] == _DUAL_MONO,
            dispositions=in_order(told),
            title=arib_text(body[end:]),
            main="default" in told,
        )
    if tag == _COMPONENT and len(body) >= 6 and body[0] & 0x0F in _AUDIO_CONTENTS:
        ac3 = body[0] & 0x0F == _AC3_CONTENT
        return Component(
            component_tag=body[2],
            languages=_languages(body[3:6], 3),
            dual_mono=body[1] == _DUAL_MONO and not ac3,
            dispositions=ac3_component(body[1]) if ac3 else COMPONENTS.get(body[1], ()),
            title=dvb_text(body[6:]),
        )
    if tag == _COMPONENT and len(body) >= 6 and body[0] & 0x0F == _CAPTIONS_CONTENT:
        return Component(
            component_tag=body[2],
            languages=_languages(body[3:6], 3),
            dispositions=("hearing_impaired",) if body[1] in _FOR_THE_DEAF else (),
            title=dvb_text(body[6:]),
        )
    return None


def voices(loop: bytes) -> tuple[Tags, ...]:
    """Return what an ISO 639 descriptor of two entries says of the two sounds of dual mono, the left first; else ()."""
    body = next((body for tag, body in descriptors(loop) if tag == _LANGUAGE), b"")
    entries = [body[at : at + 4] for at in range(0, len(body) - 3, 4)]
    told = [Tags(language="".join(_languages(one[:3], 3)), dispositions=told_by(_LANGUAGE, one)) for one in entries]
    return tuple(told) if len(told) == 2 else ()


def _stream(pid: int, stream_type: int, loop: bytes, hdmv: bool) -> ElementaryStream:
    kind, codec = (_HDMV_TYPES if hdmv else _STREAM_TYPES).get(
        stream_type, _STREAM_TYPES.get(stream_type, (Kind.DATA, ""))
    )
    component_tag, dual_mono, captions_id = -1, False, -1
    dispositions: list[str] = []
    title, main = "", False
    told_all = [one for one in descriptors(loop) if one[0] not in _ATSC_DESCRIPTORS or stream_type in _ATSC_SOUND]
    for tag, body in told_all:
        if tag == _STREAM_IDENTIFIER and body:
            component_tag = body[0]
        elif tag == _REGISTRATION and codec == "":
            kind, codec = _REGISTRATIONS.get(body[:4], (kind, codec))
        elif tag in _PRIVATE and stream_type == _PRIVATE_STREAM:
            kind, codec = _PRIVATE[tag]
        elif tag == _EXTENSION and body and stream_type == _PRIVATE_STREAM:
            kind, codec = _EXTENDED.get(body[0], (kind, codec))
        elif tag == _ARIB_DATA and len(body) >= 2:
            captions_id = body[0] << 8 | body[1]
        elif tag == _ATSC_AC3:
            title = title or _atsc_ac3(body)[1]
        dispositions += told_by(tag, body)
        told = component(tag, body)
        if told is not None:
            dispositions += told.dispositions
            dual_mono, title, main = told.dual_mono, title or told.title, told.main
    if stream_type == _PRIVATE_STREAM and captions_id in _ARIB_CAPTIONS:
        kind, codec = Kind.CAPTIONS, "arib_caption"
    return ElementaryStream(
        pid=pid,
        stream_type=stream_type,
        kind=kind,
        codec=codec,
        languages=_spoken(told_all),
        component_tag=component_tag,
        dual_mono=dual_mono,
        dispositions=in_order(dispositions),
        title=title,
        main=main,
        descriptors=loop,
    )


#: Descriptor tag → bytes from one language code to the next.
_LANGUAGE_STEPS = {_LANGUAGE: 4, _TELETEXT: 5, _SUBTITLING: 8}


def _languages(codes: bytes, step: int) -> tuple[str, ...]:
    """Return the three-letter codes that stand `step` bytes apart; what is no code is left out."""
    found = (codes[at : at + 3] for at in range(0, len(codes) - 2, step))
    return tuple(dict.fromkeys(code.decode("ascii").lower() for code in found if code.isalpha()))


def _spoken(told: Sequence[tuple[int, bytes]]) -> tuple[str, ...]:
    """
    Return the languages that descriptors tell, each once, the one that counts first.

    A supplementary audio descriptor's own takes the place of the ISO 639 descriptor's, whatever their order: that one
    is for receivers that do not know this one, and may be a mark ("qad": a description). FFmpeg and its players do so
    too (libavformat/mpegts.c, ff_parse_mpeg2_descriptor). ATSC's are asked where there is no other.
    """
    first, usual, last = list[str](), list[str](), list[str]()
    for tag, body in told:
        if tag == _EXTENSION and len(body) >= 5 and body[0] == _SUPPLEMENTARY and body[1] & 1:
            first += _languages(body[2:5], 3)
        elif tag in _LANGUAGE_STEPS:
            usual += _languages(body, _LANGUAGE_STEPS[tag])
        elif tag == _ATSC_AC3:
            last += _atsc_ac3(body)[0]
        elif tag == _ATSC_EAC3:
            last += _atsc_eac3(body)
        elif (one := component(tag, body)) is not None:
            usual += one.languages
    return tuple(dict.fromkeys((*first, *usual, *last)))


def _atsc_ac3(body: bytes) -> tuple[tuple[str, ...], str]:
    """Return languages and title of ATSC's descriptor of AC-3, as far as it is whole."""
    at = 5 + (len(body) > 2 and not body[2] & 0x1E)  # codes of languages that nobody uses, two of them for dual mono
    if at >= len(body):
        return (), ""
    end = at + 1 + (body[at] >> 1)
    text = body[at + 1 : end].decode("latin-1" if body[at] & 1 else "utf-16-be", "replace")
    return _flagged(body, end, end + 1), cleaned(text)


def _atsc_eac3(body: bytes) -> tuple[str, ...]:
    """Return the languages of ATSC's descriptor of Enhanced AC-3; before them is a byte for each flag but mixing's."""
    return _flagged(body, 2, 3 + (body[0] & 0x37).bit_count()) if len(body) > 2 else ()


def _flagged(body: bytes, flags_at: int, at: int) -> tuple[str, ...]:
    """The two highest bits at `flags_at` say that there is a first and a second language, from `at` on."""
    flags = body[flags_at] >> 6 if flags_at < len(body) else 0
    return _languages(body[at : at + 3 * flags.bit_count()], 3)
