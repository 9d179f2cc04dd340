"""The proof of the pictures' times, in a pipeline of which one stage is broken on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from av.video.frame import VideoFrame

from encoderd.encode import filtering, reading
from encoderd.encode.cadence import Showing
from encoderd.encode.engine import encode as encode_here
from encoderd.encode.shown_at import ShownAt
from tests.broadcast import transport
from tests.broadcast.catalogue.times import CATALOGUE
from tests.broadcast.making import Part
from tests.broadcast.studio import audio, frames, service, steady, video
from tests.encoding import encode, request_for


class Late(Showing):
    """The last second is shown 1.28 s late."""

    def push(self, frame: VideoFrame | None, *, film: bool) -> Iterator[VideoFrame]:
        for shown in super().push(frame, film=film):
            if shown.pts is not None and shown.pts > 3 * 90_000:
                shown.pts += 115_200
            yield shown


class Losing(Showing):
    """Two pictures of a second are lost."""

    def push(self, frame: VideoFrame | None, *, film: bool) -> Iterator[VideoFrame]:
        for shown in super().push(frame, film=film):
            if shown.pts is None or shown.pts // 3003 % 30 > 1:
                yield shown


class Guessing(ShownAt[Any]):
    """What has no timestamp is as far away as two timestamps are from each other."""

    def push(self, picture: Any, pts: int | None, dts: int | None) -> list[tuple[int | None, Any]]:
        self._at_now = pts if pts is not None else getattr(self, "_at_now", 0) + 6 * 3003
        return [(self._at_now, picture)]

    def drain(self) -> list[tuple[int | None, Any]]:
        return []


def times_of(path: Path, folder: Path) -> tuple[str, str]:
    judged = encode_here(request_for(path, folder / "out.mp4"), lambda message: None)
    found = next(finding for finding in judged.findings if finding.check == "times")
    return str(found.verdict), found.evidence


@pytest.mark.parametrize(
    ("place", "name", "broken", "expected"),
    [
        (filtering, "Showing", Showing, "pass"),
        pytest.param(filtering, "Showing", Late, "fail", marks=pytest.mark.slow),
        (filtering, "Showing", Losing, "fail"),
        (reading, "ShownAt", Guessing, "fail"),
    ],
)
def test_a_stage_that_moves_or_loses_pictures_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, broken: type, expected: str
) -> None:
    """Whatever stands in that stage's place; by the decoder's times, not by the stage's own counts."""
    path = tmp_path / "x.ts"
    path.write_bytes(CATALOGUE["six_in_a_pes_h264_2b"].make().data)
    monkeypatch.setattr(place, name, broken)

    assert times_of(path, tmp_path)[0] == expected


def test_pictures_that_are_dropped_for_their_time_are_damage(tmp_path: Path) -> None:
    """Three in a row have the time of the one before: one is shown, and the damage says when the others were lost."""
    picture, path = video([Part(frames=frames(4), options=(("bf", "0"),))], "libx264"), tmp_path / "x.ts"
    units = list(picture.units)
    for number in (61, 62, 63):
        units[number] = replace(units[number], pts=units[60].pts, dts=units[60].dts)
    streams = replace(picture, units=units), audio([Part(frames=frames(4))])
    path.write_bytes(transport.multiplexed(service(*streams), clock=steady()))
    done = encode(path)
    damage = done.receipt["damage"]

    assert "3 dropped at 00:00:02" in damage["text"]
    assert 3 / 120 == pytest.approx(damage["ratio"], rel=0.1)
    assert done.verdicts["times"] == "pass"
    assert done.verdicts["damage"] == "warn"
