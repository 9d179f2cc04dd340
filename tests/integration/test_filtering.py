"""Pictures through the filter chain: what a viewer would see of changes, fields, film, gaps and captions."""

from __future__ import annotations

import gc
import struct
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from encoderd.encode.filtering import FilterChain
from encoderd.encode.media import MediaInfo, VideoInfo
from encoderd.encode.messages import VideoRequest
from encoderd.encode.pictures import Look, mpeg2_sequence
from encoderd.encode.probe import demuxed, open_recording
from encoderd.encode.pyav import COLLECT_EVERY
from encoderd.encode.survey import survey
from encoderd.encode.video_plan import VideoPlan, video_plan
from tests.broadcast import containers
from tests.closed_captions import captions_of, numbers, valid
from tests.encoding import retimed
from tests.filmed import RATE, Film, filtered, luma, psnr_db

pytestmark = pytest.mark.usefixtures("frozen_heap")

FRAME_TICKS = 3003
BLACK = 16
#: Luma of full green, limited range: 16 + 219 × 0.587 and 16 + 219 × 0.7152.
BT601_GREEN, BT709_GREEN = 145, 173
#: What libavfilter can see of a frame's own aspect: not before FFmpeg 8.
SEES_ASPECT = av.library_versions["libavfilter"] >= (11,)


def media_of(path: Path) -> MediaInfo:
    found = path.stat()
    with (
        open_recording(str(path), found.st_size, found.st_mtime_ns) as recording,
        demuxed(recording) as source,
    ):
        return source.media


def looks_at(path: Path) -> tuple[VideoInfo, tuple[Look, ...]]:
    media = media_of(path)
    return media.video[0], survey(str(path), media, media.video[0])


def planned(path: Path, wish: str = "auto") -> VideoPlan:
    video, looks = looks_at(path)
    return video_plan(video, VideoRequest(encoder="libx264"), wish, looks)


def decoded(path: Path) -> list[Any]:
    """All frames; the decoder is emptied before another sequence begins."""
    frames, before = [], b""
    with av.open(str(path)) as container:
        decoder = container.streams.video[0].codec_context
        for packet in container.demux(video=0):
            sequence = mpeg2_sequence(bytes(packet))
            if before and sequence and sequence != before:
                frames += decoder.decode(None)
                decoder.flush_buffers()
            before = sequence or before
            frames += packet.decode()
    return frames


def through(chain: FilterChain, frames: list[Any]) -> list[Any]:
    """Push all frames and drain; none is lost on the way."""
    out = [shown for frame in frames for shown in chain.push(frame)]
    out += list(chain.drain())
    assert chain.due == len(out)
    return out


def joined(path: Path, *parts: Path) -> Path:
    """Join one-second recordings of 30 frames in the order of time."""
    path.write_bytes(b"".join(retimed(part.read_bytes(), number * 30 * 3003) for number, part in enumerate(parts)))
    return path


def steps(frames: list[Any]) -> list[int]:
    return [later.pts - earlier.pts for earlier, later in pairwise(frames)]


def border(frame: Any) -> tuple[int, int]:
    """Return the black columns at the left and the black lines at the top."""
    picture = luma(frame)
    columns, lines = np.flatnonzero(picture.max(axis=0) > BLACK + 4), np.flatnonzero(picture.max(axis=1) > BLACK + 4)
    return int(columns[0]), int(lines[0])


def test_one_geometry_comes_out_of_three(tmp_path: Path) -> None:
    """1440, 1920 and 720 samples of a line, at a fifth: the main form's size, no picture lost, whole pictures."""
    forms = [((288, 216), Fraction(4, 3)), ((384, 216), Fraction(1)), ((144, 96), Fraction(32, 27))]
    parts = [
        Film(size=size, aspect=aspect).write(tmp_path / f"{number}.ts") for number, (size, aspect) in enumerate(forms)
    ]
    path = joined(tmp_path / "x.ts", parts[0], parts[0], parts[1], parts[2])
    plan = planned(path)
    chain = FilterChain(plan)
    out = through(chain, decoded(path))

    assert (288, 216, Fraction(4, 3)) == (plan.width, plan.height, plan.sample_aspect_ratio)
    assert {(288, 216, "nv12")} == {(frame.width, frame.height, frame.format.name) for frame in out}
    assert (120, 2, 0) == (len(out), chain.filters.rebuilds, chain.filters.refused)
    assert {FRAME_TICKS} == set(steps(out))
    assert psnr_db(luma(out[40]), luma(out[70])) > 20  # picture 10 of the first form and of the second, scaled
    assert "pictures of 384×216 at 16:9 fitted into 288×216" in plan.notes


