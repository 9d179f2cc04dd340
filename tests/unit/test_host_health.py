"""What the guest's daemon says is read with suspicion: any bytes at all give a value or nothing, within limits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoderd.host.health import (
    MOST_LINE_BYTES,
    Condition,
    Gate,
    Health,
    HealthJob,
    Heard,
    Lines,
    judge,
    printable,
)

LINE: dict[str, Any] = {
    "type": "health", "schema": 1, "version": "0.4.0", "pid": 123, "worker": "guest-1", "at": 1763900000.0,
    "status": "encoding a.ts 40%", "gate": "open", "gate_reason": "", "encoder": "h264_qsv",
    "render_node": "/dev/dri/renderD128", "runtime": "libmfx-gen.so.1.2",
    "job": {"id": 12, "recording": "a.ts", "done_ratio": 0.4, "speed_x": 5.1},
    "queued": 3, "coming": 1, "paused": False, "problems": 1,
}  # fmt: skip


def parsed(**changed: object) -> Health | None:
    return Health.parse(json.dumps({**LINE, **changed}).encode())


def health(**changed: object) -> Health:
    found = parsed(**changed)
    assert found is not None
    return found


def test_a_line_as_the_daemon_writes_it() -> None:
    found = health(later_key=[1, 2])

    assert found == Health(
        version="0.4.0", pid=123, worker="guest-1", at_s=1763900000.0, status="encoding a.ts 40%", gate=Gate.OPEN,
        gate_reason="", encoder="h264_qsv", render_node="/dev/dri/renderD128", runtime="libmfx-gen.so.1.2",
        job=HealthJob(id=12, recording="a.ts", done_ratio=0.4, speed_x=5.1), queued=3, coming=1, paused=False,
        problems=1,
    )  # fmt: skip
    assert {key: value for key, value in LINE.items() if key not in {"type", "schema"}} == found.as_json()


@pytest.mark.parametrize(
    "line",
    [
        b"", b"{}", b"null", b"[]", b"7", b'{"type":"health"}', b"\xff\xfe\x00", b"[" * 5000, b'{"a":' * 1000,
        json.dumps({**LINE, "type": "other"}).encode(), json.dumps({**LINE, "schema": 2}).encode(),
        json.dumps({**LINE, "schema": True}).encode(), json.dumps({**LINE, "gate": "ajar"}).encode(),
        json.dumps({**LINE, "gate": ["open"]}).encode(), json.dumps({**LINE, "at": float("nan")}).encode(),
        json.dumps({**LINE, "status": "x" * MOST_LINE_BYTES}).encode(), b"9" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_health_line_is_nothing(line: bytes) -> None:
    assert Health.parse(line) is None


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("pid", -5, 0),
        ("pid", 10**30, 10**9),
        ("pid", "7", 0),
        ("queued", True, 0),
        ("queued", 1.5, 0),
        ("paused", "yes", False),
        ("version", ["0"], ""),
        ("encoder", 5, None),
        ("job", "a.ts", None),
        ("status", "a\x1b[2J\x07b\r\nc\u202ed", "a [2J b c d"),
        ("worker", "x" * 1000, "x" * 299 + "…"),
        ("gate_reason", "\ud800", ""),
    ],
)
def test_each_field_has_its_type_and_its_limit(key: str, value: object, expected: object) -> None:
    assert expected == getattr(health(**{key: value}), key)


@pytest.mark.parametrize(
    ("told", "ratio"), [(0.5, 0.5), (7, 1.0), (-1, 0.0), ("a", None), (None, None), (10**400, None)]
)
def test_a_job_s_ratio_is_one(told: object, ratio: float | None) -> None:
    job = health(job={**LINE["job"], "done_ratio": told}).job

    assert job is not None
    assert ratio == job.done_ratio


@pytest.mark.parametrize(
    ("changed", "age_s", "condition", "message"),
    [
        ({"problems": 0}, 0, Condition.HEALTHY, "encoding a.ts 40%"),
        ({"problems": 0, "gate": "untried"}, 10, Condition.HEALTHY, "encoding a.ts 40%"),
        ({"problems": 0}, 10.1, Condition.SILENT, "the guest's daemon is silent for 10 s"),
        ({"problems": 2}, 1, Condition.DEGRADED, "2 problem(s) in the guest: encoding a.ts 40%"),
        ({"problems": 0, "gate": "closed", "gate_reason": "no render node"}, 1, Condition.DEGRADED,
         "the guest encodes nothing: no render node"),
        ({"problems": 9, "gate": "closed"}, 1, Condition.DEGRADED, "the guest encodes nothing: no reason told"),
        ({"problems": 0, "status": ""}, 1, Condition.HEALTHY, "healthy"),
    ],
)  # fmt: skip
def test_what_a_line_is_worth(changed: dict[str, Any], age_s: float, condition: Condition, message: str) -> None:
    judged = judge(Heard(health=health(**changed), at_s=100.0), 100.0 + age_s, 10.0)

    assert (condition, message) == (judged.condition, judged.message)


def test_nothing_heard_is_unheard_and_not_silent() -> None:
    assert Condition.UNHEARD is judge(None, 1e9, 10.0).condition


def test_lines_are_cut_where_they_end_and_not_kept_without_end() -> None:
    lines = Lines(most_bytes=5)

    assert [b"ab"] == lines.feed(b"ab\ncd")
    assert [b"cdef", b""] == lines.feed(b"ef\n\n")
    assert [] == lines.feed(b"123456")
    assert [] == lines.feed(b"7" * 10_000_000)
    assert [b"ok"] == lines.feed(b"8\nok\n")
    assert [] == lines.feed(b"1234567\n")
    assert 2 == lines.dropped


@given(st.lists(st.binary(max_size=30)))
def test_it_does_not_matter_where_the_port_cuts(parts: list[bytes]) -> None:
    whole, cut = Lines(most_bytes=20), Lines(most_bytes=20)

    assert whole.feed(b"".join(parts)) == [line for part in parts for line in cut.feed(part)]


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_read_without_an_error(line: bytes) -> None:
    Health.parse(line)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(LINE)), JSON))
def test_any_values_are_read_without_an_error(changed: dict[str, object]) -> None:
    found = parsed(**changed)

    assert found is None or json.loads(json.dumps(found.as_json(), allow_nan=False))


@given(st.text())
def test_printable_is_one_line_that_steers_nothing(text: str) -> None:
    shown = printable(text, 50)

    assert len(shown) <= 50
    assert shown.isprintable()
