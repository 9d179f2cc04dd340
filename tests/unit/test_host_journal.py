"""The journal survives everything or says what is wrong with it; the lock tells who holds it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd.errors import EncoderdError
from encoderd.host.binding import Endpoint
from encoderd.host.journal import HelperBusy, Journal, Journals, JournalUnreadable, Phase, locked
from encoderd.host.round_trips import RoundTrips, advice, past, record
from encoderd.pci import PciAddress

GPU = PciAddress.parse("0000:00:02.0")
SOUND = PciAddress.parse("0000:00:03.0")


def journal(phase: Phase = Phase.TAKING, address: PciAddress = GPU) -> Journal:
    return Journal(
        address=address,
        vm="encoderd",
        group=1,
        records=(
            Endpoint(address=address, class_code=0x030000, driver="i915", module="i915", drm=("card0", "renderD128")),
            Endpoint(address=SOUND, class_code=0x040300, driver=None, override="snd_hda_intel"),
        ),
        consoles=("vtcon1",),
        is_gpu=True,
        boot_id="5f0b6c1e",
        release="6.1.0",
        phase=phase,
        pid=os.getpid(),
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    journals = Journals(tmp_path / "journal")
    assert (None, None, []) == (journals.read(GPU), journals.about(SOUND), journals.addresses())

    for phase in Phase:
        journals.write(journal(phase))
        assert journal(phase) == journals.read(GPU)

    assert journal(Phase.GIVING) == journals.about(SOUND)
    assert [GPU] == journals.addresses()
    assert ["0000:00:02.0.json"] == [path.name for path in journals.folder.iterdir()]
    journals.drop(GPU)
    journals.drop(GPU)
    assert (None, []) == (journals.read(GPU), list(journals.folder.iterdir()))


def test_what_was_cut_off_while_written_is_swept(tmp_path: Path) -> None:
    """The journal itself is never half: only its neighbour is."""
    journals = Journals(tmp_path)
    journals.write(journal())
    (tmp_path / "0000:00:02.0.json.tmp").write_text('{"sche')

    assert journal() == journals.read(GPU)
    journals.sweep()

    assert ["0000:00:02.0.json"] == [path.name for path in tmp_path.iterdir()]


def test_nothing_is_lost_when_a_journal_is_put_aside(tmp_path: Path) -> None:
    journals = Journals(tmp_path)
    places = []
    for _ in range(3):
        journals.write(journal())
        places.append(journals.put_aside(GPU, "boot-5f0b"))

    assert ["0000:00:02.0-boot-5f0b.json", "0000:00:02.0-boot-5f0b-1.json", "0000:00:02.0-boot-5f0b-2.json"] == [
        place.name for place in places
    ]
    assert ([], None) == (journals.addresses(), journals.read(GPU))


UNREADABLE: dict[str, tuple[dict[str, object], str]] = {
    "newer": ({"schema": 2}, "newer encoderd"),
    "older": ({"schema": 0}, "damaged"),
    "of another device": ({"address": "0000:00:1f.0"}, "is about 0000:00:1f.0"),
    "way out of the folder": ({"consoles": ["../../etc"]}, "damaged"),
    "phase": ({"phase": "dancing"}, "damaged"),
    "group": ({"group": "1"}, "damaged"),
    "records": ({"records": [{"address": "0000:00:02.0"}]}, "damaged"),
    "driver": ({"records": [{"driver": "a/b"}]}, "damaged"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_journal_that_is_not_understood_is_told_and_kept(tmp_path: Path, name: str) -> None:
    change, reason = UNREADABLE[name]
    journals = Journals(tmp_path)
    journals.write(journal())
    file = journals.path(GPU)
    text = json.dumps({**json.loads(file.read_text()), **change})
    file.write_text(text)

    with pytest.raises(JournalUnreadable, match=reason) as raised:
        journals.read(GPU)

    assert text == file.read_text()
    assert raised.value.remedy


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["schema", "address", "group", "records", "phase", "driver", "consoles"]), inner, max_size=4),
).map(lambda value: json.dumps(value).encode())))  # fmt: skip
def test_any_bytes_are_a_journal_or_a_reason(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Never another exception, whatever is in the file."""
    folder = tmp_path_factory.getbasetemp() / "fuzzed"
    folder.mkdir(exist_ok=True)
    journals = Journals(folder)
    journals.path(GPU).write_bytes(data)

    with pytest.raises(JournalUnreadable):
        journals.read(GPU)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_flipped_byte_is_a_journal_or_a_reason(
    tmp_path_factory: pytest.TempPathFactory, place: int, byte: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "flipped"
    folder.mkdir(exist_ok=True)
    journals = Journals(folder)
    journals.write(journal())
    data = bytearray(journals.path(GPU).read_bytes())
    data[place % len(data)] = byte
    journals.path(GPU).write_bytes(data)

    try:
        found = journals.read(GPU)
    except JournalUnreadable:
        return
    assert found is not None
    assert GPU == found.address


def test_a_state_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(EncoderdError, match="cannot be written"):
        Journals(tmp_path / "file" / "journal").write(journal())


HOLDER = """
import sys, pathlib
from encoderd.host.journal import locked
with locked([pathlib.Path(sys.argv[1])]):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_the_second_is_told_who_is_at_it(tmp_path: Path) -> None:
    """A lock ends with its process; a lock that is refused leaves the others free."""
    first, second = tmp_path / "run" / "first.lock", tmp_path / "run" / "second.lock"
    first.parent.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(second)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert "locked\n" == holder.stdout.readline()

        with pytest.raises(HelperBusy, match=f"PID {holder.pid} is at it"), locked([first, second]):
            pass
        with locked([first]):
            pass

        holder.kill()
    with locked([first, second]):
        assert f"{os.getpid()}\n" == second.read_text()


def test_a_lock_outlives_a_helper_whose_write_still_waits(tmp_path: Path) -> None:
    """A child that inherited the lock holds it; the message says that the helper itself is dead."""
    lock = tmp_path / "handover.lock"
    read_end, write_end = os.pipe()
    program = (
        "import os, subprocess, sys, pathlib\nfrom encoderd.host.journal import locked\n"
        "with locked([pathlib.Path(sys.argv[1])]):\n"
        f"    child = subprocess.Popen(['cat'], stdin={read_end}, stdout=subprocess.DEVNULL, close_fds=False)\n"
        "    os._exit(0 if child.pid else 1)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(lock)], pass_fds=[read_end], check=True, timeout=30)
    os.close(read_end)
    try:
        with pytest.raises(HelperBusy, match="still waits in the kernel, though that helper has ended"), locked([lock]):
            pass
    finally:
        os.close(write_end)


def test_round_trips_are_counted_by_release(tmp_path: Path) -> None:
    """The last one's trouble is what the advice is about; a clean one takes it away."""
    file = tmp_path / "state" / "round_trips.json"
    assert ({}, True) == (past(file), "has not yet" in advice(None, "6.1"))

    record(file, "6.1", "")
    bad = record(file, "6.1", "the kernel warned")
    record(file, "6.12", "")

    assert {
        "6.1": RoundTrips(clean=1, unclean=1, trouble="the kernel warned"),
        "6.12": RoundTrips(clean=1, unclean=0),
    } == past(file)
    assert "keep-vfio" in advice(bad, "6.1")
    assert "cleanly 2 times of 3" in advice(record(file, "6.1", ""), "6.1")


@pytest.mark.parametrize("content", ["", "[]", '{"releases": {"6.1": 3}}', '{"releases": {"6.1": {"clean": "x"}}}'])
def test_round_trips_that_cannot_be_read_are_put_aside(tmp_path: Path, content: str) -> None:
    file = tmp_path / "round_trips.json"
    file.write_text(content)

    record(file, "6.1", "")

    assert {"6.1": RoundTrips(clean=1)} == past(file)
    assert content == (tmp_path / "round_trips.json.bad").read_text()