def test_another_aspect_gets_bars_and_keeps_its_own(tmp_path: Path) -> None:
    """4:3 in 16:9 stands between black pillars, at the frame where it begins."""
    wide = Film(size=(288, 216), aspect=Fraction(4, 3)).write(tmp_path / "a.ts")
    narrow = Film(size=(144, 96), aspect=Fraction(8, 9)).write(tmp_path / "b.ts")
    path = joined(tmp_path / "x.ts", wide, wide, narrow)
    out = through(FilterChain(planned(path)), decoded(path))

    assert (0, 0) == border(out[59])
    assert (36, 0) == border(out[60])  # 216 of 288 columns remain for 4:3
    assert np.all(luma(out[70])[:, :34] == BLACK)
    assert np.all(luma(out[70])[:, -34:] == BLACK)


@pytest.mark.skipif(not SEES_ASPECT, reason="libavfilter 7.1 does not show a frame's aspect")
def test_the_same_size_in_another_aspect_is_another_form(tmp_path: Path) -> None:
    """Only the sequence header says that a 720 × 480 picture is wide now; the film format gets bars above."""
    narrow = Film(size=(144, 96), aspect=Fraction(8, 9)).write(tmp_path / "a.ts")
    wide = Film(size=(144, 96), aspect=Fraction(32, 27)).write(tmp_path / "b.ts")
    path = joined(tmp_path / "x.ts", narrow, narrow, narrow, wide)
    chain = FilterChain(planned(path))
    out = through(chain, decoded(path))

    assert (1, 120) == (chain.filters.rebuilds, len(out))
    assert ((0, 0), (0, 12)) == (border(out[89]), border(out[90]))


def test_a_frame_without_aspect_has_the_container_s(tmp_path: Path) -> None:
    """MP4 may say what H.264 does not."""
    video = VideoInfo(
        index=0, pid=0, codec="h264", width=320, height=180, pix_fmt="yuv420p", frame_rate=RATE,
        sample_aspect_ratio=Fraction(4, 3), time_base=Fraction(1, 90_000),
    )  # fmt: skip
    plan = video_plan(video, VideoRequest(encoder="libx264"), "auto")
    chain = FilterChain(plan)
    out = through(chain, decoded(Film(frames=3, codec="libx264", aspect=Fraction(0)).write(tmp_path / "x.ts")))

    assert (3, 0, (0, 0)) == (len(out), chain.filters.rebuilds, border(out[0]))


@pytest.mark.parametrize("aspect", [Fraction(1), Fraction(16, 9)])
def test_the_container_s_aspect_comes_before_that_of_the_pictures(tmp_path: Path, aspect: Fraction) -> None:
    """MP4's pasp says another one than H.264: players take it, also for 1:1, and so do pictures that change theirs."""
    path = Film(frames=12, codec="libx264", aspect=Fraction(4, 3)).write(tmp_path / "x.mp4")
    data = path.read_bytes()
    at = data.index(b"pasp") + 4
    path.write_bytes(data[:at] + struct.pack(">2I", *aspect.as_integer_ratio()) + data[at + 8 :])
    plan = planned(path)
    other = decoded(Film(frames=3, codec="libx264", aspect=Fraction(5, 3)).write(tmp_path / "y.ts"))
    out = through(FilterChain(plan), [*decoded(path), *other])

    assert aspect == plan.sample_aspect_ratio
    assert {(0, 0)} == {border(frame) for frame in out}


@pytest.mark.parametrize("fields", ["top", "bottom"])
def test_each_field_becomes_a_picture(tmp_path: Path, fields: str) -> None:
    """At twice the rate, in the order in which the camera took them; evenly spaced."""
    path = Film(fields=fields, frames=20).write(tmp_path / "x.ts")
    plan = planned(path, "field")
    out = through(FilterChain(plan), decoded(path))
    taken = [luma(one) for one in Film(rate=RATE * 2, frames=40).pictures()]

    assert (40, RATE * 2) == (len(out), plan.frame_rate)
    assert set(steps(out)) <= {1501, 1502}
    for number in range(4, 36):
        likeness = [psnr_db(luma(out[number]), taken[other]) for other in (number - 1, number, number + 1)]
        assert likeness[1] == max(likeness)


