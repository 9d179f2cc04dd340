"""
Asks a QEMU binary what it can do, over QMP on its standard input and output. Nothing is remembered between two calls.

The machine is `none` and never runs, so no accelerator, no device and no file of the guest's is touched.
Source: the options libvirt asks with, src/qemu/qemu_process.c (qemuProcessQMPLaunch).
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encoderd.errors import EncoderdError
from encoderd.host.qemu_properties import DEVICES, OBJECTS, QemuProperties, frozen_devices

#: Asking takes about 0.1 s; a binary that says nothing for this long is not QEMU, or hangs on its libraries' disk.
LIMIT_S = 30.0
#: A hundred times what QEMU says; more is no answer.
_MOST_BYTES = 8 * 2**20
_ARGUMENTS = ("-machine", "none", "-no-user-config", "-nodefaults", "-S", "-display", "none", "-qmp", "stdio")

Answer = Mapping[str, Any]


def probe(binary: Path, *, limit_s: float = LIMIT_S) -> QemuProperties:
    """
    Return what `binary` can do.

    Raises:
        EncoderdError: it is missing, is not QEMU, says nothing within `limit_s`, or ends before it has answered.
    """
    try:
        child = subprocess.Popen(
            [str(binary), *_ARGUMENTS],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
    except FileNotFoundError:
        raise EncoderdError(
            f"There is no QEMU at {binary}.", remedy="apt-get install qemu-system-x86, or correct vm.qemu"
        ) from None
    except (OSError, ValueError) as error:
        raise EncoderdError(
            f"{binary} cannot be started: {getattr(error, 'strerror', None) or error}.",
            remedy="Correct vm.qemu: the path of qemu-system-x86_64",
        ) from error
    by_hand = f"Try it by hand: {binary} --version; then correct vm.qemu, or reinstall qemu-system-x86"
    output, errors, in_time = _conversation(child, time.monotonic() + limit_s)
    if not in_time:
        most = f"{limit_s:g} s and {_MOST_BYTES >> 20} MiB"
        raise EncoderdError(f"{binary} did not end its answer in {most}.", remedy=by_hand)
    messages = _messages(output)
    try:
        return _properties(
            messages[0]["QMP"]["version"], {answer["id"]: answer for answer in messages if "id" in answer}
        )
    except (LookupError, TypeError, ValueError, AttributeError):
        said = errors.decode("utf-8", errors="replace").strip()[-400:]
        raise EncoderdError(
            f"{binary} did not answer as QEMU does (exit code {child.returncode})" + (f": {said}" if said else "."),
            remedy=by_hand,
        ) from None


def _conversation(child: subprocess.Popen[bytes], deadline_s: float) -> tuple[bytes, bytes, bool]:
    """
    Ask everything at once, read until both ends are closed, and see the child's end.

    Returns output, errors, and whether that was before `deadline_s` (monotonic) and within reason. The questions are
    some kilobytes, which a pipe always takes. The child's whole session is killed, for what it may have started.
    """
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    output, errors = bytearray(), bytearray()
    with child.stdin, child.stdout, child.stderr, selectors.DefaultSelector() as waiting:
        waiting.register(child.stdout, selectors.EVENT_READ, output)
        waiting.register(child.stderr, selectors.EVENT_READ, errors)
        with contextlib.suppress(BrokenPipeError):  # it has ended already: what it said is the answer
            os.write(child.stdin.fileno(), _questions())
        while waiting.get_map() and len(output) + len(errors) < _MOST_BYTES:
            ready = waiting.select(max(0.0, deadline_s - time.monotonic()))
            if not ready:
                break
            for key, _ in ready:
                part = os.read(key.fd, 65_536)
                key.data.extend(part)
                if not part:
                    waiting.unregister(key.fileobj)
        in_time = not waiting.get_map()
    if in_time:
        try:
            child.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:  # it has closed both and goes on
            in_time = False
    if not in_time:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    return bytes(output), bytes(errors), in_time


def _questions() -> bytes:
    """Return one command a line; its id is its number."""
    listing = [{"execute": "device-list-properties", "arguments": {"typename": device}} for device in DEVICES]
    questions: list[dict[str, Any]] = [
        {"execute": "qmp_capabilities"},
        {"execute": "query-machines"},
        {"execute": "qom-list-types", "arguments": {"implements": "user-creatable"}},
        *listing,
        {"execute": "quit"},
    ]
    return "".join(json.dumps({**question, "id": number}) + "\n" for number, question in enumerate(questions)).encode()


def _messages(output: bytes) -> list[Answer]:
    """Parse a JSON object a line; what is none is left out."""
    found: list[Answer] = []
    for line in output.splitlines():
        try:
            message = json.loads(line)
        except ValueError:
            continue
        if isinstance(message, dict):
            found.append(message)
    return found


def _properties(version: Answer, answers: Mapping[int, Answer]) -> QemuProperties:
    numbers = version["qemu"]
    machines = answers[1]["return"]
    objects = {entry["name"] for entry in answers[2]["return"]}
    devices = {
        device: {entry["name"]: _default(entry) for entry in answers[number]["return"]}
        for number, device in enumerate(DEVICES, 3)
        if "return" in answers[number]  # an error: this QEMU has no such device
    }
    return QemuProperties(
        version=(int(numbers["major"]), int(numbers["minor"]), int(numbers["micro"])),
        package=str(version.get("package", "")),
        machines=frozenset(name for entry in machines for name in (entry["name"], entry.get("alias")) if name),
        objects=frozenset(OBJECTS) & objects,
        devices=frozen_devices(devices),
    )


def _default(entry: Answer) -> str:
    return json.dumps(entry["default-value"]) if "default-value" in entry else ""
