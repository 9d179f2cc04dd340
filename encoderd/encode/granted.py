"""What an encoder really grants, read from its headers and from FFmpeg's own lines at opening."""

from __future__ import annotations

import re

_PROFILES = {66: "Baseline", 77: "Main", 88: "Extended", 100: "High", 110: "High 10", 122: "High 4:2:2"}
#: FFmpeg's words at h264_qsv's opening (verbose) → ours.
_QSV_WORDS = {
    "RateControlMethod": "rate_control",
    "TargetUsage": "target_usage",
    "GopRefDist": "gop_ref_dist",
    "GopPicSize": "gop_size",
    "ICQQuality": "icq_quality",
    "QPI": "qp_i",
    "LookAheadDepth": "look_ahead_depth",
    "VDENC": "vdenc",
}
_PAIR = re.compile(r"(\w+): *([\w.+-]+)")


def from_parameter_sets(extradata: bytes) -> dict[str, str]:
    """Return profile and level from the SPS in H.264 `extradata` (Annex B or avcC); {} when there is none."""
    sps = _first_sps(extradata)
    if sps is None:
        return {}
    profile, level = sps[1], sps[3]
    return {"profile": _PROFILES.get(profile, str(profile)), "level": f"{level // 10}.{level % 10}"}


def _first_sps(extradata: bytes) -> bytes | None:
    if extradata[:1] == b"\x01" and len(extradata) > 11:
        return extradata[8:] if extradata[8] & 0x1F == 7 else None
    for match in re.finditer(b"\x00\x00\x01", extradata):
        nal = extradata[match.end() : match.end() + 4]
        if len(nal) == 4 and nal[0] & 0x1F == 7:
            return nal
    return None


def from_qsv_log(lines: str) -> dict[str, str]:
    """Return what h264_qsv's verbose lines say was granted; {} when they are not there."""
    granted = {}
    for line in lines.splitlines():
        if "h264_qsv" in line:
            for word, value in _PAIR.findall(line):
                if word in _QSV_WORDS:
                    granted[_QSV_WORDS[word]] = value
    return granted