@pytest.mark.parametrize(("fields", "flag"), [("top", "bff"), ("bottom", "tff")])
def test_the_order_of_fields_is_that_of_the_pictures(tmp_path: Path, fields: str, flag: str) -> None:
    """Flags that say the other order would show every second picture before the one that comes first."""
    film = Film(fields=fields, flag=flag, frames=60, size=(480, 270), source="mandelbrot")
    path = film.write(tmp_path / "x.ts")
    out = [luma(frame) for frame in through(FilterChain(planned(path, "field")), decoded(path))][:40]
    camera = [luma(frame) for frame in replace(film, fields="", flag="", rate=2 * RATE, frames=41).pictures()]
    nearest = [
        max(range(at - 1, at + 2), key=lambda one: psnr_db(shown, camera[one])) for at, shown in enumerate(out[1:], 1)
    ]

    assert list(range(1, 40)) == nearest


def test_flags_may_flip_without_a_rebuild(tmp_path: Path) -> None:
    """Progressive, top first, bottom first: whole pictures pass untouched, fields come in their own order."""
    films = [Film(), Film(fields="top"), Film(fields="bottom")]
    path = joined(tmp_path / "x.ts", *(film.write(tmp_path / f"{film.fields}.ts") for film in films))
    frames = decoded(path)
    chain = FilterChain(video_plan(media_of(path).video[0], VideoRequest(encoder="libx264"), "field"))
    before = [luma(frame) for frame in frames]
    out = through(chain, frames)

    assert (30 + 60 + 60, 0) == (len(out), chain.filters.rebuilds)
    assert all(np.array_equal(luma(out[number]), before[number]) for number in range(29))
    assert all(step > 0 for step in steps(out))


def test_pictures_that_are_combed_though_flagged_progressive(tmp_path: Path) -> None:
    """The pictures are believed: every one is deinterlaced, by the order of fields that they show."""
    path = Film(fields="bottom", flag="prog", frames=60).write(tmp_path / "x.ts")
    plan = planned(path)
    out = through(FilterChain(plan), decoded(path))
    taken = [luma(one) for one in Film(rate=RATE * 2, frames=120).pictures()]

    assert "bff" == plan.deinterlacing.parity and plan.deinterlacing.every
    woven = median(psnr_db(luma(frame), taken[2 * at]) for at, frame in enumerate(decoded(path)))
    assert median(psnr_db(luma(frame), taken[2 * at]) for at, frame in enumerate(out)) > woven + 1.5


def test_whole_pictures_that_are_flagged_interlaced_pass_untouched(tmp_path: Path) -> None:
    path = Film(flag="tff", rate=Fraction(25), frames=60, size=(320, 288)).write(tmp_path / "x.ts")
    frames = decoded(path)
    before = [luma(frame) for frame in frames]
    out = through(FilterChain(planned(path)), frames)

    assert all(bool(frame.interlaced_frame) for frame in frames)
    assert all(np.array_equal(one, luma(other)) for one, other in zip(before, out, strict=True))


TELECINED = Film(
    rate=RATE, frames=96, filters=(("telecine", "pattern=23:first_field=top"),), flag="tff",
    options={"b": "8M"},
)  # fmt: skip

CAPTIONED_FILM = replace(TELECINED, captions=True)


def test_film_comes_out_as_it_was_taken(tmp_path: Path) -> None:
    """24 pictures a second again, each of them whole and one of the originals, none twice and none missing."""
    path = TELECINED.write(tmp_path / "x.ts")
    plan = planned(path, "ivtc")
    out = through(FilterChain(plan), decoded(path))
    taken = [luma(one) for one in replace(TELECINED, filters=(), flag="").pictures()]

    assert Fraction(24_000, 1001) == plan.frame_rate
    assert abs(len(out) - 96) <= 1
    assert set(steps(out)) <= {3753, 3754}
    assert min(psnr_db(luma(frame), taken[at]) for at, frame in enumerate(out)) > 28
    assert median(psnr_db(luma(frame), taken[at]) for at, frame in enumerate(out)) > 36


