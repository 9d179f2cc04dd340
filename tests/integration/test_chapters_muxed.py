"""Chapters and words in the container's head, as FFmpeg's own command line reads them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import av
import pytest
from av.container import OutputContainer

from encoderd.encode.chapters import muxable, parse
from encoderd.encode.media import Service
from encoderd.encode.words import of_output

CHAPTERS = "CHAPTER01=00:00:00.200\nCHAPTER01NAME=本編\nCHAPTER02=00:00:00.500\nCHAPTER03=00:00:09.000\n"
SERVICE = Service(name="ＮＨＫ総合", title="番組", description="a\nb", started_at="2026-11-23T10:00:00+09:00")


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="there is no ffprobe here")
@pytest.mark.parametrize("muxer", ["mp4", "matroska"])
def test_both_containers_keep_them(tmp_path: Path, recording: Path, muxer: str) -> None:
    """The times to the millisecond, every chapter with a title, and the words under one name in both."""
    path = tmp_path / "out"
    with av.open(str(recording)) as source, av.open(str(path), "w", format=muxer) as output:
        video = output.add_stream_from_template(source.streams.video[0])
        output.metadata.update(of_output({}, SERVICE, {}, "how", muxer).kept)
        if hasattr(OutputContainer, "set_chapters"):
            output.set_chapters(muxable(parse(CHAPTERS.encode()).chapters, 1_000, muxer))
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                output.mux_one(packet)
    command = ["ffprobe", "-v", "error", "-show_chapters", "-show_format", "-of", "json", str(path)]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    tags = {key.lower(): value for key, value in found["format"]["tags"].items()}
    chapters = [(one["start_time"], one["end_time"], one["tags"]["title"]) for one in found["chapters"]]

    assert of_output({}, SERVICE, {}, "how", muxer).kept.items() <= tags.items()
    if hasattr(OutputContainer, "set_chapters"):
        assert [
            *([("0.000000", "0.200000", "Beginning")] if muxer == "mp4" else []),
            ("0.200000", "0.500000", "本編"),
            ("0.500000", "1.000000", "Chapter 2"),
        ] == chapters
