"""
A recording that is open for one encode: probed, and its pictures looked at.

FFmpeg does nearly all of this without the interpreter: the child imports what comes later in the meantime.
"""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self

from encoderd.encode.bounds import beyond
from encoderd.encode.failures import rejected
from encoderd.encode.messages import EncodeRequest
from encoderd.encode.pictures import Look
from encoderd.encode.probe import Demuxed, demuxed, open_recording
from encoderd.encode.survey import survey


class OpenSource:
    """
    Opens on construction; a context manager that closes. `source` is None once `close_container` was called.

    Raises:
        EncodeFailed: the recording is not what was admitted, or nothing that can be encoded.
    """

    def __init__(self, request: EncodeRequest) -> None:
        self._file, self._container = ExitStack(), ExitStack()
        self.source: Demuxed | None = None
        self.looks: tuple[Look, ...] = ()
        self.recording = self._file.enter_context(open_recording(request.source, request.size_bytes, request.mtime_ns))
        try:
            self.source = self._container.enter_context(demuxed(self.recording, request.programme))
            too_much = beyond(self.source.media, request.video.encoder)
            if too_much is not None:
                raise rejected(too_much.what, remedy=too_much.remedy)
            self.looks = self._looked_at(self.source)
        except BaseException:
            self._container.close()
            with self._file:
                self.recording.check_unchanged()  # what was read while it changed proves nothing
            raise

    def close_container(self) -> None:
        """With the container go its decoders, if nothing else holds them; the file stays open."""
        self.source = None
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            self.close_container()

    def _looked_at(self, source: Demuxed) -> tuple[Look, ...]:
        media = source.media
        video = next((stream for stream in media.video if min(stream.width, stream.height) >= 2), None)
        return () if video is None else survey(f"/proc/self/fd/{self.recording.fd}", media, video)
