"""
A program that behaves like QEMU towards its helper and runs no guest, for what a real one does only once in a while.

`python paper_qemu.py QMP_SOCKET COUNT_FILE SCRIPT…`: after `cont` each SCRIPT is done in its order: an event as JSON is
sent, a number is slept for in seconds, `die` ends it by a signal, `deaf` lets it ignore `quit` and SIGTERM.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path


def main(path: str, count: str, script: list[str]) -> None:
    with open(count, "a") as lives:
        lives.write("x")
    server = socket.socket(socket.AF_UNIX)
    Path(path).unlink(missing_ok=True)  # as QEMU does
    server.bind(path)
    server.listen()
    if "deaf" in script:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    status = "prelaunch"
    while status:
        status = talk(server.accept()[0], script, status)


def talk(link: socket.socket, script: list[str], status: str) -> str:
    """Talk to one client; returns what the guest's status is then, "" when QEMU is to end."""

    def say(message: dict[str, object]) -> None:
        link.sendall(json.dumps(message).encode() + b"\r\n")

    say({"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, "capabilities": []}})
    begun = ""
    while data := link.recv(65536):
        begun += data.decode()
        while begun:
            try:
                request, end = json.JSONDecoder().raw_decode(begun)
            except ValueError:
                break
            begun = begun[end:]
            command, known = request["execute"], {"id": request["id"]} if "id" in request else {}
            if command == "quit" and "deaf" not in script:
                say({**known, "return": {}})
                return ""
            status = "running" if command == "cont" else status
            say({**known, "return": {"status": status} if command == "query-status" else {}})
            if command == "cont":
                for part in script:
                    if part.startswith("{"):
                        say({"timestamp": {"seconds": 1, "microseconds": 0}, **json.loads(part)})
                    elif part == "die":
                        os.kill(os.getpid(), signal.SIGSEGV)
                    elif part != "deaf":
                        time.sleep(float(part))
    return status


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