def test_film_keeps_its_times_across_gaps_and_lost_frames(tmp_path: Path) -> None:
    """Each picture is shown within a frame of when it was sent, however many gaps there were before: no drift."""
    path = CAPTIONED_FILM.write(tmp_path / "x.ts")
    chain, sent, out, shift = FilterChain(planned(path, "ivtc")), {}, [], 0
    for number, frame in enumerate(decoded(path)):
        shift += 100_000 * (number in {33, 71, 72, 90})
        frame.pts += shift
        sent[number] = frame.pts
        if number not in {10, 50, 51, 97}:
            out += list(chain.push(frame))
    out += list(chain.drain())
    late = [frame.pts - sent[numbers(valid(frame))[-1]] for frame in out if valid(frame)]

    assert max(map(abs, late)) <= FRAME_TICKS
    assert abs(sum(late[-10:])) <= 10 * FRAME_TICKS // 2
    assert all(step > 0 for step in steps(out))


def test_pictures_that_were_never_film_are_all_kept(tmp_path: Path) -> None:
    """30 different pictures a second between film: an advertisement, progressive or not, does not judder."""
    film = replace(TELECINED, frames=24).write(tmp_path / "a.ts")
    video, camera = Film().write(tmp_path / "b.ts"), Film(fields="top").write(tmp_path / "c.ts")
    path = joined(tmp_path / "x.ts", film, video, camera, film)
    chain = FilterChain(planned(path, "ivtc"))
    out = through(chain, decoded(path))

    assert 30 + 30 + 24 + 24 == len(out)
    assert 12 == chain.showing.left_out
    assert max(steps(out)) < 1.5 * FRAME_TICKS


@pytest.mark.parametrize(
    ("wish", "film"),
    [
        ("auto", Film(fields="top", captions=True)),
        ("field", Film(fields="top", captions=True)),
        ("off", Film(captions=True)),
        ("ivtc", CAPTIONED_FILM),
    ],
)
def test_captions_stay_with_the_pictures(tmp_path: Path, wish: str, film: Film) -> None:
    """Each pair of bytes once and in order, of both fields of EIA-608, whatever becomes of the pictures."""
    path = film.write(tmp_path / "x.ts")
    frames = decoded(path)
    chain = FilterChain(planned(path, wish))
    out = [valid(frame) for frame in through(chain, frames)]

    assert chain.showing.captions_lost == 0
    for line in (1, 2):
        assert list(range(len(frames))) == [number for triplets in out for number in numbers(triplets, line)]


