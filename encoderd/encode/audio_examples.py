"""
One packet of each audio PID as most of a recording has it, cut out of sampled places of the transport stream.

A recording may begin with the end of the programme before, in another form; what its audio mostly is decides the form
of the output's track before anything is encoded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from encoderd.encode.aac import DUAL_MONO, AacConfiguration
from encoderd.encode.audio_configuration import Configuration, configuration_of, is_dual_mono
from encoderd.encode.transport_stream import headers, packet_places, packet_shape

#: Packets of the transport stream that are read of one PID at one place, and audio packets that are looked for.
_MOST_TRANSPORT, _MOST_PACKETS = 64, 3
#: The marks that packets begin with: two bytes and the bits of them that are fixed.
_MARKS = {
    "aac": (0xFFF0, 0xFFF6),
    "aac_latm": (0x56E0, 0xFFE0),
    "ac3": (0x0B77, 0xFFFF),
    "eac3": (0x0B77, 0xFFFF),
    "mp2": (0xFFE0, 0xFFE0),
}


def audio_examples(places: Sequence[bytes], codecs: Iterable[tuple[int, str]]) -> dict[int, bytes]:
    """
    Return {PID: a packet of the form that most places have}; `codecs` are (PID, codec as the tables call it).

    PIDs of codecs that are never copied, and those of which no packet is found, are left out.
    """
    wanted = {pid: codec for pid, codec in codecs if codec in _MARKS}
    votes: dict[int, Counter[Configuration | bool]] = {}
    first: dict[tuple[int, Configuration | bool], bytes] = {}
    for place in places:
        shape = packet_shape(place)
        if shape is None:
            continue
        view = np.frombuffer(place, np.uint8)
        at = packet_places(view, shape[0], shape[1] + shape[2])
        head = headers(view, at)
        pids = head >> 8 & 0x1FFF
        clear = (head & 0xC0 == 0) & (head & 0x10 != 0)
        for pid, codec in wanted.items():
            own = at[(pids == pid) & clear][:_MOST_TRANSPORT].tolist()
            payload = b"".join(_payload(place[one : one + 188]) for one in own)
            for form, packet in islice(_packets(payload, codec), _MOST_PACKETS):
                votes.setdefault(pid, Counter())[form] += 1
                first.setdefault((pid, form), packet)
    return {pid: first[pid, _told(forms).most_common(1)[0][0]] for pid, forms in votes.items()}


def _told(forms: Counter[Configuration | bool]) -> Counter[Configuration | bool]:
    """AAC without a program_config_element is taken for dual mono; where some frames have one, it is that of all."""
    for form in list(forms):
        if isinstance(form, AacConfiguration) and form.program not in (None, DUAL_MONO):
            forms[form] += forms.pop(replace(form, program=DUAL_MONO), 0)
    return forms


def _payload(packet: bytes) -> bytes:
    """Return what a transport packet carries, without the header of a PES packet that begins in it."""
    at = 5 + packet[4] if packet[3] & 0x20 else 4
    data = packet[at:188]
    if packet[1] & 0x40 and data[:3] == b"\0\0\1" and len(data) > 8:
        data = data[9 + data[8] :]
    return data


def _packets(payload: bytes, codec: str) -> Iterable[tuple[Configuration | bool, bytes]]:
    mark, mask = _MARKS[codec]
    for at in range(len(payload) - 8):
        if (payload[at] << 8 | payload[at + 1]) & mask != mark & mask:
            continue
        packet = payload[at:]
        if codec == "mp2":
            if packet[2] >> 4 not in {0, 15} and packet[2] >> 2 & 3 != 3:
                yield is_dual_mono(codec, packet), packet[:4]
            continue
        form = configuration_of(codec, packet[: _length(packet, codec)])
        if form is not None:
            yield form, packet[: _length(packet, codec)]


def _length(packet: bytes, codec: str) -> int:
    """Return the length that the header of an AAC packet tells; AC-3's form is in its header alone."""
    if codec == "aac":
        return (packet[3] & 3) << 11 | packet[4] << 3 | packet[5] >> 5
    if codec == "aac_latm":
        return 3 + ((packet[1] & 0x1F) << 8 | packet[2])
    return len(packet)
