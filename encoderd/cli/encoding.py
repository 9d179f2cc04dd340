"""`encoderd encode IN OUT`: the daemon's own engine for one file, with a progress bar."""

from __future__ import annotations

import os
import select
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from encoderd.cli.output import ConfigOption, JsonOption, explained, say_json, settings_of, show_findings, size
from encoderd.encode.companions import chapter_file
from encoderd.encode.failures import EncodeFailed
from encoderd.encode.messages import Encoded, EncodeRequest, VideoRequest
from encoderd.encode.publish import (
    DAMAGED,
    captions_partial,
    check_space,
    partial_path,
    partials,
    pieces_of,
    prepare_folder,
    publish_all,
    published_ending,
)
from encoderd.encode.supervisor import Child, Limits
from encoderd.errors import EncoderdError, SettingsError
from encoderd.findings import Finding, Verdict
from encoderd.gate import CHOICES, HARDWARE
from encoderd.jobs import readable
from encoderd.readiness import diagnosed, gpu_of, look, try_video
from encoderd.settings import EncodeSettings
from encoderd.video_settings import video_request


@explained
def encode(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The recording.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The file to make, .mp4 or .mkv; never replaced.")],
    encoder: Annotated[str | None, typer.Option(help="h264_qsv, auto or libx264.")] = None,
    quality: Annotated[int | None, typer.Option(help="1 (best) to 51.")] = None,
    preset: Annotated[str | None, typer.Option(help="veryfast … veryslow.")] = None,
    verify: Annotated[str | None, typer.Option(help="auto, quick or full.")] = None,
    accept_damage: Annotated[
        bool, typer.Option("--accept-damage", help="Publish what can be made, as OUT.damaged where it is damaged.")
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Encode one file outside the queue, verified and published like any other; the source stays."""
    container = target.suffix.lower().removeprefix(".")
    if not source.is_file():
        what = "is no regular file" if os.path.lexists(source) else "does not exist"
        raise SettingsError(f"{readable(str(source))} {what}.", remedy="Name a recording: encoderd encode IN OUT")
    wishes = {"encoder": encoder, "quality": quality, "preset": preset, "verify": verify, "container": container}
    if accept_damage:
        wishes |= {"accept_damage": True, "max_size_ratio": 0}
    given = {name: value for name, value in wishes.items() if value is not None}
    if container not in {"mp4", "mkv"}:
        raise SettingsError(
            f"{readable(target.name)} ends in neither .mp4 nor .mkv.", remedy="Name the output x.mp4 or x.mkv"
        )
    settings = settings_of(config, {"encode": given}).encode
    marked = target.with_name(target.name + DAMAGED)
    for taken in (target, *([marked] if settings.accept_damage else [])):
        if os.path.lexists(taken):
            raise EncoderdError(
                f"{readable(str(taken))} exists; it is not replaced.", remedy="Choose another name, or move it away."
            )
    folder = target.absolute().parent
    prepare_folder(folder)
    check_space(folder, source.stat().st_size, settings.space_margin_mib * 2**20)
    video = _sound_video(settings)
    again = ["encoderd", "encode", "--accept-damage", *(["--encoder", encoder] if encoder else [])]
    again += [*(["--config", str(config)] if config else []), "--", str(source), str(target)]
    outcome = _encoded(source, target.absolute(), settings, video, shlex.join(again))
    _tell(outcome, marked if outcome.receipt["accepted"] else target, json)


def _encoded(source: Path, target: Path, settings: EncodeSettings, video: VideoRequest, again: str) -> Encoded:
    """
    Encode, publish; however it ends, no child and no partial file is left. FFmpeg's log only after a failure.

    `again` is the command that accepts the damage.
    """
    request = _request(source, target, settings, video)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    with tempfile.NamedTemporaryFile(prefix="encoderd-", suffix=".log", delete=False) as log:
        log_path = Path(log.name)
    child, keep_log = None, False
    try:
        child = Child(request, _limits(settings), now_s=time.monotonic(), log=log_path)
        outcome = _watch(child, readable(source.name))
        if isinstance(outcome, EncodeFailed):
            keep_log = True
            raise EncoderdError(outcome.message, remedy=_remedy(outcome, log_path, again))
        assert isinstance(outcome, Encoded)
        target = target.with_name(
            target.name.removesuffix(target.suffix) + "." + published_ending(settings.container, outcome.receipt)
        )
        if not publish_all(pieces_of(target, Path(request.partial), Path(request.captions), outcome)):
            raise EncoderdError(
                f"{readable(str(target))} appeared meanwhile; it is not replaced.", remedy="Choose another name."
            )
        return outcome
    finally:
        if child is not None:
            child.kill()
        for partial in partials(target.parent, target.name, os.getpid()):
            partial.unlink(missing_ok=True)
        if not keep_log:
            log_path.unlink(missing_ok=True)


def _remedy(failure: EncodeFailed, log: Path, again: str) -> str:
    """What helps here, where no job is: its log is the file, and its retry the same command."""
    remedy = failure.remedy.replace("encoderd logs JOB", str(log))
    remedy = remedy.replace("encoderd queue retry JOB", "the same command again")
    if failure.acceptable:
        remedy += f" To have it nevertheless, marked as damaged: {again}"
    return f"{remedy} (FFmpeg's log: {log})"


def _sound_video(settings: EncodeSettings) -> VideoRequest:
    """Try the encoders that the setting allows, best first; the first that encodes is taken."""
    reason = remedy = ""
    facts = look()
    for name in CHOICES[settings.encoder]:
        video = video_request(settings, name, gpu_of(facts))
        child = try_video(video, settings.startup_limit_s)
        if not isinstance(child.outcome, EncodeFailed):
            if reason:
                typer.echo(f"encoderd: on the CPU ({name}), because: {reason}", err=True)
            return video
        reason, remedy = child.outcome.message, child.outcome.remedy
        if name in HARDWARE:
            reason, remedy = diagnosed(child.outcome, child.build, video.low_power, facts)
    raise EncoderdError(reason, remedy=f"{remedy} To use the CPU: --encoder libx264")


def _request(source: Path, target: Path, settings: EncodeSettings, video: VideoRequest) -> EncodeRequest:
    found = source.stat()
    number = os.getpid()
    return EncodeRequest(
        job=0,
        source=str(source.absolute()),
        partial=str(partial_path(target.parent, target.name, number)),
        size_bytes=found.st_size,
        mtime_ns=found.st_mtime_ns,
        video=video,
        container=settings.container,
        deinterlace=settings.deinterlace,
        audio_bit_rate_bps=settings.audio_bitrate,
        verify=settings.verify,
        video_gaps=settings.video_gaps,
        tonemap=settings.tonemap,
        dual_mono=settings.dual_mono,
        programme=0 if settings.programme == "auto" else settings.programme,
        max_damage_ratio=settings.max_damage_ratio,
        max_size_ratio=settings.max_size_ratio,
        accept_damage=settings.accept_damage,
        captions=str(captions_partial(target.parent, target.name, number)),
        chapters=str(chapter_file(source.absolute()) or ""),
    )


def _limits(settings: EncodeSettings) -> Limits:
    return Limits(startup_s=settings.startup_limit_s, stall_s=settings.stall_limit_s, drain_s=settings.drain_limit_s)


def _watch(child: Child, name: str) -> object:
    """Show a bar on a terminal, nothing in a pipe, until the child has ended."""
    if not sys.stderr.isatty():
        while (outcome := child.poll(time.monotonic())) is None:
            select.select([child], [], [], 0.2)
        return outcome
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        "{task.percentage:>3.0f}%",
        TextColumn("{task.fields[at]}"),
    )
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=1.0, at="starting")
        while (outcome := child.poll(time.monotonic())) is None:
            if child.progress is not None:
                now = child.progress
                doing = f"{now.phase} {now.fps:.0f} fps {now.speed_x:.1f}× {size(now.size_bytes)}"
                bar.update(task, completed=now.done_ratio, at=doing)
            select.select([child], [], [], 0.2)
    return outcome


def _tell(outcome: Encoded, target: Path, json: bool) -> None:
    if json:
        say_json({**outcome.receipt, "published_as": readable(str(target))})
        return
    receipt = outcome.receipt
    show_findings(
        [
            Finding(check=one["check"], verdict=Verdict(one["verdict"]), evidence=one["evidence"], remedy=one["remedy"])
            for one in receipt["findings"]
        ]
    )
    done = f"{size(outcome.size_bytes)} of {size(receipt['source']['size_bytes'])}"
    how = f"{receipt['duration_s']} s in {receipt['wall_s']} s ({receipt['speed_x']}×, {receipt['granted']['encoder']})"
    typer.echo(f"{readable(str(target))}: {done}, {how}")