@pytest.mark.parametrize(("wish", "film"), [("field", Film(fields="top", captions=True)), ("ivtc", CAPTIONED_FILM)])
def test_captions_arrive_in_the_file(tmp_path: Path, wish: str, film: Film) -> None:
    """The encoder writes them beside the pictures; a decoder of the output finds every one of them."""
    path = film.write(tmp_path / "x.ts")
    plan, output = planned(path, wish), tmp_path / "x.mkv"
    with av.open(str(output), "w") as container:
        stream: Any = container.add_stream("libx264", rate=plan.frame_rate, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = plan.width, plan.height, plan.pix_fmt
        for frame in through(FilterChain(plan), decoded(path)):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    found = [number for triplets in captions_of(output) for number in numbers(triplets)]

    assert list(range(film.frames if wish == "field" else film.frames * 5 // 4)) == found[: film.frames * 5 // 4]


def test_captions_survive_another_size(tmp_path: Path) -> None:
    path = joined(
        tmp_path / "x.ts",
        Film(captions=True).write(tmp_path / "a.ts"),
        Film(size=(160, 120), captions=True).write(tmp_path / "b.ts"),
    )
    out = through(FilterChain(planned(path)), decoded(path))

    assert [*range(30), *range(30)] == [number for frame in out for number in numbers(valid(frame))]


@pytest.mark.parametrize("wish", ["auto", "field"])
def test_gaps_are_kept_or_hold_the_last_picture(tmp_path: Path, wish: str) -> None:
    """Held: no step longer than a frame and a half, the pictures beside the gap where they were."""
    path = Film(fields="top", frames=20, captions=True).write(tmp_path / "x.ts")
    plan = planned(path, wish)
    times, counts = [], []
    for video_gaps in ("keep", "hold"):
        chain, frames = FilterChain(plan, video_gaps), decoded(path)
        for frame in frames[10:]:
            frame.pts += 180_000
        out = through(chain, frames)
        times.append([frame.pts for frame in out])
        counts.append(chain.showing.held)
        assert list(range(20)) == [number for frame in out for number in numbers(valid(frame))]
        assert max(steps(out)) <= (1.5 * FRAME_TICKS if video_gaps == "hold" else 184_000)
        held = [number for number, frame in enumerate(out) if frame.pts not in times[0]]
        assert all(np.array_equal(luma(out[held[0] - 1]), luma(out[number])) for number in held)

    assert set(times[0]) <= set(times[1])
    assert [0, len(times[1]) - len(times[0])] == counts and counts[1] >= 58


def test_a_day_is_not_held(tmp_path: Path) -> None:
    """A timestamp that jumps so far is damage."""
    path = Film(frames=4).write(tmp_path / "x.ts")
    chain, frames = FilterChain(planned(path), "hold"), decoded(path)
    frames[3].pts += 90_000 * 86_400

    assert (4, 0) == (len(through(chain, frames)), chain.showing.held)


def test_a_second_field_is_not_shown_in_a_gap(tmp_path: Path) -> None:
    """It belongs to the frame before the gap, also when that frame stands alone between two."""
    path = Film(fields="top", frames=12).write(tmp_path / "x.ts")
    frames = decoded(path)
    for number, frame in enumerate(frames):
        frame.pts += 90_000 * (number >= 6) + 90_000 * (number >= 7)
    out = through(FilterChain(planned(path, "field")), frames)
    early = [min(abs(frame.pts - source.pts) for source in frames) for frame in out]

    assert 24 == len(out)
    assert max(early) <= FRAME_TICKS
    assert all(step > 0 for step in steps(out))


def test_lines_that_only_fill_macroblocks_are_cut(tmp_path: Path) -> None:
    path = Film(size=(1440, 1088), frames=2, aspect=Fraction(4, 3), codec="libx264").write(tmp_path / "x.ts")
    plan = planned(path)
    frames = decoded(path)
    before = [luma(frame) for frame in frames]
    out = through(FilterChain(plan), frames)

    assert ((1440, 1080), ("1088 lines cropped to 1080",)) == ((plan.width, plan.height), plan.notes)
    assert all(np.array_equal(one[:1080], luma(other)) for one, other in zip(before, out, strict=True))


@pytest.mark.parametrize(
    ("degrees", "mirrored", "matrix"),
    [
        (90, False, (0, -1, 1, 0)),
        (180, False, (-1, 0, 0, -1)),
        (270, False, (0, 1, -1, 0)),
        (0, True, (1, 0, 0, -1)),
        (90, True, (0, -1, -1, 0)),
        (180, True, (-1, 0, 0, 1)),
        (270, True, (0, 1, 1, 0)),
    ],
)
def test_a_turned_picture_is_turned(tmp_path: Path, degrees: int, mirrored: bool, matrix: tuple[int, ...]) -> None:
    """By the track's matrix, which says where each picture's axes point; the output needs none."""
    film = Film(frames=8, codec="libx264", options={"crf": "10"})
    path = with_matrix(film.write(tmp_path / "x.mp4"), matrix)
    frames = decoded(path)
    before = [luma(frame) for frame in frames]
    plan = planned(path)
    out = through(FilterChain(plan), frames)

    assert ((180, 320) if degrees % 180 else (320, 180)) == (plan.width, plan.height)
    assert all(np.array_equal(placed(one, matrix), luma(other)) for one, other in zip(before, out, strict=True))
    notes = ["pictures mirrored, as the recording says"] if mirrored else []
    notes += [f"pictures turned by {degrees} degrees, as the recording says"] if degrees else []
    assert tuple(notes) == plan.notes


def with_matrix(path: Path, matrix: tuple[float, ...]) -> Path:
    path.write_bytes(containers.with_matrix(path.read_bytes(), matrix))
    return path


def placed(picture: Any, matrix: tuple[int, ...]) -> Any:
    """Put each sample where the matrix says: (x, y) → (a x + c y, b x + d y), moved so that all is visible."""
    a, b, c, d = matrix
    lines, columns = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]]
    across, down = a * columns + c * lines, b * columns + d * lines
    across, down = across - across.min(), down - down.min()
    found = np.zeros((down.max() + 1, across.max() + 1), picture.dtype)
    found[down, across] = picture
    return found


def test_a_slanting_picture_is_shown_as_ffmpeg_does(tmp_path: Path) -> None:
    """Turned within its own size: black corners, and the middle stays where it is."""
    plan = planned(
        with_matrix(Film(frames=8, codec="libx264").write(tmp_path / "x.mp4"), (0.956, 0.292, -0.292, 0.956))
    )
    (*_, last) = through(FilterChain(plan), decoded(tmp_path / "x.mp4"))

    assert (320, 180) == (last.width, last.height)
    assert luma(last)[:8, -8:].max() <= BLACK + 4
    assert ("pictures turned by 343 degrees, as the recording says",) == plan.notes


@pytest.mark.parametrize(
    ("pix_fmt", "codec", "kept"),
    [("yuv422p", "mpeg2video", 45), ("yuv420p10le", "libx264", 45), ("yuv444p", "libx264", 45)],
)
def test_other_pixel_formats_become_8_bit_4_2_0_and_it_is_said(
    tmp_path: Path, pix_fmt: str, codec: str, kept: int
) -> None:
    """Luma stays what it was."""
    path = Film(pix_fmt=pix_fmt, codec=codec, frames=12).write(tmp_path / "x.ts")
    plan, frames = planned(path), decoded(path)
    out = through(FilterChain(plan), frames)
    same = [upper_bits(frame) for frame in frames]

    assert (f"{pix_fmt} converted to 8-bit 4:2:0",) == plan.notes
    assert {"nv12"} == {frame.format.name for frame in out}
    assert min(psnr_db(one, luma(other)) for one, other in zip(same, out, strict=True)) > kept


def upper_bits(frame: Any) -> Any:
    """Return luma in 8 bits."""
    if frame.format.components[0].bits == 8:
        return luma(frame)
    plane = frame.planes[0]
    return np.frombuffer(plane, "<u2").reshape(-1, plane.line_size // 2)[: frame.height, : frame.width] / 4


def test_sd_without_tags_between_hd_is_converted(tmp_path: Path) -> None:
    """Its matrix is BT.601's, that of the output BT.709; HD without tags is not touched."""
    told, untold = (1, 1, 1, 1), (2, 2, 2, 0)
    film = Film(size=(1280, 720), source="rgbtestsrc", codec="libx264")
    path = joined(
        tmp_path / "x.ts",
        replace(film, colours=told).write(tmp_path / "a.ts"),
        replace(film, colours=untold).write(tmp_path / "b.ts"),
        replace(film, colours=untold, size=(192, 108)).write(tmp_path / "c.ts"),
    )
    plan = planned(path)
    greens = [green(frame) for frame in through(FilterChain(plan), decoded(path))]

    assert (1, 1, 1, 1) == (plan.color_primaries, plan.color_trc, plan.colorspace, plan.color_range)
    assert 90 == len(greens)
    assert all(abs(value - BT601_GREEN) <= 2 for value in greens[:60])  # the test pictures are made with BT.601's
    assert all(abs(value - BT709_GREEN) <= 2 for value in greens[60:])


def green(frame: Any) -> float:
    """Return the luma of full green: the end of the second of three ramps."""
    return float(luma(frame)[frame.height // 2 - 5 : frame.height // 2 + 5, -4:].mean())


def test_sizes_that_no_filter_takes_are_refused(tmp_path: Path) -> None:
    """A damaged header may claim two by two pixels: counted, and the recording goes on."""
    path = Film().write(tmp_path / "x.ts")
    plan, chain = planned(path), FilterChain(planned(path))
    tiny = next(filtered([("testsrc2", "size=2x2"), ("format", "yuv420p")]))
    frames = decoded(path)
    out = through(chain, [*frames[:10], tiny, *frames[10:]])

    assert (30, 1, 2) == (len(out), chain.filters.refused, chain.filters.rebuilds)
    assert (plan.width, plan.height) == (out[0].width, out[0].height)


def test_pictures_are_gone_once_they_are_shown(tmp_path: Path) -> None:
    """Each takes megabytes, and the collector comes late: none waits for it, not those that were looked at closely."""
    path = Film(options={"g": "1"}, frames=120).write(tmp_path / "x.ts")
    chain, most, shown = FilterChain(planned(path)), 0, 0
    gc.disable()
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                assert frame.key_frame
                shown += len(list(chain.push(frame)))
                most = max(most, sum(isinstance(one, VideoFrame) for one in gc.get_objects()))
    finally:
        gc.enable()

    assert shown > 100
    assert most <= 2 * COLLECT_EVERY
