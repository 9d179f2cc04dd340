"""One attempt at one job: from the claim to a published file with its receipt, or to a failure with its kind."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoderd.encode.companions import chapter_file
from encoderd.encode.failures import EncodeFailed, Place, crashed, device, output_failed
from encoderd.encode.messages import Encoded, EncodeRequest, Started, VideoRequest
from encoderd.encode.publish import check_space, prepare_folder, write_receipt
from encoderd.encode.supervisor import Child, Limits
from encoderd.errors import EncoderdError
from encoderd.jobs import Acceptance, FailureKind, Job, readable
from encoderd.landing import Landing
from encoderd.logs import get_logger
from encoderd.queue.store import Store
from encoderd.settings import EncodeSettings, WatchSettings
from encoderd.state_folder import StateFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """What every attempt works with."""

    store: Store
    state: StateFolder
    worker: str


class Attempt:
    """
    A claimed job and its child. `poll` drives it until it has `ended`: `done`, `failure` or `cancelled` say how.

    Raises (`poll`): DatabaseError, JobRefused and NoSuchJob from the store; everything else becomes `failure`. After
    a DatabaseError the next `poll` goes on where this one was.
    """

    def __init__(
        self,
        shop: Shop,
        job: Job,
        folder: WatchSettings,
        encode: EncodeSettings,
        video: VideoRequest,
        *,
        on_cpu_because: str = "",
    ) -> None:
        self.job = job
        self.video = video
        self.encode = encode
        self.folder = folder
        self.child: Child | None = None
        self.failure: EncodeFailed | None = None
        self.done: Job | None = None
        self.cancelled = False
        self.renewed = False  # intake saw other content under this name meanwhile
        self.landing = Landing(shop.store, shop.state, shop.worker, job, folder, encode)
        #: Where a failure of the place "folder" sits, the bytes it needs, and those that must remain free.
        self.trouble = (self.landing.partial.parent, job.size_bytes, encode.space_margin_mib * 2**20)
        self._shop = shop
        self._resumable = job.published is not None  # a former attempt may have left a finished file
        self._on_cpu_because = on_cpu_because
        self._told = False  # the log has had its line on what the encoder granted
        self._landed: tuple[Path, dict[str, Any]] | None = None  # published, but the queue does not know yet

    @property
    def ended(self) -> bool:
        return self.cancelled or self.done is not None or self.failure is not None

    @property
    def landed(self) -> bool:
        """The output has its final name: what is left is to tell the queue, whatever happens."""
        return self._landed is not None

    def poll(self, now_s: float) -> None:
        """Begin, drive the child on, publish, conclude: whatever is next; monotonic seconds."""
        if self.ended:
            return
        try:
            self._step(now_s)
        except EncodeFailed as failure:
            self.failure = failure
        except EncoderdError:
            raise
        except OSError as error:
            self.failure = self._io_failed(error)
        except Exception as error:
            if self._landed is not None:  # a failure would have it encoded again, beside the file that is there
                raise
            get_logger().error("encode.broke", exc_info=True, remedy="Report this with the lines around it.")
            self.failure = crashed(f"A defect of encoderd: {type(error).__name__}: {error}", remedy="Report it.")

    def look_at_source(self) -> None:
        """End the attempt at once when its recording is not what was admitted: what it makes would be void."""
        if not self.ended and self._landed is None and self.child is not None:
            try:
                self.landing.check_source()
            except EncodeFailed as failure:
                self.failure = failure

    def end(self) -> None:
        """End the child at once; remove the partial files, unless they may be the finished ones of a former attempt."""
        if self.child is not None:
            self.child.kill()
        if self._resumable:
            return
        try:
            self.landing.clear()
        except OSError as error:
            get_logger().warning(
                "encode.partial_left", path=self.landing.partial, reason=str(error), remedy="Delete it by hand."
            )

    def _step(self, now_s: float) -> None:
        if self._landed is None and self.child is None:
            self._begin(now_s)
        if self._landed is None:
            assert self.child is not None
            outcome = self.child.poll(now_s)
            self._tell_granted(self.child.started)
            if outcome is None:
                return
            if isinstance(outcome, EncodeFailed):
                if outcome.kind is not FailureKind.DEVICE:
                    self.landing.check_source()  # one that was replaced under the child is not bad, it is another one
                raise outcome
            assert isinstance(outcome, Encoded)
            self._landed = self.landing.publish(outcome)
        self._conclude(*self._landed)

    # --- before

    def _begin(self, now_s: float) -> None:
        """Finish what a crash cut off, or start the child."""
        folder = self.landing.partial.parent
        prepare_folder(folder)
        if self._resumable:
            self._landed = self.landing.left_by_former()
            self._resumable = False
            if self._landed is not None:
                return
        check_space(folder, self.job.size_bytes, self.encode.space_margin_mib * 2**20)
        self.landing.check_source()
        self.landing.clear()
        self._head_line()
        log = self._shop.state.log_of(self.job.id)
        try:
            self.child = Child(self._request(), self._limits(), now_s=now_s, log=log)
        except OSError as error:
            if error.filename == str(log):
                raise
            raise not_started(error) from error

    def _request(self) -> EncodeRequest:
        encode, landing = self.encode, self.landing
        accepted = self.job.acceptance is Acceptance.GIVEN
        return EncodeRequest(
            job=self.job.id,
            source=str(landing.source),
            partial=str(landing.partial),
            size_bytes=self.job.size_bytes,
            mtime_ns=self.job.mtime_ns,
            video=self.video,
            container=encode.container,
            deinterlace=encode.deinterlace,
            audio_bit_rate_bps=encode.audio_bitrate,
            verify=encode.verify,
            nice=encode.nice,
            video_gaps=encode.video_gaps,
            tonemap=encode.tonemap,
            dual_mono=encode.dual_mono,
            programme=0 if encode.programme == "auto" else encode.programme,
            max_damage_ratio=encode.max_damage_ratio,
            max_size_ratio=0.0 if accepted else encode.max_size_ratio,
            accept_damage=accepted or encode.accept_damage,
            captions=str(landing.captions),
            chapters=str(chapter_file(landing.source) or ""),
        )

    def _limits(self) -> Limits:
        encode = self.encode
        return Limits(startup_s=encode.startup_limit_s, stall_s=encode.stall_limit_s, drain_s=encode.drain_limit_s)

    def _head_line(self) -> None:
        when = time.strftime("%Y-%m-%d %H:%M:%S %z")
        source = readable(str(self.landing.source))
        what = f"job {self.job.id}, attempt {self.job.attempts}, {self.video.encoder}: {source}"
        with self._shop.state.log_of(self.job.id).open("a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(f"=== {when} {what}\n")

    def _tell_granted(self, started: Started | None) -> None:
        """The job's first line, once its encoder is open: what it granted, and where that is not what was asked."""
        if started is None or self._told:
            return
        self._told = True
        log = get_logger().warning if started.differences else get_logger().info
        log(
            "encode.started",
            encoder=self.video.encoder,
            granted=started.granted,
            differences=started.differences,
            attempt=self.job.attempts,
            log=self._shop.state.log_of(self.job.id),
            **({"on_cpu_because": self._on_cpu_because} if self._on_cpu_because else {}),
        )

    # --- after

    def _conclude(self, target: Path, published: dict[str, Any]) -> None:
        """The output is on disk under its name, the receipt too: now the source's turn, then the queue's."""
        receipt = published["receipt"]
        self.landing.follow(target, receipt)
        try:
            write_receipt(self._shop.state.receipt_of(self.job.id), receipt)
        except OSError as error:  # the one from before the rename is there, and the queue has this one
            get_logger().warning(
                "encode.receipt_stale", reason=str(error), remedy=f"Make room in {self._shop.state.root}."
            )
        self.done = self._shop.store.finish(self.job.id, worker=self._shop.worker, published=published, now=time.time())
        findings = receipt["findings"]
        doubts = [f"{finding['check']}: {finding['evidence']}" for finding in findings if finding["verdict"] != "pass"]
        log = get_logger().warning if doubts else get_logger().info
        log(
            "encode.finished",
            output=target,
            encoder=self.video.encoder,
            granted=receipt["granted"],
            differences=receipt.get("differences", []),
            duration_s=receipt["duration_s"],
            wall_s=receipt["wall_s"],
            speed_x=receipt["speed_x"],
            fps=receipt["fps"],
            source_bytes=self.job.size_bytes,
            output_bytes=published["size_bytes"],
            size_ratio=round(published["size_bytes"] / self.job.size_bytes, 3),
            attempt=self.job.attempts,
            doubts=doubts,
            accepted=receipt.get("accepted"),
            **_told(receipt),
            source=receipt["after_success"],
            receipt=self._shop.state.receipt_of(self.job.id),
        )

    def _io_failed(self, error: OSError) -> EncodeFailed:
        """Whose disk was it? The daemon's own holds the jobs just as the output folder's does."""
        folder = self.landing.partial.parent
        failed = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else folder
        if self._shop.state.root not in failed.parents:
            return output_failed(error.errno, str(error), str(folder))
        self.trouble = (self._shop.state.root / "jobs", 2**20, 0)
        return device(
            f"The state folder {self._shop.state.root} cannot be written ({error}).",
            remedy="Make room there, and see that the daemon's user owns it; the queue goes on by itself.",
            place=Place.FOLDER,
        )


def _told(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """What encode.finished says of damage, captions and sidecars, where there is something to say."""
    captions, sidecars = receipt.get("captions") or {}, receipt.get("sidecars") or {}
    damage = receipt.get("damage") or {}
    told = {
        "damage": damage.get("text"),
        "damage_ratio": damage.get("ratio"),
        "captions": captions.get("published_as"),
        "sidecars": sidecars.get("copied"),
    }
    return {name: value for name, value in told.items() if value}


def not_started(error: OSError) -> EncodeFailed:
    """No process could be made: the machine's fault, and the gate waits until one can."""
    return device(
        f"The child process could not be started: {error}.",
        remedy="Look for a lack of memory or of processes (free -h, TasksMax of the unit); after an upgrade of "
        "Python, install encoderd again.",
    )
