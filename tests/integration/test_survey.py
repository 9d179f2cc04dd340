"""A few pictures at several places of real recordings, whatever they are made of."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from av.video.frame import VideoFrame

from encoderd.encode.luma import luma_of
from encoderd.encode.media import MediaInfo, VideoInfo
from encoderd.encode.pictures import Look, frame_rate
from encoderd.encode.probe import demuxed, open_recording
from encoderd.encode.survey import COLUMN_STEP, PLACES, survey
from tests.encoding import noisy, only, retimed, scrambled
from tests.filmed import RATE, Film
from tests.often import often

X265 = {"preset": "ultrafast", "x265-params": "log-level=none"}


def probed(path: Path) -> MediaInfo:
    found = path.stat()
    with (
        open_recording(str(path), found.st_size, found.st_mtime_ns) as recording,
        demuxed(recording) as source,
    ):
        return source.media


def looks_at(path: Path) -> tuple[Look, ...]:
    media = probed(path)
    return survey(str(path), media, media.video[0])


def sizes(looks: tuple[Look, ...]) -> list[int]:
    """Return the width at each place, 0 where nothing can be decoded."""
    return [0 if look.form is None else look.form.width for look in looks]


@pytest.mark.parametrize(
    ("name", "film"),
    often(
        3,
        [
            ("x.ts", Film(frames=60)),
            ("x.m2ts", Film(frames=60)),
            ("x.mpg", Film(frames=60)),
            ("x.mp4", Film(frames=60, codec="libx264")),
            ("x.mkv", Film(frames=24, codec="libx265", pix_fmt="yuv420p10le", options=X265)),
            ("x.ts", Film(frames=60, codec="libx264", rate=Fraction(25))),
            ("x.avi", Film(frames=60, rate=Fraction(25))),
        ],
    ),
    ids=lambda value: value if isinstance(value, str) else value.codec,
)
def test_pictures_are_seen_in_every_container(tmp_path: Path, name: str, film: Film) -> None:
    """Their size, format and rate; places after the last key frame may have none."""
    looks = looks_at(film.write(tmp_path / name))
    seen = [look for look in looks if look.form is not None]

    assert [number / PLACES for number in range(PLACES)] == [look.at for look in looks]
    assert len(seen) >= PLACES // 2
    for look in seen:
        assert look.form is not None
        assert (*film.size, film.pix_fmt) == (look.form.width, look.form.height, look.form.pix_fmt)
        assert (0, 0, 0) == (look.interlaced, look.top_first, look.combed)
    assert film.rate == frame_rate(Fraction(0), [look.spacing_s for look in seen if look.spacing_s])


@pytest.mark.parametrize(("fields", "top_first"), [("top", 7), ("bottom", 0)])
def test_flags_and_fields_are_seen(tmp_path: Path, fields: str, top_first: int) -> None:
    looks = looks_at(Film(fields=fields, frames=60, size=(480, 270), source="mandelbrot").write(tmp_path / "x.ts"))[:4]

    assert [(7, 7, top_first)] * 4 == [(look.frames, look.interlaced, look.top_first) for look in looks]
    assert all((look.tff > 0) is (fields == "top") and (look.bff > 0) is (fields == "bottom") for look in looks)


def test_each_place_has_its_own_parameters(tmp_path: Path) -> None:
    """The end of one programme, then another size with its own aspect and colours."""
    first = Film(size=(144, 96), aspect=Fraction(8, 9), frames=30).write(tmp_path / "a.ts").read_bytes()
    film = Film(size=(288, 216), aspect=Fraction(4, 3), colours=(1, 1, 1, 1), frames=60)
    second = film.write(tmp_path / "b.ts").read_bytes()
    path = tmp_path / "x.ts"
    path.write_bytes(first + retimed(second, 30 * 3003))
    looks = [look.form for look in looks_at(path) if look.form is not None]

    assert (144, Fraction(8, 9), 2) == (looks[0].width, looks[0].sample_aspect_ratio, looks[0].colours.matrix)
    assert (288, Fraction(4, 3), 1) == (looks[-1].width, looks[-1].sample_aspect_ratio, looks[-1].colours.matrix)


def test_places_without_pictures_are_said_to_be_so(tmp_path: Path) -> None:
    """A scrambled part, noise, a part without video, a file that ends early: looks without frames, never an error."""
    path = Film(frames=90).write(tmp_path / "x.ts")
    data, media = path.read_bytes(), probed(path)
    video = media.video[0]
    path.write_bytes(scrambled(data, {video.pid}, (0.0, 0.5)))
    later = survey(str(path), media, video)
    path.write_bytes(only(data, {0, 0x11}))
    none = survey(str(path), media, video)
    path.write_bytes(random.Random(1).randbytes(len(data)))
    noise = survey(str(path), media, video)
    path.unlink()
    gone = survey(str(path), media, video)

    assert 320 in sizes(later)[:7]
    assert [[0] * PLACES] * 3 == [sizes(none), sizes(noise), sizes(gone)]


@pytest.mark.parametrize("name", often(1, ["x.ts", "x.mkv", "x.mpg"]))
def test_damage_costs_a_look_at_most(tmp_path: Path, name: str) -> None:
    """Bytes changed at random, and the file cut off: an answer for each place, whatever it is."""
    path = Film(frames=40, size=(160, 120)).write(tmp_path / name)
    data, media = path.read_bytes(), probed(path)
    for seed in range(6):
        changed = noisy(data, 10.0 ** -(1 + seed % 3), seed)
        path.write_bytes(changed[: len(changed) // (1 + seed % 2)])

        assert PLACES == len(survey(str(path), media, media.video[0]))


def test_a_video_under_another_pid_is_found(tmp_path: Path) -> None:
    """After a change of the programme map the one video there is counts."""
    path = Film(frames=60).write(tmp_path / "x.ts")
    media = probed(path)
    other: VideoInfo = media.video[0]
    moved = VideoInfo(**{name: getattr(other, name) for name in other.__dataclass_fields__} | {"pid": 0x999})

    assert 320 in sizes(survey(str(path), media, moved))


@pytest.mark.parametrize(
    "form",
    ["yuv420p", "nv12", "yuv422p10le", "yuv420p10be", "gray", "yuyv422", "rgb24", "gbrp", "rgb555le", "rgb565be",
     "bgr8", "monow", "rgb48le", "gbrpf32le"],
)  # fmt: skip
def test_luma_is_found_in_pictures_of_any_form(form: str) -> None:
    """A field of light lines between dark ones, however it is stored: combing is seen in nothing else."""
    lines = np.full((96, 64), 40, np.uint8)
    lines[:64:2] = 200
    planes = np.concatenate([lines, np.full((48, 64), 128, np.uint8)])
    stored = VideoFrame.from_ndarray(planes, format="yuv420p").reformat(format=form)
    found = luma_of(stored, COLUMN_STEP)

    assert found.shape[0] == 96
    assert (found[0:64:2].mean() - found[1:64:2].mean()) > 120
    assert abs(found[1:64:2].mean() - found[64:].mean()) < 20


def test_pictures_of_hd_are_seen(tmp_path: Path) -> None:
    """Samples that are no squares, in fields; `make bench` tells what it costs."""
    path = Film(size=(1440, 1080), fields="top", frames=26, aspect=Fraction(4, 3)).write(tmp_path / "x.ts")
    media = probed(path)
    looks = survey(str(path), media, media.video[0])

    assert 1440 in sizes(looks) and RATE == 1 / looks[0].spacing_s
