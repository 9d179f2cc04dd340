"""The virtiofsd of each share: started before QEMU, watched beside it, ended after it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from encoderd.errors import EncoderdError
from encoderd.host.run_folder import open_log
from encoderd.host.settings import HostSettings

_SOCKET_S = 10.0
_TERMINATE_S = 3.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareDaemon:
    """What to start for one share; `socket` is where QEMU will look for it."""

    tag: str
    argv: tuple[str, ...]
    socket: Path


class ShareDaemons:
    """Those that run. Of one that ended its share is dead in the guest until the VM is started anew."""

    def __init__(self) -> None:
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def dead(self) -> tuple[str, ...]:
        """Return the tags of the shares whose daemon has ended."""
        return tuple(tag for tag, process in self._running.items() if process.poll() is not None)

    async def start(self, daemon: ShareDaemon, settings: HostSettings) -> None:
        """Start one and wait for its socket. Raises EncoderdError: it does not start, ends, or makes none in 10 s."""
        log, _ = open_log(settings)
        try:
            # A session of its own: Ctrl-C at a terminal is for the helper, which ends it when QEMU has ended.
            process = subprocess.Popen(
                daemon.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        except OSError as error:
            raise EncoderdError(
                f"{daemon.argv[0]} cannot be started for the share {daemon.tag}: {error.strerror}",
                remedy='Install it (apt-get install virtiofsd), or set type = "9p" for this share.',
            ) from error
        finally:
            os.close(log)
        self._running[daemon.tag] = process
        end_s = asyncio.get_running_loop().time() + _SOCKET_S
        while not daemon.socket.exists():
            if process.poll() is not None or asyncio.get_running_loop().time() > end_s:
                raise EncoderdError(
                    f"virtiofsd for the share {daemon.tag} "
                    + ("ended at its start." if process.poll() is not None else f"made no socket in {_SOCKET_S:g} s."),
                    remedy=f"See what it says in {settings.state_folder / 'qemu.log'}; does the folder exist?",
                )
            await asyncio.sleep(_POLL_S)

    async def end(self) -> None:
        """End all; they end by themselves when QEMU does, so this is for those that did not."""
        for number, limit_s in ((signal.SIGTERM, _TERMINATE_S), (signal.SIGKILL, _TERMINATE_S)):
            for process in self._running.values():
                if process.poll() is None:
                    process.send_signal(number)
            end_s = asyncio.get_running_loop().time() + limit_s
            while any(process.poll() is None for process in self._running.values()):
                if asyncio.get_running_loop().time() > end_s:
                    break
                await asyncio.sleep(_POLL_S)


@contextlib.asynccontextmanager
async def share_daemons(wanted: Sequence[ShareDaemon], settings: HostSettings) -> AsyncIterator[ShareDaemons]:
    """
    Run the daemons for the length of the block.

    Raises:
        EncoderdError: one cannot be started; the others are ended.
    """
    daemons = ShareDaemons()
    try:
        for daemon in wanted:
            await daemons.start(daemon, settings)
        yield daemons
    finally:
        await daemons.end()
