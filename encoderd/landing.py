"""
What an attempt made, on its way to its final names; and what follows it: sidecars, and the recording's own fate.

The database is told before and after the renames, so that a crash in between costs one comparison.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encoderd.encode.companions import copy_sidecars, move_sidecars
from encoderd.encode.failures import EncodeFailed, source_changed
from encoderd.encode.messages import Encoded
from encoderd.encode.publish import (
    Piece,
    captions_ending,
    captions_partial,
    finish_all,
    partial_path,
    partials,
    pieces_of,
    publish,
    publish_all,
    published_ending,
    sidecar_partial,
    targets,
    write_receipt,
)
from encoderd.jobs import Job, readable
from encoderd.logs import get_logger
from encoderd.queue.store import Store
from encoderd.settings import EncodeSettings, WatchSettings
from encoderd.state_folder import StateFolder


class Landing:
    """
    The files of one job: hidden partials, and the names they get.

    Raises (its methods): EncodeFailed, OSError, and what the store raises.
    """

    def __init__(
        self, store: Store, state: StateFolder, worker: str, job: Job, folder: WatchSettings, encode: EncodeSettings
    ) -> None:
        self.source = folder.path / job.relative_path
        self.partial = partial_path(folder.output, job.relative_path, job.id)
        self.captions = captions_partial(folder.output, job.relative_path, job.id)
        self.resumed = False  # a former attempt had published
        self._store = store
        self._state = state
        self._worker = worker
        self._job = job
        self._output = folder.output
        self._encode = encode
        self._followed = False

    def clear(self) -> None:
        """Remove the partial files."""
        for path in partials(self._output, self._job.relative_path, self._job.id):
            path.unlink(missing_ok=True)

    def check_source(self) -> None:
        """Raise EncodeFailed (source_changed) when the recording is not what was admitted."""
        try:
            found = os.stat(self.source)
        except OSError as error:
            raise source_changed(f"The recording is not there any more ({error.strerror}).") from error
        if (found.st_size, found.st_mtime_ns) != (self._job.size_bytes, self._job.mtime_ns):
            raise source_changed(
                f"The recording changed: {self._job.size_bytes} bytes when it was admitted, {found.st_size} now."
            )

    # --- the output and what belongs beside it

    def publish(self, encoded: Encoded) -> tuple[Path, dict[str, Any]]:
        """Give the output and its captions their names; returns the output's, and the record of it."""
        self.check_source()
        ending = captions_ending(encoded.receipt)
        container = published_ending(self._encode.container, encoded.receipt)
        for target in targets(self._output, self._job.relative_path, container, ending):
            pieces = pieces_of(target, self.partial, self.captions, encoded)
            if any(os.path.lexists(piece.target) for piece in pieces):
                continue
            published = {**pieces[-1].as_record(), "receipt": self._receipt(encoded, pieces)}
            if ending:
                published["captions"] = pieces[0].as_record()
            write_receipt(self._state.receipt_of(self._job.id), published["receipt"])
            self._store.publishing(self._job.id, worker=self._worker, published=published, now=time.time())
            if self._published(pieces):
                return target, published
        raise AssertionError("there is always one more name")

    def _published(self, pieces: list[Piece]) -> bool:
        try:
            return publish_all(pieces)
        except OSError as error:
            if not pieces[-1].published:
                raise
            # It has its name, only the last sync failed: made again, it would stand there twice.
            get_logger().warning(
                "encode.output_unsynced",
                output=pieces[-1].target,
                reason=str(error),
                remedy="Look for I/O errors: dmesg | tail",
            )
            return True

    def _receipt(self, encoded: Encoded, pieces: list[Piece]) -> dict[str, Any]:
        receipt = {
            **encoded.receipt,
            "worker": self._worker,
            "watch": self._job.watch,
            "recording": readable(self._job.relative_path),
            "recording_hex": os.fsencode(self._job.relative_path).hex(),
            "published_as": readable(str(pieces[-1].target)),
            "published_hex": os.fsencode(pieces[-1].target).hex(),
            "published_bytes": encoded.size_bytes,
            "published_mtime_ns": encoded.mtime_ns,
            "published_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "attempt": self._job.attempts,
            "after_success": "kept",
        }
        if len(pieces) > 1:
            receipt["captions"] = {**receipt["captions"], "published_as": readable(str(pieces[0].target))}
        return receipt

    def left_by_former(self) -> tuple[Path, dict[str, Any]] | None:
        """A former attempt was at its renames when it was cut off: nothing is encoded again for that."""
        record = dict(self._job.published or {})
        if "path_hex" not in record:
            return None
        pieces = [Piece.from_record(self.partial, record)]
        if "captions" in record:
            pieces.insert(0, Piece.from_record(self.captions, record["captions"]))
        if not finish_all(pieces):
            return None
        self.resumed = True
        get_logger().info("encode.publishing_completed", output=pieces[-1].target)
        return pieces[-1].target, {**record, "receipt": dict(record["receipt"])}

    # --- what follows

    def follow(self, target: Path, receipt: dict[str, Any]) -> None:
        """Copy the sidecars, then move or delete the recording as the settings ask; the receipt says what was done."""
        if self._followed:
            return
        with contextlib.suppress(OSError):
            self.captions.unlink(missing_ok=True)  # of a child that gave them up
        scratch = sidecar_partial(self._output, self._job.relative_path, self._job.id)
        copied = copy_sidecars(self.source, target, self._encode.sidecars, scratch)
        notes = list(copied.notes)
        receipt["after_success"] = self._dispose(receipt, notes)
        if copied.names or notes:
            receipt["sidecars"] = {"copied": [readable(name) for name in copied.names], "notes": notes}
        if notes:
            get_logger().warning(
                "encode.sidecars_left", notes=notes, remedy="Look at them; the output itself is complete."
            )
        self._followed = True

    def _dispose(self, receipt: Mapping[str, Any], notes: list[str]) -> str:
        """Move or delete the source where the settings ask for it and nothing was in doubt; say what was done."""
        wish = self._encode.after_success
        if wish == "keep":
            return "kept"
        if receipt.get("accepted"):
            return f"kept: its damage was accepted, so it was not {wish}d"
        if receipt["verdict"] != "pass":
            return f"kept: verification had a doubt, so it was not {wish}d"
        moved = (self._encode.move_to or Path()) / self._job.relative_path
        try:
            gone = self.resumed and not os.path.lexists(self.source)  # before a crash, by a former attempt
            if not gone:
                self.check_source()
            if wish == "delete":
                self.source.unlink(missing_ok=gone)
                return "deleted"
            if not gone:
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
        notes += move_sidecars(self.source, moved, self._encode.sidecars).notes
        return "moved" if gone else f"moved to {readable(str(moved))}"
