"""
One attempt at one job: from the claim to a published file with its receipt, or to a failure with its kind.

The database is told before and after the rename, so that a crash in between costs one comparison.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoderd.encode.failures import EncodeFailed, output_failed, source_changed
from encoderd.encode.messages import Encoded, EncodeRequest
from encoderd.encode.publish import (
    check_space,
    finish_publishing,
    partial_path,
    prepare_folder,
    publish,
    targets,
    write_receipt,
)
from encoderd.encode.supervisor import Child, Limits
from encoderd.jobs import Job, readable
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
    A claimed job and its child. `poll` drives it; `done` is the job as it ended, None while it runs.

    Raises (constructor and `poll`): DatabaseError, JobRefused from the store; everything else becomes `failure`.
    """

    def __init__(self, shop: Shop, job: Job, folder: WatchSettings, encode: EncodeSettings, encoder: str) -> None:
        self.job = job
        self.encoder = encoder
        self.encode = encode
        self.folder = folder
        self.child: Child | None = None
        self.failure: EncodeFailed | None = None
        self.done: Job | None = None
        self._shop = shop
        self._encoded: Encoded | None = None
        self._landed: tuple[Path, dict[str, Any]] | None = None  # published, but the queue does not know yet
        self._disposal = ""  # what became of the source
        self.source = folder.path / job.relative_path
        self.partial = partial_path(folder.output, job.relative_path, job.id)

    def begin(self, now_s: float) -> None:
        """Finish what a crash cut off, or start the child."""
        if self._resumed():
            return
        try:
            prepare_folder(self.partial.parent)
            check_space(self.partial.parent, self.job.size_bytes, self.encode.space_margin_mib * 2**20)
            self._check_source()
            self.partial.unlink(missing_ok=True)
            self._head_line()
            self.child = Child(self._request(), self._limits(), now_s=now_s, log=self._shop.state.log_of(self.job.id))
        except EncodeFailed as failure:
            self.failure = failure
        except OSError as error:
            self.failure = output_failed(error.errno, str(error), str(self.partial.parent))

    def poll(self, now_s: float) -> bool:
        """Drive the child on; True when the attempt has ended (`done` or `failure` is set)."""
        if self.done is not None or self.failure is not None:
            return True
        if self._encoded is None:
            assert self.child is not None
            outcome = self.child.poll(now_s)
            if outcome is None:
                return False
            if isinstance(outcome, EncodeFailed):
                self.failure = outcome
                return True
            assert isinstance(outcome, Encoded)
            self._encoded = outcome
        try:
            # Not at once in one step: when the database is locked in between, the next poll goes on from there.
            self._landed = self._landed or self._publish(self._encoded)
            self._conclude(*self._landed)
        except EncodeFailed as failure:
            self.failure = failure
        except OSError as error:
            self.failure = output_failed(error.errno, str(error), str(self.partial.parent))
        return True

    def look_at_source(self) -> None:
        """End the attempt at once when its recording is not what was admitted: what it makes would be void."""
        if self.done is None and self.failure is None and self._landed is None:
            try:
                self._check_source()
            except EncodeFailed as failure:
                self.failure = failure

    def end(self) -> None:
        """Kill the child and remove the partial file; for cancelling, stopping, and after a failure."""
        if self.child is not None:
            self.child.kill()
        try:
            self.partial.unlink(missing_ok=True)
        except OSError as error:
            get_logger().warning(
                "encode.partial_left", path=self.partial, reason=str(error), remedy="Delete it by hand."
            )

    # --- before

    def _resumed(self) -> bool:
        """A former attempt was at its rename when it was cut off: nothing is encoded again for that."""
        published = self.job.published
        if published is None:
            return False
        target = Path(os.fsdecode(bytes.fromhex(published["path_hex"])))
        try:
            if not finish_publishing(self.partial, target, published["size_bytes"], published["mtime_ns"]):
                return False
        except OSError as error:
            self.failure = output_failed(error.errno, str(error), str(target.parent))
            return True
        get_logger().info("encode.publishing_completed", output=target)
        self._conclude(target, {**published, "receipt": dict(published["receipt"])})
        return True

    def _check_source(self) -> None:
        try:
            found = os.stat(self.source)
        except OSError as error:
            raise source_changed(f"The recording is not there any more ({error.strerror}).") from error
        if (found.st_size, found.st_mtime_ns) != (self.job.size_bytes, self.job.mtime_ns):
            raise source_changed(
                f"The recording changed: {self.job.size_bytes} bytes when it was admitted, {found.st_size} now."
            )

    def _request(self) -> EncodeRequest:
        encode = self.encode
        return EncodeRequest(
            job=self.job.id,
            source=str(self.source),
            partial=str(self.partial),
            size_bytes=self.job.size_bytes,
            mtime_ns=self.job.mtime_ns,
            encoder=self.encoder,
            container=encode.container,
            quality=encode.quality,
            preset=encode.preset,
            deinterlace=encode.deinterlace,
            audio_bit_rate_bps=encode.audio_bit_rate_bps,
            verify=encode.verify,
            nice=encode.nice,
        )

    def _limits(self) -> Limits:
        encode = self.encode
        return Limits(startup_s=encode.startup_limit_s, stall_s=encode.stall_limit_s, drain_s=encode.drain_limit_s)

    def _head_line(self) -> None:
        when = time.strftime("%Y-%m-%d %H:%M:%S %z")
        what = f"job {self.job.id}, attempt {self.job.attempts}, {self.encoder}: {readable(str(self.source))}"
        with self._shop.state.log_of(self.job.id).open("a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(f"=== {when} {what}\n")

    # --- after

    def _publish(self, encoded: Encoded) -> tuple[Path, dict[str, Any]]:
        self._check_source()
        for target in targets(self.folder.output, self.job.relative_path, self.encode.container):
            if os.path.lexists(target):
                continue
            receipt = self._receipt(encoded, target)
            published = {
                "path": readable(str(target)),
                "path_hex": os.fsencode(target).hex(),
                "size_bytes": encoded.size_bytes,
                "mtime_ns": encoded.mtime_ns,
                "receipt": receipt,
            }
            write_receipt(self._shop.state.receipt_of(self.job.id), receipt)
            self._shop.store.publishing(self.job.id, worker=self._shop.worker, published=published, now=time.time())
            if publish(self.partial, target):
                return target, published
        raise AssertionError("there is always one more name")

    def _conclude(self, target: Path, published: dict[str, Any]) -> None:
        """The output is on disk under its name, the receipt too: now the source's turn, then the queue's."""
        receipt = published["receipt"]
        self._disposal = self._disposal or self._after_success(receipt)
        receipt["after_success"] = self._disposal
        write_receipt(self._shop.state.receipt_of(self.job.id), receipt)
        self.done = self._shop.store.finish(self.job.id, worker=self._shop.worker, published=published, now=time.time())
        findings = receipt["findings"]
        doubts = [f"{finding['check']}: {finding['evidence']}" for finding in findings if finding["verdict"] != "pass"]
        log = get_logger().warning if doubts else get_logger().info
        log(
            "encode.finished",
            output=target,
            encoder=self.encoder,
            granted=receipt["granted"],
            duration_s=receipt["duration_s"],
            wall_s=receipt["wall_s"],
            speed_x=receipt["speed_x"],
            fps=receipt["fps"],
            source_bytes=self.job.size_bytes,
            output_bytes=published["size_bytes"],
            size_ratio=round(published["size_bytes"] / self.job.size_bytes, 3),
            attempt=self.job.attempts,
            doubts=doubts,
            source=receipt["after_success"],
            receipt=self._shop.state.receipt_of(self.job.id),
        )

    def _receipt(self, encoded: Encoded, target: Path) -> dict[str, Any]:
        return {
            **encoded.receipt,
            "worker": self._shop.worker,
            "watch": self.job.watch,
            "recording": readable(self.job.relative_path),
            "published_as": readable(str(target)),
            "published_bytes": encoded.size_bytes,
            "published_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "attempt": self.job.attempts,
            "after_success": "kept",
        }

    def _after_success(self, receipt: dict[str, Any]) -> str:
        """Move or delete the source where the settings ask for it and nothing was in doubt; say what was done."""
        wish = self.encode.after_success
        if wish == "keep":
            return "kept"
        if receipt["verdict"] != "pass":
            return f"kept: verification had a doubt, so it was not {wish}d"
        try:
            if not os.path.lexists(self.source) and self.job.published is not None:
                return f"{wish}d"  # before a crash, by a former attempt
            self._check_source()
            if wish == "delete":
                self.source.unlink()
                return "deleted"
            assert self.encode.move_to is not None
            moved = self.encode.move_to / self.job.relative_path
            moved.parent.mkdir(parents=True, exist_ok=True)
            if not publish(self.source, moved):
                return f"kept: {readable(str(moved))} exists already"
        except (OSError, EncodeFailed) as error:
            get_logger().warning(
                "encode.source_kept",
                reason=str(error),
                remedy="move_to must be writable and on the file system of the watch folder.",
            )
            return f"kept: {error}"
        return f"moved to {readable(str(moved))}"
