"""What a QEMU can do: asked of a binary that behaves, or does not, and kept as a snapshot."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd.errors import EncoderdError
from encoderd.host.qemu_probe import probe
from encoderd.host.qemu_properties import DEVICES, QemuProperties
from tests.command_lines import SNAPSHOTS, snapshot


def program(folder: Path, text: str) -> Path:
    path = folder / "qemu"
    path.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    path.chmod(0o755)
    return path


def refusal(binary: Path, limit_s: float = 5) -> EncoderdError:
    with pytest.raises(EncoderdError) as refused:
        probe(binary, limit_s=limit_s)
    assert refused.value.remedy
    return refused.value


def answers(devices: dict[str, list[dict[str, Any]]]) -> str:
    """Return what a QEMU with these devices says, an event among it."""
    lines: list[dict[str, Any]] = [
        {"QMP": {"version": {"qemu": {"major": 10, "minor": 2, "micro": 1}, "package": "Debian"}}},
        {"id": 0, "return": {}},
        {"id": 1, "return": [{"name": "pc-q35-10.2", "alias": "q35"}, {"name": "none"}]},
        {"event": "RESUME", "timestamp": {}},
        {"id": 2, "return": [{"name": "memory-backend-memfd"}, {"name": "tls-creds-x509"}]},
    ]
    for number, device in enumerate(DEVICES, 3):
        found = devices.get(device)
        error = {"class": "DeviceNotFound", "desc": f"Device '{device}' not found"}
        lines.append({"id": number, "error": error} if found is None else {"id": number, "return": found})
    return "\n".join(json.dumps(line) for line in lines)


def test_a_qemu_s_answers_are_read(tmp_path: Path) -> None:
    """What is not known to it has an error for an answer; a default that is not told is ""."""
    properties: list[dict[str, Any]] = [
        {"name": "rombar", "default-value": 1, "type": "uint32"},
        {"name": "x-igd-legacy-mode", "default-value": "auto"},
        {"name": "x-vga", "default-value": False},
        {"name": "host", "type": "str"},
    ]
    (tmp_path / "answers").write_text(answers({"vfio-pci": properties}), "utf-8")

    found = probe(program(tmp_path, f"cat '{tmp_path}/answers'"))

    assert ((10, 2, 1), "10.2.1", "Debian") == (found.version, found.version_text, found.package)
    assert {"none", "pc-q35-10.2", "q35"} == found.machines
    assert {"memory-backend-memfd"} == found.objects
    assert ["vfio-pci"] == list(found.devices)
    assert {"rombar": "1", "x-igd-legacy-mode": '"auto"', "x-vga": "false", "host": ""} == dict(
        found.devices["vfio-pci"]
    )
    assert found.has("vfio-pci")
    assert found.has("vfio-pci", "host")
    assert not found.has("vfio-pci", "fd")
    assert not found.has("usb-host")
    assert ["auto", False, 1, None, None] == [
        found.default("vfio-pci", name) for name in ("x-igd-legacy-mode", "x-vga", "rombar", "host", "fd")
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exit 3", "did not answer as QEMU does (exit code 3)."),
        ("echo 'cannot load libfdt.so.1' >&2; exit 127", "(exit code 127): cannot load libfdt.so.1"),
        ("echo Hello", "did not answer as QEMU does (exit code 0)."),
        ("echo '[]'; echo '{}'; echo null", "did not answer as QEMU does (exit code 0)."),
        ("""echo '{"QMP": {"version": {"qemu": {"major": 7}}}}'""", "did not answer as QEMU does (exit code 0)."),
        ("""echo '{"QMP": 5}'""", "did not answer as QEMU does"),
        ("kill -9 $$", "did not answer as QEMU does (exit code -9)."),
        ("exec cat /dev/zero", "did not end its answer in 5 s and 8 MiB."),
    ],
)
def test_what_is_no_qemu_is_told(text: str, said: str, tmp_path: Path) -> None:
    assert said in refusal(program(tmp_path, text)).message


def ended(process: int) -> bool:
    """A child whose parent was killed may stay as a zombie until somebody asks for it."""
    for _ in range(250):
        try:
            state = Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    ("text", "then"), [("sleep 99", "wait"), ("sleep 99 >&- 2>&-", "wait"), ("sleep 99", "exit 0")]
)
def test_one_that_hangs_is_ended_with_all_it_started(text: str, then: str, tmp_path: Path) -> None:
    started_s = time.monotonic()

    refused = refusal(program(tmp_path, f"{text} & echo $! > '{tmp_path}/pid'; {then}"), limit_s=0.5)

    assert "did not end its answer in 0.5 s" in refused.message
    assert time.monotonic() - started_s < 30
    assert ended(int((tmp_path / "pid").read_text()))


def test_one_that_closes_its_output_and_goes_on_is_ended_too(tmp_path: Path) -> None:
    started_s = time.monotonic()

    assert "did not end" in refusal(program(tmp_path, "exec >&- 2>&-; sleep 99"), limit_s=0.5).message
    assert time.monotonic() - started_s < 30


def test_a_binary_that_is_missing_or_is_none_is_told(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("text", "utf-8")

    assert refusal(tmp_path / "none").message == f"There is no QEMU at {tmp_path}/none."
    assert "cannot be started: Permission denied" in refusal(plain).message
    assert "cannot be started: Permission denied" in refusal(tmp_path).message
    plain.chmod(0o755)
    assert "cannot be started: Exec format error" in refusal(plain).message


@pytest.mark.parametrize("version", SNAPSHOTS)
def test_a_snapshot_says_where_it_is_from_and_stays_as_it_is(version: str) -> None:
    text = SNAPSHOTS[version].read_text("utf-8")
    found = QemuProperties.from_json(text)

    assert text == found.to_json()
    assert version == ".".join(str(number) for number in found.version[:2])
    assert found.source.startswith("probed from ")
    assert {"q35", "pc"} <= found.machines


def test_the_snapshots_differ_in_what_the_profiles_ask_for() -> None:
    """Observed, and as QEMU's history says: legacy mode became an option in 10.0, the OpRegion a default in 10.1."""
    found = {
        version: (
            snapshot(version).has("vfio-pci", "x-igd-legacy-mode"),
            snapshot(version).default("vfio-pci", "x-igd-opregion"),
        )
        for version in SNAPSHOTS
    }

    assert found == {
        "7.2": (False, False),
        "8.2": (False, False),
        "9.2": (False, False),
        "10.0": (True, False),
        "10.1": (True, True),
    }


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"version": 3}', '{"version": [7, 2]}', '{"version": [7, 2, 1], "machines": [], "devices": []}',
     '{"version": [7, 2, 1], "machines": [], "devices": {"a": {"b": 1}}}',
     '{"version": [7, 2, 1], "machines": [], "devices": {"a": {"b": "not JSON"}}}',
     '{"version": ["a", 2, 1], "machines": [], "devices": {}}', "\ud800"],
)  # fmt: skip
def test_what_is_no_snapshot_is_refused(text: str) -> None:
    with pytest.raises(EncoderdError, match="not a snapshot of QEMU's properties"):
        QemuProperties.from_json(text)


@settings(max_examples=60)
@given(st.data())
def test_a_torn_snapshot_is_refused_or_read(data: st.DataObject) -> None:
    text = '{"version":[7,2,1],"machines":["q35"],"devices":{"vfio-pci":{"x":"true"}},"objects":[]}'
    start = data.draw(st.integers(0, len(text)))
    torn = text[:start] + data.draw(st.text(max_size=3)) + text[start + data.draw(st.integers(0, 9)) :]
    try:
        found = QemuProperties.from_json(torn)
    except EncoderdError:
        return

    assert isinstance(found, QemuProperties)
