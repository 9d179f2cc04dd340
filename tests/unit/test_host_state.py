"""The table of states, and state.json: what was written is read again, and what is torn is nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoderd.host.run_folder import boot_id, is_alive, read_state, started_at, write_state
from encoderd.host.state import TRANSITIONS, Recorded, RunState, is_running, may_follow
from encoderd.root import Root
from tests.hosts.tree import HostTree

RECORDED = Recorded(
    state=RunState.HEALTHY, since=1763900000.5, pid=10, pid_start=100, boot_id="b", qemu_pid=11, qemu_start=110,
    addresses=("0000:00:02.0",), health={"gate": "open"}, message="idle", lives=2,
)  # fmt: skip


def reachable(begin: RunState) -> set[RunState]:
    found, new = {begin}, [begin]
    while new:
        for state in TRANSITIONS[new.pop()] - found:
            found.add(state)
            new.append(state)
    return found


def test_every_state_has_its_followers_and_its_way_back() -> None:
    """From everywhere the devices can come back to the host, and everything can fail."""
    assert set(RunState) == set(TRANSITIONS)
    for state in RunState:
        assert {RunState.READY, RunState.FAILED} <= reachable(state), state


def test_devices_are_given_back_only_when_nothing_runs() -> None:
    """GIVING never follows a state in which QEMU may live."""
    before = {state for state, followers in TRANSITIONS.items() if RunState.GIVING in followers}

    assert {RunState.TAKING, RunState.TAKEN, RunState.STOPPED, RunState.FAILED} == before
    assert not any(is_running(state) for state in before)


def test_a_guest_that_runs_is_stopped_before_anything_else() -> None:
    for state in filter(is_running, RunState):
        others = {follower for follower in TRANSITIONS[state] if not is_running(follower)}

        assert {RunState.STOPPING, RunState.STOPPED} == others


def test_since_stays_while_the_state_does() -> None:
    same = RECORDED.advanced(RunState.HEALTHY, 9.0, "encoding")
    other = same.advanced(RunState.DEGRADED, 9.0, "closed")

    assert (RECORDED.since, "encoding") == (same.since, same.message)
    assert (9.0, "closed") == (other.since, other.message)
    assert may_follow(RunState.HEALTHY, RunState.HEALTHY)
    with pytest.raises(ValueError, match="giving cannot follow healthy"):
        RECORDED.advanced(RunState.GIVING, 9.0)


def test_what_is_written_is_read_again() -> None:
    assert RECORDED == Recorded.parse(RECORDED.to_json())


@pytest.mark.parametrize(
    "changed",
    [
        {"schema": 2}, {"state": "dancing"}, {"pid": "10"}, {"pid": True}, {"pid": -1}, {"qemu_pid": 2**70},
        {"since": "soon"}, {"since": None}, {"addresses": 5}, {"pid_start": 1.5},
    ],
)  # fmt: skip
def test_what_is_not_ours_is_nothing(changed: dict[str, object]) -> None:
    assert Recorded.parse(json.dumps({**json.loads(RECORDED.to_json()), **changed})) is None


@given(st.text(max_size=50) | st.integers(0, 400).map(lambda cut: RECORDED.to_json()[:cut]))
def test_torn_text_is_nothing_or_a_record(text: str) -> None:
    found = Recorded.parse(text)

    assert found is None or found == RECORDED


def test_what_an_earlier_start_of_the_host_left_is_nothing(tmp_path: Path) -> None:
    root = Root(Path("/"))
    here = replace(RECORDED, boot_id=boot_id(root))
    write_state(tmp_path, here)
    found = read_state(root, tmp_path)
    write_state(tmp_path, RECORDED)

    assert (here, None) == (found, read_state(root, tmp_path))
    assert ["state.json"] == [file.name for file in tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("stat", "start"),
    [
        ("11 (qemu) S" + " 1" * 18 + " 4711 9 9", 4711),
        ("11 (a) b) (c) S" + " 1" * 18 + " 4711 9 9", 4711),
        ("11 (qemu) Z" + " 1" * 18 + " 4711 9 9", 0),
        ("11 (qemu) S 1 1", 0),
        ("11 (qemu) S" + " 1" * 18 + " x 9", 0),
        ("", 0),
    ],
)
def test_a_process_is_told_from_a_later_one_by_its_start(stat: str, start: int, tmp_path: Path) -> None:
    """A zombie counts as gone: it holds nothing any more."""
    tree = HostTree(tmp_path)
    tree.write("/proc/11/stat", stat)

    assert start == started_at(tree.root, 11)
    assert (start == 4711) is is_alive(tree.root, 11, 4711)
    assert not is_alive(tree.root, 11, 4712)
    assert not is_alive(tree.root, 11, 0)
