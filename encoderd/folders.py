"""Which output folders can take files now: a full or missing one holds its own recordings, not the others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from encoderd.encode.failures import EncodeFailed
from encoderd.encode.publish import check_space, prepare_folder
from encoderd.logs import get_logger
from encoderd.settings import Settings


@dataclass(slots=True, kw_only=True)
class _Block:
    folder: Path
    need_bytes: int
    margin_bytes: int
    reason: str
    remedy: str
    since_s: float
    look_s: float


class Folders:
    """The blocked ones, by watch folder. A block ends by itself once the folder takes files again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._blocks: dict[str, _Block] = {}

    def blocked(self, watch: str) -> bool:
        return watch in self._blocks

    def reasons(self) -> dict[str, tuple[str, str]]:
        """Return {watch folder: (reason, remedy)} of what is blocked."""
        return {watch: (block.reason, block.remedy) for watch, block in self._blocks.items()}

    def block(
        self, watch: str, folder: Path, need_bytes: int, margin_bytes: int, failure: EncodeFailed, now_s: float
    ) -> None:
        """Hold the watch folder's jobs until `folder` can be written and has room for the bytes and the margin."""
        self._blocks[watch] = _Block(
            folder=folder,
            need_bytes=need_bytes,
            margin_bytes=margin_bytes,
            reason=failure.message,
            remedy=failure.remedy,
            since_s=now_s,
            look_s=now_s + self._settings.preflight.recheck_s,
        )
        get_logger().error("folder.blocked", watch=watch, reason=failure.message, remedy=failure.remedy)

    def tick(self, now_s: float) -> None:
        """Look again at what is due; monotonic seconds."""
        for watch, block in list(self._blocks.items()):
            if now_s < block.look_s:
                continue
            block.look_s = now_s + self._settings.preflight.recheck_s
            try:
                prepare_folder(block.folder)
                check_space(block.folder, block.need_bytes, block.margin_bytes)
            except EncodeFailed as failure:
                block.reason, block.remedy = failure.message, failure.remedy
            except OSError as error:
                block.reason = str(error)
            else:
                del self._blocks[watch]
                get_logger().info("folder.usable_again", watch=watch, blocked_s=round(now_s - block.since_s, 1))
