"""The proof beside the encode: what it has decoded is what the file holds, and every kind of wrong picture is seen."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import av
import pytest

from encoderd.encode.likeness import WRONG_DB, sampled
from encoderd.encode.playback import read_back
from encoderd.encode.proof import Proof, luma_of
from encoderd.encode.verify import _likeness
from encoderd.encode.video_plan import VIDEO_TIME_BASE
from encoderd.encode.written import OutputFacts, ProofFacts
from encoderd.findings import Verdict
from tests.proving import encoded, pictures
from tests.simulated import Simulated
from tests.unit.test_verify import facts

COUNT = 90  # three seconds


def verdict_on(proof: ProofFacts) -> Verdict:
    happened = facts()
    happened.frames_encoded = COUNT
    return _likeness(happened, proof).verdict


def read(path: Path, proof: ProofFacts | None, *, full: bool = True) -> OutputFacts:
    return read_back(str(path), "mp4" if path.suffix == ".mp4" else "matroska", full, lambda share: None, proof)


def places(found: OutputFacts) -> list[tuple[str, str]]:
    return [(spot.place, spot.error) for spot in found.spots]


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_sound_encode_is_not_decoded_again(tmp_path: Path, ending: str) -> None:
    """Both containers store lengths where x264 writes start codes: the checksum is the same."""
    target = tmp_path / f"a.{ending}"
    proof = encoded(target, pictures(COUNT))
    found = read(target, proof)

    assert (COUNT, COUNT, "", COUNT, 0) == (proof.frames, proof.packets, proof.error, proof.compared, proof.wrong)
    assert proof.crc == found.video_crc
    assert [("start", ""), ("middle", ""), ("end", ""), ("beside", "")] == places(found)
    assert found.spots[-1].frames == COUNT
    assert [0.0, 1.0, 2.0] == [second.at_s for second in proof.seconds]
    assert all(second.psnr_db > 30 and second.ssim > 0.95 for second in proof.seconds)
    assert verdict_on(proof) is Verdict.PASS


def test_another_file_is_decoded(tmp_path: Path) -> None:
    """What was proven is not in this one: all of it is decoded, as without a proof."""
    one, other = tmp_path / "a.mp4", tmp_path / "b.mp4"
    proof = encoded(one, pictures(COUNT))
    encoded(other, pictures(COUNT), quality=40)

    assert [("all", "")] == places(read(other, proof))
    assert [("all", "")] == places(read(one, None))
    assert ["start", "middle", "end"] == [place for place, _ in places(read(other, proof, full=False))]


@pytest.mark.parametrize("asked", [{"quality": 51}, {"rate_control": "cbr", "bitrate_bps": 100_000}], ids=str)
def test_the_worst_that_can_be_asked_for_is_no_doubt(tmp_path: Path, asked: dict[str, Any]) -> None:
    proof = encoded(tmp_path / "a.mp4", pictures(COUNT), **asked)

    assert (COUNT, 0) == (proof.compared, proof.wrong)
    assert verdict_on(proof) is Verdict.PASS, proof


def test_pictures_one_place_too_late_are_told(tmp_path: Path) -> None:
    """Each is like the one before it, and not like itself."""
    made = pictures(COUNT + 1)
    late = pictures(COUNT + 1)[:-1]
    for number, picture in enumerate(late):
        made[number + 1].pts = picture.pts
    proof = encoded(tmp_path / "a.mp4", late, seen=made[1:], quality=12)

    assert all(second.beside_db > second.thin_db + 3 for second in proof.seconds), proof.seconds
    assert verdict_on(proof) is Verdict.FAIL


def _noise(number: int, data: bytes) -> bytes:
    return data[: len(data) // 2] + random.Random(number).randbytes(len(data) - len(data) // 2)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda number, data: data[: len(data) // 2] if number > 45 else data,
        lambda number, data: _noise(number, data) if number > 45 else data,
        lambda number, data: random.Random(number).randbytes(300),
        lambda number, data: bytes(50),
        lambda number, data: b"",
    ],
    ids=["cut", "noise", "random", "zeros", "empty"],
)
def test_packets_that_cannot_be_decoded(tmp_path: Path, spoil: Any) -> None:
    """The encode goes on, the proof says so, and the file (which is another one) is decoded."""
    target = tmp_path / "a.mp4"
    proof = encoded(target, pictures(COUNT), spoil=spoil)

    assert proof.packets == COUNT
    assert proof.error
    assert [("all", "")] == places(read(target, proof))


@pytest.mark.parametrize("extradata", [lambda data: b"", lambda data: b"\1junk", lambda data: b"\0\0\1" + bytes(99)])
def test_extradata_of_any_kind(tmp_path: Path, extradata: Any) -> None:
    proof = encoded(tmp_path / "a.mp4", pictures(30), extradata=extradata)

    assert proof.packets == 30
    assert proof.error or proof.frames == 30


def test_an_error_in_the_proof_is_an_error_of_the_file(tmp_path: Path) -> None:
    """When the file holds the very packets that could not be decoded."""
    target = tmp_path / "a.mp4"
    proof = encoded(target, pictures(COUNT))
    broken = ProofFacts(frames=7, packets=COUNT, error="after 7 pictures", crc=proof.crc)

    assert ("beside", "after 7 pictures") == places(read(target, broken))[-1]


def test_an_abandoned_proof_leaves_no_thread() -> None:
    before = threading.active_count()
    proof = Proof(b"", VIDEO_TIME_BASE, sampled(None))
    for picture in pictures(3):
        proof.see(picture)
    proof.abandon()
    proof.take(b"\0\0\1", 0, 0)
    deadline_s = time.monotonic() + 5
    while threading.active_count() > before:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_the_luma_of_a_frame_is_without_padding() -> None:
    picture = pictures(1)[0]
    cut = av.VideoFrame(98, 50, "yuv420p")
    for plane in cut.planes:
        plane.update(bytes([7]) * plane.buffer_size)

    assert luma_of(picture).shape == (240, 320)
    assert (luma_of(picture) == picture.to_ndarray()[:240]).all()
    assert luma_of(cut).shape == (50, 98)
    assert (luma_of(cut) == 7).all()


@pytest.mark.parametrize(
    ("fault", "wrong", "error"),
    [("", 0, False), ("garble@45", 46, False), ("garble@45x1", 1, False), ("trunc@45", 0, True)],
)
def test_what_a_gpu_spoils_in_mid_job(
    simulated: Simulated, tmp_path: Path, fault: str, wrong: int, error: bool
) -> None:
    """Other pictures are coded and nothing is said: only comparing shows it, be it a single one of 90."""
    order = {"target": str(tmp_path / "a.mp4"), "pictures": COUNT, "asked": {"encoder": "h264_qsv"}}
    done = subprocess.run(
        [sys.executable, "-m", "tests.proving", json.dumps(order)],
        env={**os.environ, **simulated.environment(fault=fault)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])

    assert (told["packets"], told["wrong"], bool(told["error"])) == (COUNT, wrong, error), told
    if not fault:
        assert {99.0} == {second["psnr_db"] for second in told["seconds"]}
    if wrong:
        assert told["worst_db"] < WRONG_DB
        assert told["worst_at_s"] >= told["wrong_at_s"] > 1
        assert told["wrong_at_s"] == pytest.approx(44 * 1001 / 30_000, abs=0.1)
        assert verdict_on(ProofFacts(**{**told, "seconds": ()})) is Verdict.FAIL
