"""The page about a job: everything that the receipt tells, and old receipts and failed jobs as far as they go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoderd.cli.job_page import page
from encoderd.jobs import FailureKind, Job, JobState
from tests.unit.test_receipt import made, receipt_of

#: A receipt of version 1, as 0.2 wrote it, with the keys that its page showed.
VERSION_1 = {
    "receipt": 1,
    "verdict": "pass",
    "granted": {"encoder": "libx264", "quality": "23"},
    "differences": [],
    "source": {"format": "mpegts", "size_bytes": 4096, "video": [], "audio": [], "other": []},
    "plan": {"audio": [], "notes": ["left out: epg (stream 7, pid 0x12)"]},
    "facts": {"discontinuities": [{"at_s": 12.0, "step_s": -3600.0, "stream": 0}], "gaps": []},
    "findings": [{"check": "frames", "verdict": "pass", "evidence": "60 frames", "remedy": ""}],
    "wall_s": 3.5,
    "speed_x": 9.1,
}


@dataclass(frozen=True)
class Event:
    at: float
    event: str
    state_to: str
    reason: str = ""


EVENTS = [Event(1.0, "added", "queued"), Event(2.0, "claimed", "encoding")]


def job(**changes: Any) -> Job:
    return Job(**{"id": 12, "watch": "tv", "relative_path": "a.ts", "size_bytes": 2**20, "mtime_ns": 1,
                  "state": JobState.DONE, **changes})  # fmt: skip


def shown(one: Job, *, unicode: bool = True) -> str:
    return "\n".join(line.text for line in page(one, EVENTS, unicode=unicode))


def published(receipt: Any) -> dict[str, Any]:
    return {"path": "/out/a.mp4", "size_bytes": 2**19, "mtime_ns": 1, "receipt": receipt}


def test_a_page(tmp_path: Path) -> None:
    """Source, output, findings, damage, clock, proof, charts, history."""
    text = shown(job(published=published(receipt_of(made(tmp_path)))))

    for expected in (
        "job 12  done  tv: a.ts",
        "/out/a.mp4, 512.0 KiB",
        "encoder libx264, quality 23",
        "first picture after 0.4 s, 256.0 MiB of memory",
        "1440×1080, samples 4:3, 25.000 frames/s",
        "audio 1      mp2 → aac, stereo",
        "audio 2      ac3 copied, 5.1",
        "✔ pass streams",
        "0.11% of the time is damaged or missing; the limit is 100%",
        "3 continuity errors at 00:01:00",
        "pid 0x100    9 packets, 3 lost, 1 errors, 0 scrambled",
        "gap          0:01:00  +2.000 s",
        "skew         4 ms at most",
        "45000 pictures, 0 wrong, the worst has 30.0 dB at 1.0 s",
        "PSNR 38.0 dB, SSIM 0.970",
        "Speed\n     20.0× │█",
        "Bit rate\n",
        "Damage\n",
        "0:30:00",
        "claimed             encoding",
    ):
        assert expected in text, expected


def test_accepted_damage_is_on_the_page(tmp_path: Path) -> None:
    receipt = {**receipt_of(made(tmp_path)), "accepted": [{"check": "source_read", "evidence": "reading ended"}]}

    assert "  accepted     source_read; so the recording stays" in shown(job(published=published(receipt)))


def test_a_page_in_ascii(tmp_path: Path) -> None:
    text = shown(job(published=published(receipt_of(made(tmp_path)))), unicode=False)

    assert text.isascii()
    assert "mp2 -> aac" in text
    assert "20.0x |#" in text


def test_a_receipt_of_a_former_version() -> None:
    """The jobs of before an upgrade are shown as before."""
    text = shown(job(published=published(VERSION_1)))

    for expected in (
        "3.5 s, 9.1×",
        "✔ pass frames       60 frames",
        "note         left out: epg",
        "0:00:12  -3600.000 s",
    ):
        assert expected in text, expected
    assert "Damage" not in text


def test_a_job_that_failed() -> None:
    """Reason and remedy, history, and nothing of an output that is not there."""
    failed = job(state=JobState.FAILED, failure_kind=FailureKind.RECORDING, reason="No picture.", remedy="Play it.")
    text = shown(failed)

    assert "  recording    No picture.\n               → Play it.\n" in text
    assert "Output" not in text
    assert text.endswith("encoding")


def test_names_of_any_bytes_stay_on_their_line() -> None:
    assert "tv: a\\x1b[31m\\xff.ts" in shown(job(relative_path="a\x1b[31m\udcff.ts"))


@pytest.mark.parametrize("receipt", [{}, None, [], "text", {"receipt": 3}])
def test_receipts_that_tell_nothing(receipt: Any) -> None:
    assert "/out/a.mp4" in shown(job(published=published(receipt)))


def test_numbers_that_no_receipt_has(tmp_path: Path) -> None:
    receipt = receipt_of(made(tmp_path))
    receipt["series"]["speed_x"] = [10**400, 1e300, float("nan")]
    receipt["timeline"]["gaps"][0]["at_s"] = 10**400

    assert "job 12" in shown(job(published=published(receipt)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_a_receipt_with_anything_in_it(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A newer or a broken one: whatever a field holds, at any depth, the page is shown."""
    receipt = receipt_of(made(tmp_path_factory.getbasetemp()))
    place: Any = receipt
    while True:
        key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else list(range(len(place)))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(JSON)

    assert "job 12" in shown(job(published=published(receipt)))
