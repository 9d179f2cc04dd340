"""
What an encoder really grants, read from its headers, from FFmpeg's own lines at opening, and from the process's map.

The words are those that were asked for (`rate_control`, `bframes`, `low_power`…), so that the two can be compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath

from encoderd.encode.codec_options import Options, b_frames
from encoderd.encode.messages import VideoRequest

_PROFILES = {66: "Baseline", 77: "Main", 88: "Extended", 100: "High", 110: "High 10", 122: "High 4:2:2"}
#: h264_qsv's presets by the runtime's TargetUsage. Source: FFmpeg 8.1, libavcodec/qsvenc.h.
_PRESETS = {"7": "veryfast", "6": "faster", "5": "fast", "4": "medium", "3": "slow", "2": "slower", "1": "veryslow"}
_PAIR = re.compile(r"(\w+): *([\w.+-]+)")
#: libvpl (the wheel's copy has a hash in its name) and libmfx only look for a runtime; they are none.
_DISPATCHER = re.compile(r"(libvpl(-[0-9a-f]{8})?|libmfx)\.so")
_RUNTIME = re.compile(r"lib(mfx|vpl)[^/]*\.so")

Granted = Mapping[str, str]


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
    """
    Return what h264_qsv's verbose lines say was granted; {} when they are not there.

    They are written once the runtime has answered GetVideoParam. Source: FFmpeg 7.1 and 8.1, qsvenc.c,
    dump_video_param, the same in both.
    """
    said: dict[str, str] = {}
    for line in lines.splitlines():
        if "h264_qsv" in line:
            said.update(_PAIR.findall(line.partition("] ")[2]))
    granted = {}
    if rate_control := said.get("RateControlMethod"):
        granted["rate_control"] = rate_control.lower()
    if quality := said.get("ICQQuality", said.get("QVBRQuality")):
        granted["quality"] = quality
    elif "QPP" in said:
        granted["quality"] = said["QPP"]
        granted["qp"] = f"I {said.get('QPI')}, P {said['QPP']}, B {said.get('QPB')}"
    times = 1000 * int(said.get("BRCParamMultiplier", "1"))
    for word, name in (("TargetKbps", "bitrate_bps"), ("MaxKbps", "max_bitrate_bps")):
        if said.get(word, "0") != "0":
            granted[name] = str(int(said[word]) * times)
    if usage := said.get("TargetUsage"):
        granted["preset"] = _PRESETS.get(usage, f"target usage {usage}")
    if distance := said.get("GopRefDist"):
        granted["bframes"] = str(max(0, int(distance) - 1))
    if size := said.get("GopPicSize"):
        granted["gop"] = size
    if depth := said.get("LookAheadDepth"):
        granted["look_ahead_depth"] = depth
    if (low_power := said.get("VDENC", "unknown")) != "unknown":
        granted["low_power"] = low_power.lower()
    return granted


def from_x264_options(options: Options) -> dict[str, str]:
    """Return what libx264 was asked for in its own words: it takes all of it, or does not open."""
    if "qp" in options:
        granted = {"rate_control": "cqp", "quality": options["qp"]}
    elif "crf" in options:
        granted = {"rate_control": "crf", "quality": options["crf"]}
    else:
        granted = {"rate_control": "cbr" if "minrate" in options else "vbr", "bitrate_bps": options["b"]}
    if "maxrate" in options:
        granted["max_bitrate_bps"] = options["maxrate"]
    return {**granted, "preset": options["preset"], "gop": options["g"]}


def from_maps(maps: str) -> dict[str, str]:
    """Return which runtime and VA driver are loaded, from the text of /proc/self/maps; paths, split by commas."""
    paths = sorted({fields[5] for line in maps.splitlines() if len(fields := line.split(maxsplit=5)) == 6})
    names = {path: PurePath(path).name for path in paths if path.startswith("/")}
    runtimes = [path for path, name in names.items() if _RUNTIME.match(name) and not _DISPATCHER.match(name)]
    drivers = [path for path, name in names.items() if name.endswith("_drv_video.so")]
    found = {"runtime": ", ".join(runtimes), "va_driver": ", ".join(drivers)}
    return {name: value for name, value in found.items() if value}


def differences(asked: VideoRequest, granted: Granted) -> list[str]:
    """
    Return in words what was granted otherwise than asked; what cannot be compared is left out.

    libx264 does what it is asked for, in words of its own, or does not open: there is nothing to compare.
    """
    return [*other_rates(asked, granted), *_other_shape(asked, granted)]


def other_rates(asked: VideoRequest, granted: Granted) -> list[str]:
    """
    Return the differences that make other pictures of the recording than were asked for: quality and bit rates.

    Looking ahead changes where the bits go, not the quality that is held: icq for la_icq is none of these.
    """
    if asked.encoder == "libx264":
        return []
    found = []
    kind = granted.get("rate_control", asked.rate_control)
    if kind != asked.rate_control and (asked.rate_control, kind) != ("la_icq", "icq"):
        found.append(f"asked {asked.rate_control}, granted {kind}")
    elif asked.rate_control in {"icq", "la_icq", "cqp", "qvbr"}:
        found += _unequal("quality {}", str(asked.quality), granted.get("quality"))
    if kind == asked.rate_control and asked.rate_control in {"qvbr", "vbr", "cbr"}:
        most = asked.bitrate_bps if asked.rate_control == "cbr" else asked.max_bitrate_bps
        found += _other_rate("bits/s", asked.bitrate_bps, granted.get("bitrate_bps"))
        found += _other_rate("bits/s at most", most, granted.get("max_bitrate_bps"))
    return found


def _other_shape(asked: VideoRequest, granted: Granted) -> Iterator[str]:
    if asked.encoder == "libx264":
        return
    if (asked.rate_control, granted.get("rate_control")) == ("la_icq", "icq"):
        yield "asked la_icq, granted icq"
    elif asked.look_ahead_depth:
        yield from _unequal("{} frames of look-ahead", str(asked.look_ahead_depth), granted.get("look_ahead_depth"))
    if (wanted := b_frames(asked)) >= 0:
        yield from _unequal("{} B-frames", str(wanted), granted.get("bframes"))
    if asked.gop:
        yield from _unequal("{} frames between key frames", str(asked.gop), granted.get("gop"))
    if asked.low_power != "auto":
        yield from _unequal("low_power {}", asked.low_power, granted.get("low_power"))
    yield from _unequal("preset {}", asked.preset, granted.get("preset"))
    yield from _unequal("profile {}", asked.profile, granted.get("profile", asked.profile).lower())
    if asked.level:
        yield from _unequal("level {}", asked.level, granted.get("level"))


def _unequal(what: str, asked: str, granted: str | None) -> Iterator[str]:
    if granted is not None and granted != asked:
        yield f"asked {what.format(asked)}, granted {granted}"


def _other_rate(what: str, asked: int, granted: str | None) -> Iterator[str]:
    """Runtimes count in 1000 bits, and above 65 Mb/s in steps of several: within a hundredth it is the same."""
    if granted is not None and asked and abs(int(granted) - asked) * 100 > asked:
        yield f"asked {asked} {what}, granted {granted}"
