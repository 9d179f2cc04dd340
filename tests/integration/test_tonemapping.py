"""High dynamic range through the filters of its plan, and through the real child: what a screen for BT.709 shows."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from encoderd.encode import video_plan as video_plan_module
from encoderd.encode.filtering import FilterChain
from encoderd.encode.media import VideoInfo
from encoderd.encode.messages import VideoRequest
from encoderd.encode.open_source import OpenSource
from encoderd.encode.pictures import Colours, Look, PictureForm
from encoderd.encode.video_plan import video_plan
from tests.encoding import encode, request_for
from tests.filmed import Film, luma

SIZE = (64, 32)
PQ, HLG = 16, 18
#: Grey in 10 bits → luma in 8. PQ: black, 10, 50, 100, 203, 400 and 1000 cd/m² and what is beyond. HLG: the same, in
#: signal, with reference white (75 %) and the skin of BT.2408-7, table 1, between. Below 92 cd/m² BT.2390's curve
#: changes nothing: 16 + 219 × (50 / 203) ** (1 / 2.4) is 138; reference white becomes 90 % of the signal.
GREYS = {
    PQ: {64: 16, 327: 78.5, 450: 138, 509: 178.5, 573: 214, 636: 230.5, 723: 235, 940: 235},
    HLG: {64: 16, 283: 77.5, 397: 109.5, 502: 139, 721: 214, 852: 233.5, 940: 235},
}


def shown(planes: tuple[int, int, int], transfer: int, size: tuple[int, int] = SIZE) -> Any:
    """Return what goes into the encoder of a picture that is all of one colour (10-bit Y′CbCr, BT.2020)."""
    return painted(planes, transfer, size)


def painted(planes: tuple[Any, Any, Any], transfer: int, size: tuple[int, int], matrix: int = 9) -> Any:
    """As `shown`, of a picture with these planes: a value each, or lines × columns."""
    colours = Colours(primaries=9, transfer=transfer, matrix=matrix, range=1)
    form = PictureForm(width=size[0], height=size[1], pix_fmt="yuv420p10le", colours=colours)
    video = VideoInfo(
        index=0, pid=0, codec="hevc", width=size[0], height=size[1], pix_fmt="yuv420p10le", frame_rate=Fraction(25),
        sample_aspect_ratio=Fraction(1), time_base=Fraction(1, 90_000),
    )  # fmt: skip
    plan = video_plan(video, VideoRequest(encoder="libx264"), "auto", [Look(at=0, form=form, frames=6)], "auto")
    frame: Any = av.VideoFrame(*size, "yuv420p10le")
    for plane, value in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size // 2), "<u2")
        rows[:, : plane.width] = value
        plane.update(rows.tobytes())
    frame.pts, frame.time_base, frame.colorspace, frame.color_range = 0, Fraction(1, 25), matrix, 1
    chain = FilterChain(plan)
    (out,) = [*chain.push(frame), *chain.drain()]

    assert (1, 1, 1, 1) == (plan.color_primaries, plan.color_trc, plan.colorspace, plan.color_range)
    return out


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_greys_take_the_curve(transfer: int) -> None:
    """Within one step of 8 bits, and grey stays grey."""
    for told, wanted in GREYS[transfer].items():
        out = shown((told, 512, 512), transfer)
        assert abs(luma(out).mean() - wanted) <= 1, told
        assert np.abs(np.frombuffer(out.planes[1], np.uint8).astype(int) - 128).max() <= 1, told


def test_the_mapping_does_not_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any colour the luma is within a step of 8 bits of what floats give; 10 bits between the two are not enough."""
    size = (256, 128)
    rng = np.random.default_rng(1)
    grid = [rng.integers(low, high, (size[1] // 2, size[0] // 2)) for low, high in ((64, 800), (312, 712), (312, 712))]
    planes = (np.kron(grid[0], np.ones((2, 2), int)), grid[1], grid[2])
    found = luma(painted(planes, PQ, size))
    monkeypatch.setattr(video_plan_module, "CUBE_FORMAT", "gbrpf32le")
    exact = luma(painted(planes, PQ, size))

    assert np.abs(found.astype(int) - exact).max() <= 1


def test_colours_keep_their_hue() -> None:
    """BT.2020's red, green and blue at half the signal, in BT.709's matrix: each is still the one it was."""
    matrix = np.array([[0.2627, 0.6780, 0.0593]])
    for strong in range(3):
        rgb = np.full(3, 0.1)
        rgb[strong] = 0.5
        y = float((matrix @ rgb)[0])
        told = (y * 876 + 64, (rgb[2] - y) / 1.8814 * 896 + 512, (rgb[0] - y) / 1.4746 * 896 + 512)
        out = shown((round(told[0]), round(told[1]), round(told[2])), HLG)
        light = (float(luma(out).mean()) - 16) / 219
        blue, red = ((float(np.frombuffer(out.planes[1], np.uint8)[at]) - 128) / 224 for at in (0, 1))
        seen = [light + 1.5748 * red, 0.0, light + 1.8556 * blue]
        seen[1] = (light - 0.2126 * seen[0] - 0.0722 * seen[2]) / 0.7152
        assert strong == int(np.argmax(seen))
        assert max(seen) - min(seen) > 0.4  # BT.709 shows the same colour with more of its own primaries
        assert min(seen) > -0.02 and max(seen) < 1.02


@pytest.mark.parametrize("matrix", [2, 10, 12, 13])
def test_what_is_mapped_has_bt2020_s_matrix(matrix: int) -> None:
    """Where it is not told, and where it is one of those that are nearly the same."""
    planes = (600, 420, 640)
    found, wanted = (painted(planes, PQ, SIZE, matrix=one) for one in (matrix, 9))

    assert [bytes(plane) for plane in wanted.planes] == [bytes(plane) for plane in found.planes]


@pytest.mark.parametrize(("transfer", "name"), [(PQ, "PQ"), (HLG, "HLG")])
def test_kept_high_dynamic_range_is_doubted(tmp_path: Path, transfer: int, name: str) -> None:
    """With tonemap = "off" the values stay and are tagged as they were; no recording is removed for that."""
    film = Film(frames=10, codec="libx264", colours=(9, transfer, 9, 1), pix_fmt="yuv420p10le")
    done = encode(film.write(tmp_path / "x.ts"), tonemap="off")

    assert {"dynamic_range"} == set(done.doubts)
    assert "warn" == done.receipt["verdict"]
    assert (9, transfer, 9, "") == tuple(
        done.receipt["video"][key] for key in ("color_primaries", "color_trc", "colorspace", "tone_mapped")
    )
    done = encode(tmp_path / "x.ts")
    assert {} == done.doubts
    assert (1, 1, 1, name) == tuple(
        done.receipt["video"][key] for key in ("color_primaries", "color_trc", "colorspace", "tone_mapped")
    )


def film_with(path: Path, light: str) -> Path:
    options = {"preset": "ultrafast", "x265-params": f"log-level=none:repeat-headers=1:{light}"}
    return Film(frames=8, codec="libx265", colours=(9, PQ, 9, 1), pix_fmt="yuv420p10le", options=options).write(path)


def graded_on(nits: int) -> str:
    """x265's words: chromaticities in 0.00002, luminance in 0.0001 cd/m²."""
    return f"master-display=G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L({nits * 10_000},50)"


@pytest.mark.parametrize(
    ("light", "wanted"),
    [
        ("max-cll=4000,400", 4000),
        ("hdr10=1:max-cll=0,0", 0),
        ("max-cll=1,1", 0),
        ("max-cll=65535,65535", 0),
        (f"{graded_on(1000)}:max-cll=4000,400", 1000),
        (f"{graded_on(1)}:max-cll=4000,400", 4000),
        (f"{graded_on(200_000)}:max-cll=65535,1", 0),
    ],
)
def test_the_brightest_light_is_believed_where_it_can_be(tmp_path: Path, light: str, wanted: int) -> None:
    """The mastering screen's, else the content's; numbers that no screen has say nothing."""
    path = film_with(tmp_path / "x.ts", light)
    request = request_for(path, tmp_path / "out.partial")
    with OpenSource(request) as opened:
        assert {wanted} == {look.form.peak_nits for look in opened.looks if look.form is not None}


def test_the_mastering_screen_is_said(tmp_path: Path) -> None:
    """4000 cd/m² are rolled off where 1000 would be clipped."""
    done = encode(film_with(tmp_path / "x.ts", f"hdr10=1:{graded_on(4000)}:max-cll=4000,400"))

    assert "high dynamic range (PQ graded for 4000 cd/m²) tone-mapped to BT.709" in done.receipt["video"]["notes"]
