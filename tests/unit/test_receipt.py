"""The receipt and its schema: each holds what the other describes, and a real encode's is one of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from encoderd.encode import receipt as receipts
from encoderd.encode.damage import MAIN_SOUND, PICTURE, DamageLog, Kind
from encoderd.encode.messages import EncodeRequest, VideoRequest
from encoderd.encode.receipt import MOST_POINTS, RECEIPT_VERSION, Build, Made, Run, TimelineFacts, build, series
from encoderd.encode.verify import judge
from encoderd.encode.written import ProofFacts, SecondLikeness
from tests.encoding import request_for
from tests.unit.test_verify import MEDIA, PLAN, facts, output

SCHEMA: dict[str, Any] = json.loads(Path(receipts.__file__).with_name("receipt.schema.json").read_text("utf-8"))
#: JSON Schema's words that are used here, draft 2020-12; the reader below knows no others.
KNOWN = {
    "$schema", "$id", "$defs", "$ref", "title", "description", "type", "properties", "required",
    "additionalProperties", "items", "enum", "const", "minimum", "maximum", "maxItems",
}  # fmt: skip
TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def problems(value: Any, schema: dict[str, Any], place: str = "receipt") -> Iterator[str]:
    """Yield where `value` is not what `schema` says."""
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(isinstance(value, TYPES[kind]) and (isinstance(value, bool) == (kind == "boolean")) for kind in kinds):
        yield f"{place} is no {kinds}: {value!r:.60}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{place} is none of {schema['enum']}: {value!r}"
    if "const" in schema and value != schema["const"]:
        yield f"{place} is not {schema['const']}: {value!r}"
    if isinstance(value, int | float) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{place} is out of bounds: {value}"
    if isinstance(value, list):
        if len(value) > schema.get("maxItems", len(value)):
            yield f"{place} has {len(value)} items"
        for number, item in enumerate(value):
            yield from problems(item, schema["items"], f"{place}[{number}]")
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        yield from (f"{place}.{name} is missing" for name in schema.get("required", []) if name not in value)
        for name, item in value.items():
            if name in known:
                yield from problems(item, known[name], f"{place}.{name}")
            elif others is False:
                yield f"{place}.{name} is not described"
            elif isinstance(others, dict):
                yield from problems(item, others, f"{place}.{name}")


def parts(schema: dict[str, Any], place: str = "receipt") -> Iterator[tuple[str, dict[str, Any]]]:
    yield place, schema
    for name, part in {**schema.get("properties", {}), **schema.get("$defs", {})}.items():
        yield from parts(part, f"{place}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield from parts(schema[name], f"{place}.{name}")


SECOND = SecondLikeness(at_s=0.0, frames=8, psnr_db=38.0, ssim=0.97, thin_db=45.0, beside_db=28.0)
PROOF = ProofFacts(frames=45_000, packets=45_000, error="", crc=7, compared=45_000, worst_db=30.0, worst_at_s=1.0,
                   seconds=(SECOND,))  # fmt: skip


def made(tmp_path: Path, **changes: Any) -> Made:
    """Half an hour with one of everything."""
    source = tmp_path / "a.ts"
    source.touch()
    log = DamageLog(0.04, 0.02)
    log.note(Kind.LOST, 60.0, PICTURE, pid=0x100, amount=3)
    log.note(Kind.GAP, 60.0, PICTURE, span_s=2.0)
    log.note(Kind.FILLED, 60.0, MAIN_SOUND, amount=90, span_s=2.0)
    counts = {0x100: {"pid": 0x100, "packets": 9, "lost": 3, "errors": 1, "scrambled": 0}}
    step = {"at_s": 60.0, "step_s": 2.0, "stream": 0, "kind": "gap"}
    happened = facts()
    happened.granted = {"encoder": "libx264", "quality": "23"}
    happened.gaps = [step]
    beside = {"ending": "mks", "size_bytes": 9, "mtime_ns": 1, "streams": [{"pid": 1}], "notes": []}
    values: dict[str, Any] = {
        "build": Build(encoderd="0", pyav="18", ffmpeg="8"),
        "request": request_for(source, tmp_path / "a.mp4"),
        "media": MEDIA,
        "plan": PLAN,
        "facts": happened,
        "run": Run(encode_wall_s=100.0, startup_s=0.4, peak_rss_bytes=2**28, pace=[(0, 0, 0), (1_800_000, 90_000, 9)]),
        "damage": log.assess(1800.0, counts),
        "timeline": TimelineFacts(gaps=[step], gap_count=1, largest_skew_s=0.004),
        "output": output(),
        "proof": PROOF,
        "captions": beside,
        "chapters": [{"start_s": 0.0, "title": "One"}],
    }
    return Made(**{**values, **changes})


def receipt_of(one: Made) -> dict[str, Any]:
    found = [] if one.output is None else judge(one.media, one.plan, one.facts, one.output, proof=one.proof)
    return build(one, found)


def test_the_schema_describes_every_field() -> None:
    """Each with a type and a sentence, in words that the draft and the reader above know."""
    for place, part in parts(SCHEMA):
        assert set(part) <= KNOWN, place
        assert "$ref" in part or (part["description"].endswith((".", "…")) and part["type"]), place
    assert SCHEMA["properties"]["receipt"]["const"] == RECEIPT_VERSION


@pytest.mark.parametrize(
    "changes", [{}, {"output": None, "proof": None}, {"proof": None, "captions": None, "chapters": ()}], ids=str
)
def test_a_receipt_is_what_the_schema_says(tmp_path: Path, changes: dict[str, Any]) -> None:
    """And as JSON the same again: nothing in it is lost on the way."""
    receipt = receipt_of(made(tmp_path, **changes))

    assert list(problems(receipt, SCHEMA)) == []
    assert json.loads(json.dumps(receipt, allow_nan=False)) == receipt


def test_every_described_field_is_there(tmp_path: Path) -> None:
    """What the attempt adds later aside."""
    receipt = receipt_of(made(tmp_path))
    later = set(SCHEMA["properties"]) - set(SCHEMA["required"])

    assert set(receipt) == set(SCHEMA["required"])
    assert later == {
        "wall_s", "worker", "watch", "recording", "recording_hex", "published_as", "published_hex", "published_bytes",
        "published_mtime_ns", "published_at", "attempt",
        "after_success", "sidecars",
    }  # fmt: skip
    for kind, part in ((EncodeRequest, SCHEMA["properties"]["asked"]),
                       (VideoRequest, SCHEMA["properties"]["asked"]["properties"]["video"])):  # fmt: skip
        assert {entry.name for entry in fields(kind)} == set(part["properties"])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"verdict": "fine"}, "receipt.verdict is none of"),
        ({"receipt": 1}, "receipt.receipt is not 2"),
        ({"duration_s": "long"}, "receipt.duration_s is no"),
        ({"job": True}, "receipt.job is no"),
        ({"surprise": 1}, "receipt.surprise is not described"),
        ({"damage": {}}, "receipt.damage.ratio is missing"),
    ],
)
def test_the_reader_s_eyes_are_open(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    found = list(problems({**receipt_of(made(tmp_path)), **change}, SCHEMA))

    assert any(text.startswith(problem) for text in found), found


def test_the_series() -> None:
    """Twice as fast in the first half, all bytes in the second, a gap in the middle: in equal steps of the output."""
    log = DamageLog(0.04, 0.02)
    log.note(Kind.GAP, 50.0, PICTURE, span_s=10.0)
    rows = [(0, 0, 0), (50_000, 5_000, 0), (100_000, 15_000, 1_250_000)]
    found = series(rows, log.assess(100.0), 100.0)

    assert found["step_s"] == 1.0
    assert found["speed_x"] == [10.0] * 50 + [5.0] * 50
    assert found["bit_rate_bps"] == [0] * 50 + [200_000] * 50
    assert found["damage"] == [0.0] * 50 + [1.0] * 10 + [0.0] * 40


@pytest.mark.parametrize("duration_s", [0.5, 1.0, 119.6, 121.3, 7200.0, 21_600.0])
def test_series_are_short(duration_s: float) -> None:
    """Whatever the length: at most 120 points, one length for all; the damage adds up to the ratio."""
    log = DamageLog(0.04, 0.02)
    log.note(Kind.GAP, duration_s / 3, PICTURE, span_s=duration_s / 4)
    damage = log.assess(duration_s)
    end_ms = round(duration_s * 1000)
    found = series([(0, 0, 0), (end_ms, 700, 99)], damage, duration_s)

    assert len(found["speed_x"]) == len(found["bit_rate_bps"]) == len(found["damage"]) <= MOST_POINTS
    assert sum(found["damage"]) / len(found["damage"]) == pytest.approx(damage.ratio, abs=0.01)


@pytest.mark.parametrize("rows", [[], [(0, 0, 0)], [(0, 0, 0), (0, 0, 0)], [(5000, 9, 9), (1000, 1, 1)]])
def test_a_pace_that_nobody_knows(rows: list[tuple[int, int, int]]) -> None:
    found = series(rows, DamageLog(0.04, 0.02).assess(5.0), 5.0)

    assert all(speed is None or speed >= 0 for speed in found["speed_x"])
    assert found["damage"] == [0.0] * 5
    assert series(rows, DamageLog(0.04, 0.02).assess(0.0), 0.0)["damage"] == []


def test_what_the_operator_reads(tmp_path: Path) -> None:
    receipt = receipt_of(made(tmp_path))

    assert receipt["speed_x"] == 18.0
    assert receipt["damage"]["ratio"] == pytest.approx(2 / 1800, abs=1e-4)
    assert receipt["continuity"] == [{"pid": 0x100, "packets": 9, "lost": 3, "errors": 1, "scrambled": 0}]
    assert (receipt["audio"][0]["codec"], receipt["audio"][1]["copied"]) == ("aac", True)
    assert receipt["verification"]["psnr_db"] == 38.0
    assert receipt["timeline"]["gap_count"] == 1
    assert receipt["verdict"] == "warn"
