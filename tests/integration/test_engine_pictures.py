"""Pictures of odd and changing sizes and colours, through the real child."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import pytest

from encoderd.encode.failures import EncodeFailed
from encoderd.encode.sample import SampleSpec, make_recording
from encoderd.jobs import FailureKind
from tests.encoding import encode, frame_times, retimed, try_encode
from tests.often import often

SMALL: dict[str, Any] = {"width": 320, "height": 240, "bit_rate_bps": 1_500_000}
BT709, BT601, UNSPECIFIED = 1, 6, 2
LIMITED, FULL = 1, 2


def make(folder: Path, name: str = "x.ts", **spec: Any) -> Path:
    return make_recording(folder / name, SampleSpec(**{**SMALL, "duration_s": 1.0, **spec}))


def grey(path: Path, *, size: tuple[int, int] = (320, 240), matrix: int = UNSPECIFIED, value_range: int = 0) -> bytes:
    """One second of H.264 whose luma and chroma are the same ramp in every recording, tagged with these colours."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "10"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = value_range
        for number in range(25):
            frame = av.VideoFrame(*size, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([60 + 4 * number]) * plane.buffer_size)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def luma_of(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [bytes(frame.planes[0])[1000] for frame in container.decode(video=0)]


@pytest.mark.parametrize(("width", "height"), often(1, [(321, 241), (320, 241), (321, 240)]))
def test_odd_sizes_lose_a_line_or_column(tmp_path: Path, width: int, height: int) -> None:
    source = make(tmp_path, "x.ts", width=width, height=height, interlaced=False)
    done = encode(source)
    with av.open(str(done.path)) as container:
        context = container.streams.video[0].codec_context

        assert (width // 2 * 2, height // 2 * 2) == (context.width, context.height)
    assert done.doubts == {}


def test_colour_tags_stay(tmp_path: Path) -> None:
    """BT.709 in limited range, as HD broadcasts say."""
    path = tmp_path / "x.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for tag in ("color_primaries", "color_trc", "colorspace", "color_range"):
            setattr(stream.codec_context, tag, 1)
        for number in range(25):
            frame = av.VideoFrame(320, 240, "yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(encode(path).path)) as container:
        context = container.streams.video[0].codec_context
        found = (context.color_primaries, context.color_trc, context.colorspace, context.color_range)

    assert tuple(map(int, found)) == (1, 1, 1, 1)


@pytest.mark.parametrize("sizes", often(1, [[(320, 240), (480, 360)], [(480, 360), (320, 240), (480, 360)]]))
def test_a_change_of_resolution_goes_on_in_one_geometry(tmp_path: Path, sizes: list[tuple[int, int]]) -> None:
    """The size of most of the recording is the output's, of two equals the larger; no picture is lost at a seam."""
    parts = [
        make(tmp_path, f"{number}.ts", width=width, height=height).read_bytes()
        for number, (width, height) in enumerate(sizes)
    ]
    source = tmp_path / "x.ts"
    source.write_bytes(b"".join(retimed(part, number * 90_000) for number, part in enumerate(parts)))
    done = encode(source)
    with av.open(str(done.path)) as container:
        found = {(frame.width, frame.height) for frame in container.decode(video=0)}

    assert found == {max(sizes, key=lambda size: (sizes.count(size), size))}
    assert len(frame_times(done.path)) >= 30 * len(sizes) - 2
    assert done.receipt["facts"]["geometry_changes"] == len(sizes) - 1


@pytest.mark.parametrize(
    ("first", "second"),
    often(
        2,
        [((UNSPECIFIED, 0), (BT709, LIMITED)), ((BT709, LIMITED), (UNSPECIFIED, 0)), ((5, LIMITED), (BT601, LIMITED))],
    ),
)
def test_colours_that_are_not_told_are_not_converted(
    tmp_path: Path, first: tuple[int, int], second: tuple[int, int]
) -> None:
    """An advertisement without tags, or with the other name of the same matrix, keeps its values."""
    parts = [
        grey(tmp_path / f"{number}.ts", matrix=matrix, value_range=value_range)
        for number, (matrix, value_range) in enumerate((first, second))
    ]
    source = tmp_path / "x.ts"
    source.write_bytes(parts[0] + retimed(parts[1], 90_000))
    luma = luma_of(encode(source, quality=10).path)

    assert len(luma) == 50
    assert all(abs(one - other) <= 2 for one, other in zip(luma[:25], luma[25:], strict=True))


@pytest.mark.parametrize(
    ("first", "second"),
    [((BT709, LIMITED), (BT601, LIMITED)), ((BT709, LIMITED), (BT709, FULL))],
)
def test_colours_that_are_told_are_converted(tmp_path: Path, first: tuple[int, int], second: tuple[int, int]) -> None:
    """The output has one set of tags; what is tagged otherwise is converted to it."""
    parts = [
        grey(tmp_path / f"{number}.ts", matrix=matrix, value_range=value_range)
        for number, (matrix, value_range) in enumerate((first, second))
    ]
    source = tmp_path / "x.ts"
    source.write_bytes(parts[0] + retimed(parts[1], 90_000))
    done = encode(source, quality=10)
    luma = luma_of(done.path)

    assert max(abs(one - other) for one, other in zip(luma[:25], luma[25:], strict=True)) > 4
    with av.open(str(done.path)) as container:
        context = container.streams.video[0].codec_context
        assert (int(context.colorspace), int(context.color_range)) in {first, second}


@pytest.mark.parametrize("value_range", often(1, [LIMITED, FULL]))
def test_values_stay_as_they_are(tmp_path: Path, value_range: int) -> None:
    """Of one recording with one set of tags nothing is converted, in full range either."""
    grey(tmp_path / "x.ts", matrix=BT709, value_range=value_range)
    luma = luma_of(encode(tmp_path / "x.ts", quality=10).path)

    assert all(abs(value - (60 + 4 * number)) <= 2 for number, value in enumerate(luma))


def test_pictures_that_no_filter_takes_are_left_out(tmp_path: Path) -> None:
    """2 × 2 pixels cannot be deinterlaced: alone they are no recording, in between they are damage."""
    tiny, sound = grey(tmp_path / "a.ts", size=(2, 2)), grey(tmp_path / "b.ts")
    source = tmp_path / "x.ts"
    source.write_bytes(tiny)
    failure = try_encode(source, tmp_path / "out.mp4")
    source.write_bytes(sound + retimed(tiny, 90_000) + retimed(sound, 180_000))
    done = encode(source)

    assert isinstance(failure, EncodeFailed) and failure.kind is FailureKind.RECORDING
    assert "No picture of this recording can be decoded" in failure.message
    assert done.receipt["facts"]["frames_refused"] == 25
    assert len(frame_times(done.path)) == 50


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    """Media managers attach one; it is left out, and said so."""
    film, source = make(tmp_path, "film.ts", audio=()), tmp_path / "x.mp4"
    with av.open(str(film)) as old, av.open(str(source), "w") as new:
        video = new.add_stream_from_template(old.streams.video[0])
        cover: Any = new.add_stream("png", rate=25)
        cover.width, cover.height, cover.pix_fmt, cover.disposition = 32, 32, "rgb24", 0x400
        new.mux(cover.encode(av.VideoFrame(32, 32, "rgb24")))
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = video
                new.mux(packet)
    done = encode(source)

    left_out = "png (stream 1): a picture for a shelf, which this output does not keep"
    assert done.receipt["plan"]["notes"] == [f"left out: {left_out}"]
    assert done.doubts == {"left_out": left_out}


@pytest.mark.parametrize("container", often(1, ["mp4", "mkv"]))
def test_an_output_is_not_encoded_again(tmp_path: Path, container: str) -> None:
    """It carries our mark: a watch folder that sees its own outputs does not run in circles."""
    output = encode(make(tmp_path, audio=()), container=container).path
    failure = try_encode(output, tmp_path / "again.mp4")

    assert isinstance(failure, EncodeFailed)
    assert (failure.kind, "output of encoderd" in failure.message) == (FailureKind.RECORDING, True)
