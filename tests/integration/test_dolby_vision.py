"""Dolby Vision in every container: what has no picture for other screens is refused by its name."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import pytest

from encoderd.encode.failures import EncodeFailed
from encoderd.encode.open_source import OpenSource
from encoderd.encode.plan import EncodePlan, make_plan
from tests.broadcast.containers import Head, Said, remuxed
from tests.broadcast.making import UNTOLD, Part
from tests.broadcast.studio import service, steady, video
from tests.broadcast.transport import multiplexed
from tests.dolby_vision import descriptor, nal_unit, record
from tests.encoding import encode, request_for

PART = Part(frames=12, pix_fmt="yuv420p10le", colours=UNTOLD)


def transport(unit: bytes = b"", descriptors: bytes = b"", colours: tuple[int, int, int] = UNTOLD) -> bytes:
    pictures = video([replace(PART, colours=colours)], "libx265")
    units = [replace(one, data=one.data + unit) for one in pictures.units]
    return multiplexed(service(replace(pictures, units=units, descriptors=descriptors)), clock=steady())


def movie(profile: int, compatibility: int = 0) -> bytes:
    """As FFmpeg writes it, its index behind the pictures, with a box more beside "hvcC"."""
    data = bytearray(remuxed(transport(), "mp4", [Said()], Head()))
    box = b"\0\0\0\x20dvcC" + record(profile, compatibility)
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"hev1"):
        at = data.index(kind, data.index(b"moov")) - 4
        data[at : at + 4] = (int.from_bytes(data[at : at + 4], "big") + len(box)).to_bytes(4, "big")
    at = data.index(b"hvcC", data.index(b"moov")) - 4
    data[at:at] = box
    return bytes(data)


def matroska(profile: int, compatibility: int = 0) -> bytes:
    """FFmpeg takes the record along."""
    out = io.BytesIO()
    with av.open(io.BytesIO(movie(profile, compatibility))) as source, av.open(out, "w", format="matroska") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux():
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    return out.getvalue()


def planned(path: Path, data: bytes) -> EncodePlan:
    path.write_bytes(data)
    request = request_for(path, path.with_name("out.partial"))
    with OpenSource(request) as opened:
        assert opened.source is not None
        return make_plan(opened.source.media, request, opened.looks)


@pytest.mark.parametrize(
    ("suffix", "make"),
    [
        (".ts", lambda: transport(unit=nal_unit())),
        (".ts", lambda: transport(descriptors=descriptor(5))),
        (".mp4", lambda: movie(5)),
        (".mkv", lambda: matroska(5)),
    ],
    ids=["pictures", "table", "mp4", "matroska"],
)
def test_colours_of_its_own_are_refused(tmp_path: Path, suffix: str, make: Callable[[], bytes]) -> None:
    """Told by the pictures alone, by the table alone, by the container alone; and a user may have it nevertheless."""
    with pytest.raises(EncodeFailed, match=r"Dolby Vision profile 5.* green and purple") as refusal:
        planned(tmp_path / f"x{suffix}", make())

    assert refusal.value.acceptable and "device that knows this coding" in refusal.value.remedy


@pytest.mark.parametrize(
    ("suffix", "make"),
    [
        (".ts", lambda: transport(unit=nal_unit(has_base=True), descriptors=descriptor(8, 4))),
        (".mp4", lambda: movie(8, 1)),
        (".mkv", lambda: matroska(7, 6)),
    ],
    ids=["table", "mp4", "matroska"],
)
def test_a_base_layer_is_a_picture_like_any_other(tmp_path: Path, suffix: str, make: Callable[[], bytes]) -> None:
    plan = planned(tmp_path / f"x{suffix}", make())

    assert "" == plan.video.own_colours
    assert any("Dolby Vision profile" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("colours", "name"),
    [((9, 16, 14), "ICtCp"), ((9, 18, 14), "ICtCp"), ((9, 16, 8), "YCgCo")],
)
def test_a_matrix_that_nothing_here_converts_is_refused(
    tmp_path: Path, colours: tuple[int, int, int], name: str
) -> None:
    """Taken for another one, its colours would be those of Dolby Vision without a base."""
    with pytest.raises(EncodeFailed, match=f"The pictures are {name}, .*green and purple"):
        planned(tmp_path / "x.ts", transport(colours=colours))


@pytest.mark.parametrize("colours", [(1, 1, 8), (9, 16, 9), (9, 18, 10), UNTOLD])
def test_matrices_that_can_be_kept_or_converted_are_not(tmp_path: Path, colours: tuple[int, int, int]) -> None:
    assert "" == planned(tmp_path / "x.ts", transport(colours=colours)).video.own_colours


def test_what_was_accepted_is_marked(tmp_path: Path) -> None:
    path = tmp_path / "x.ts"
    path.write_bytes(transport(unit=nal_unit()))
    done = encode(path, accept_damage=True)

    assert ["dynamic_range"] == [one["check"] for one in done.receipt["accepted"]]
    assert "Dolby Vision profile 5" in done.receipt["accepted"][0]["evidence"]
