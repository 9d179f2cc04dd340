"""Broadcasters' recordings through the whole daemon: what is published, what is not, and what the operator reads."""

from __future__ import annotations

from pathlib import Path

import av

from encoderd.encode.sample import SampleSpec, make_recording
from encoderd.jobs import Acceptance, JobState
from tests.broadcast.catalogue import CATALOGUE
from tests.running import RunningDaemon


def made(tmp_path: Path, name: str) -> Path:
    path = tmp_path / f"{name}.ts"
    path.write_bytes(CATALOGUE[name].make().data)
    return path


def test_an_output_that_is_not_smaller_is_skipped_and_the_recording_stays(
    daemon: RunningDaemon, tmp_path: Path
) -> None:
    """The end of a job, not its failure; with another wish the operator has it tried again."""
    small = make_recording(
        tmp_path / "small.ts", SampleSpec(duration_s=3.0, width=320, height=240, bit_rate_bps=200_000)
    )
    daemon.configure(encode={"max_size_ratio": 1.0, "quality": 3})
    daemon.start().drop(small)
    daemon.wait_for(lambda: daemon.states() == [JobState.SKIPPED], what="skipped")
    job = daemon.job()

    assert "not smaller than its recording" in job.reason
    assert (daemon.outputs(), daemon.partials()) == ([], [])
    assert (daemon.input / "a.ts").exists()
    assert daemon.log("encode.not_wanted")[0]["level"] == "info"


def test_a_recording_that_is_damaged_too_much_has_failed(daemon: RunningDaemon, tmp_path: Path) -> None:
    """A third of it cannot be decoded: said with the figure, and nothing is published."""
    daemon.configure(encode={"max_damage_ratio": 0.2})
    daemon.start().drop(made(tmp_path, "scrambled_third"))
    daemon.wait_for(lambda: daemon.states() == [JobState.FAILED], what="failed")
    job = daemon.job()

    assert (job.failure_kind, job.attempts) == ("recording", 1)
    assert "Too much of this recording is damaged" in job.reason and "max_damage_ratio is 0.2" in job.reason
    assert (daemon.outputs(), daemon.partials()) == ([], [])


def test_what_can_be_made_of_it_is_published_when_that_is_asked_for(daemon: RunningDaemon, tmp_path: Path) -> None:
    """Marked in its name, the list and the receipt; the recording stays, whatever becomes of others."""
    daemon.configure(encode={"max_damage_ratio": 0.2, "accept_damage": True, "after_success": "delete"})
    source = daemon.start().drop(made(tmp_path, "scrambled_third"))
    job = daemon.wait_done()

    assert (daemon.outputs(), source.exists()) == (["a.mp4.damaged"], True)
    assert ["damage"] == [one["check"] for one in daemon.receipt()["accepted"]]
    assert job.acceptance is Acceptance.GIVEN
    with av.open(str(daemon.output / "a.mp4.damaged"), format="mov") as container:
        assert sum(1 for _ in container.decode(video=0)) > 50


def test_captions_and_chapters_follow_the_output(daemon: RunningDaemon, tmp_path: Path) -> None:
    """MP4 holds no teletext and no ARIB captions: they stand beside it; chapters are in it, their file beside it."""
    (daemon.input / "a.chapter.txt").write_text(
        "CHAPTER01=00:00:00.000\nCHAPTER01NAME=前編\nCHAPTER02=00:00:02.500\nCHAPTER02NAME=後編\n", encoding="utf-8"
    )
    daemon.start().drop(made(tmp_path, "captions"))
    daemon.wait_done()
    receipt = daemon.receipt()

    assert daemon.outputs() == ["a.captions.ts", "a.chapter.txt", "a.mp4"]
    assert {one["codec"] for one in receipt["captions"]["beside"]} == {"dvb_subtitle", "dvb_teletext", "arib_caption"}
    assert all(stream["packets"] for stream in receipt["captions"]["file"]["streams"])
    assert [(one["start_s"], one["title"]) for one in receipt["chapters"]] == [(0.0, "前編"), (2.5, "後編")]
    with av.open(str(daemon.output / "a.mp4")) as container:
        assert [stream.type for stream in container.streams][:2] == ["video", "audio"]
