"""
`encoderd queue show JOB`: one readable page about a job, from its row, its history and the receipt of its output.

Receipts of former versions have less in them, failed jobs have none: what is not there is not shown.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import typer

from encoderd.cli.charts import chart, in_ascii
from encoderd.cli.output import size, span
from encoderd.findings import MARKS, Verdict
from encoderd.jobs import Job, readable

#: Lines of each list that are shown; the receipt has more of them.
MOST_SHOWN = 5
_VERDICTS = {"pass": "green", "warn": "yellow", "fail": "bold red"}
_STATES = {"done": "green", "failed": "bold red", "skipped": "yellow", "cancelled": "yellow", "encoding": "cyan"}
#: Columns of the labels on the left.
_LABELS = 12
#: No number in a receipt is as large.
_MOST = 1e18


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the page, and how rich styles it where somebody looks."""

    text: str
    style: str = ""


def show_page(job: Job, events: Sequence[Any]) -> None:
    """Print the page: styled on a terminal, plain in a pipe; in ASCII where the output is not UTF-8."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    lines = list(page(job, events, unicode=unicode))
    if not sys.stdout.isatty():
        for line in lines:
            typer.echo(line.text)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for line in lines:
        console.print(Text(line.text, style=line.style), soft_wrap=True)


def page(job: Job, events: Sequence[Any], *, unicode: bool = True) -> Iterator[Line]:
    """Yield the lines of the page about `job`; `events` are its history as the store has it."""
    for line in _lines(job, events, unicode):
        text = readable(line.text)
        yield Line(text=text if unicode else in_ascii(text), style=line.style)


def _lines(job: Job, events: Sequence[Any], unicode: bool) -> Iterator[Line]:
    published = _map(job.published)
    receipt = _map(published.get("receipt"))
    yield Line(
        text=f"job {job.id}  {job.state}  {job.watch}: {job.relative_path}", style=_STATES.get(job.state, "bold")
    )
    yield _row("recording", f"{size(job.size_bytes)}, priority {job.priority}, attempts {job.attempts}")
    if job.reason:
        yield _row(str(job.failure_kind or "reason"), job.reason, style="bold")
        if job.remedy:
            yield _row("", f"→ {job.remedy}")
    if receipt:
        yield from _section("Source", _source(receipt))
    if published:
        yield from _section("Output", _output(published, receipt))
    if receipt:
        yield from _section("Findings", _findings(receipt))
        yield from _section("Damage", _damage(receipt))
        yield from _section("Clock", _clock(receipt))
        yield from _section("Proof", _proof(receipt))
        yield from _charts(receipt, unicode)
    yield from _section("History", _history(events))


def _section(heading: str, lines: Iterable[Line]) -> Iterator[Line]:
    found = list(lines)
    if found:
        yield Line(text="")
        yield Line(text=heading, style="bold")
        yield from found


def _row(label: str, text: str, style: str = "") -> Line:
    return Line(text=f"  {label:<{_LABELS}} {text}".rstrip(), style=style)


def _source(receipt: Mapping[str, Any]) -> Iterator[Line]:
    source, service = _map(receipt.get("source")), _map(receipt.get("service"))
    told = [f"{_number(source, 'duration_s'):.1f} s"] if source.get("duration_s") else []
    if receipt.get("programme"):
        told.append(f"programme {receipt['programme']}")
    if source:
        yield _row("format", ", ".join([str(source.get("format", "")), size(_number(source, "size_bytes")), *told]))
    station = " · ".join(str(service[name]) for name in ("name", "title", "started_at") if service.get(name))
    if station:
        yield _row("service", station)
    for video in _maps(source.get("video")):
        rate = f"{_number(video, 'frame_rate'):.3f} frames/s"
        yield _row("video", f"{video.get('codec')} {video.get('width')}×{video.get('height')}, {rate}{_pid(video)}")
    for audio in _maps(source.get("audio")):
        form = f"{audio.get('codec')} {audio.get('sample_rate_hz')} Hz {audio.get('layout')}"
        mono = ", dual mono" if audio.get("dual_mono") else ""
        yield _row("audio", f"{form} {audio.get('language') or ''}".rstrip() + mono + _pid(audio))
    for caption in _maps(source.get("captions")):
        yield _row("captions", f"{caption.get('codec')} {caption.get('language') or ''}".rstrip() + _pid(caption))
    for other in _list(source.get("other")):
        yield _row("other", str(other))


def _output(published: Mapping[str, Any], receipt: Mapping[str, Any]) -> Iterator[Line]:
    size_bytes, source_bytes = _number(published, "size_bytes"), _number(_map(receipt.get("source")), "size_bytes")
    share = f", {size_bytes / source_bytes:.0%} of the recording" if source_bytes else ""
    yield _row("file", f"{published.get('path')}, {size(size_bytes)}{share}")
    if not receipt:
        return
    granted = ", ".join(f"{name} {value}" for name, value in _map(receipt.get("granted")).items())
    yield _row("encode", granted)
    for difference in _list(receipt.get("differences")):
        yield _row("", str(difference), style="yellow")
    took = [f"{receipt.get('wall_s')} s", f"{receipt.get('speed_x')}×"]
    if receipt.get("startup_s"):
        took.append(f"first picture after {receipt['startup_s']} s")
    if receipt.get("peak_rss_bytes"):
        took.append(f"{size(_number(receipt, 'peak_rss_bytes'))} of memory")
    yield _row("took", ", ".join(took))
    yield from _video(_map(receipt.get("video")))
    for number, track in enumerate(_maps(receipt.get("audio")), start=1):
        yield _row(f"audio {number}", _track(track))
    captions = _map(receipt.get("captions"))
    for place in ("inside", "beside"):
        for caption in _maps(captions.get(place)):
            kept = f"{caption.get('codec')} {caption.get('language') or ''}".rstrip()
            yield _row("captions", f"{kept}, {'in the output' if place == 'inside' else 'in a file beside it'}")
    if _list(receipt.get("chapters")):
        yield _row("chapters", str(len(receipt["chapters"])))
    for note in [*_list(_map(receipt.get("plan")).get("notes")), *_list(_map(receipt.get("video")).get("notes"))]:
        yield _row("note", str(note))
    if receipt.get("after_success"):
        yield _row("source", str(receipt["after_success"]))


def _video(video: Mapping[str, Any]) -> Iterator[Line]:
    if not video:
        return
    aspect = Fraction(_number(video, "sample_aspect_ratio")).limit_denominator(1000)
    samples = f", samples {aspect.numerator}:{aspect.denominator}" if aspect not in {0, 1} else ""
    shape = f"{video.get('width')}×{video.get('height')}{samples}"
    yield _row("video", f"{shape}, {_number(video, 'frame_rate'):.3f} frames/s")
    if video.get("deinterlace"):
        yield _row("", f"deinterlace {video['deinterlace']}: {video.get('deinterlace_why') or 'as asked'}")
    if _list(video.get("colours_inferred")):
        yield _row("", f"inferred from the size: {', '.join(map(str, video['colours_inferred']))}")
    counted = [
        f"{video[name]} {what}"
        for name, what in (
            ("geometry_changes", "changes of the picture's form"),
            ("frames_held", "pictures repeated"),
            ("frames_refused", "pictures refused"),
        )
        if video.get(name)
    ]
    if counted:
        yield _row("", ", ".join(counted))


def _track(track: Mapping[str, Any]) -> str:
    was, now = track.get("source_codec"), track.get("codec")
    parts = [f"{now} copied" if track.get("copied") else f"{was} → {now}", f"{track.get('layout')}"]
    parts += [str(track[name]) for name in ("language", "title") if track.get(name)]
    parts += [
        f"{track[name]} {what}"
        for name, what in (("cut", "cut"), ("converted", "converted"), ("damaged", "damaged"), ("dropped", "dropped"))
        if track.get(name)
    ]
    if track.get("filled"):
        parts.append(f"{_number(track, 'filled_s'):.2f} s of silence filled in")
    if _number(track, "largest_skew_s"):
        parts.append(f"moved by {_number(track, 'largest_skew_s') * 1000:.0f} ms at most")
    return ", ".join(parts)


def _findings(receipt: Mapping[str, Any]) -> Iterator[Line]:
    for finding in _maps(receipt.get("findings")):
        verdict = str(finding.get("verdict"))
        mark = MARKS.get(Verdict(verdict), " ") if verdict in set(Verdict) else " "
        style = _VERDICTS.get(verdict, "")
        yield Line(
            text=f"  {mark} {verdict:<4} {finding.get('check')!s:<{_LABELS}} {finding.get('evidence')}", style=style
        )
        if finding.get("remedy"):
            yield _row("", f"       → {finding['remedy']}")
    accepted = [str(one.get("check")) for one in _maps(receipt.get("accepted"))]
    if accepted:
        yield _row("accepted", f"{', '.join(accepted)}; so the recording stays", style="yellow")


def _damage(receipt: Mapping[str, Any]) -> Iterator[Line]:
    damage = _map(receipt.get("damage"))
    if not damage:
        return
    limit = f"; the limit is {_number(damage, 'limit'):.0%}" if "limit" in damage else ""
    yield _row("share", f"{_number(damage, 'ratio'):.2%} of the time is damaged or missing{limit}")
    for part in str(damage.get("text") or "").split(", "):
        if part:
            yield _row("", part)
    bad = [
        one
        for one in _maps(receipt.get("continuity"))
        if any(one.get(name) for name in ("lost", "errors", "scrambled"))
    ]
    for one in bad[:MOST_SHOWN]:
        counts = f"{one.get('lost')} lost, {one.get('errors')} errors, {one.get('scrambled')} scrambled"
        yield _row(f"pid {int(_number(one, 'pid')):#x}", f"{one.get('packets')} packets, {counts}")
    yield from _more(len(bad) - MOST_SHOWN)


def _clock(receipt: Mapping[str, Any]) -> Iterator[Line]:
    timeline = _map(receipt.get("timeline")) or _map(receipt.get("facts"))
    if "largest_skew_s" in timeline:
        yield _row("skew", f"{_number(timeline, 'largest_skew_s') * 1000:.0f} ms at most")
    for name, what in (("discontinuities", "jump"), ("gaps", "gap")):
        steps = _maps(timeline.get(name))
        count = int(_number(timeline, {"discontinuities": "discontinuity_count", "gaps": "gap_count"}[name])) or len(
            steps
        )
        for step in steps[:MOST_SHOWN]:
            how = f"{step['kind']} " if step.get("kind") not in {None, what} else ""
            yield _row(what, f"{span(max(0.0, _number(step, 'at_s')))}  {how}{_number(step, 'step_s'):+.3f} s")
        yield from _more(count - min(MOST_SHOWN, len(steps)))


def _proof(receipt: Mapping[str, Any]) -> Iterator[Line]:
    proof = _map(receipt.get("verification"))
    if not proof:
        return
    method = {
        "beside": "all pictures were decoded while they were written",
        "all": "all pictures were decoded afterwards",
        "places": "pictures were decoded at start, middle and end",
    }.get(str(proof.get("method")), "the file did not open")
    yield _row("decoded", f"{method} ({proof.get('frames_decoded')})")
    if proof.get("pictures_compared"):
        worst = (
            f", the worst has {proof['worst_db']} dB at {proof.get('worst_at_s')} s" if proof.get("worst_db") else ""
        )
        yield _row("compared", f"{proof['pictures_compared']} pictures, {proof.get('pictures_wrong')} wrong{worst}")
    seconds = _maps(proof.get("seconds"))
    if seconds:
        shown = f"PSNR {_number(proof, 'psnr_db'):.1f} dB, SSIM {_number(proof, 'ssim'):.3f}"
        yield _row("likeness", f"{shown} (medians of {len(seconds)} seconds)")


def _charts(receipt: Mapping[str, Any], unicode: bool) -> Iterator[Line]:
    series = _map(receipt.get("series"))
    step_s = _number(series, "step_s")
    for name, title, label, peaks in (
        ("speed_x", "Speed", lambda value: f"{value:.1f}×", False),
        ("bit_rate_bps", "Bit rate", lambda value: f"{value / 1e6:.1f} Mb/s", False),
        ("damage", "Damage", lambda value: f"{value:.0%}", True),
    ):
        values = [_float(one) for one in _list(series.get(name))]
        if name == "damage" and not any(values):
            continue
        lines = chart(title, values, span(step_s * len(values)), label=label, peaks=peaks, unicode=unicode)
        if lines:
            yield Line(text="")
            yield Line(text=lines[0], style="bold")
            yield from (Line(text=line, style="cyan") for line in lines[1:])


def _history(events: Sequence[Any]) -> Iterator[Line]:
    for event in events:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at))
        yield Line(text=f"  {when}  {event.event:<19} {event.state_to:<9} {event.reason}".rstrip())


def _more(count: int) -> Iterator[Line]:
    if count > 0:
        yield _row("", f"… and {count} more")


def _pid(stream: Mapping[str, Any]) -> str:
    return f", pid {stream['pid']:#x}" if isinstance(stream.get("pid"), int) else ""


# --- what an old receipt may not have


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _maps(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in _list(value) if isinstance(one, Mapping)]


def _number(values: Mapping[str, Any], name: str) -> float:
    return _float(values.get(name)) or 0.0


def _float(value: Any) -> float | None:
    """Return a number that a receipt may hold, None for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST:
        return float(value)
    return None
