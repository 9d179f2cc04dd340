"""The shipped config is the reference an operator reads: it says what the model says, no more and no less."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from encoderd.settings import Section, Settings, WatchSettings, load

SHIPPED = Path(__file__).parents[2] / "config/encoderd.toml"

#: The three settings of a watch folder that have no default; the shipped file shows an example.
EXAMPLE = {"name": "recordings", "path": "/srv/recordings", "output": "/srv/encoded"}


@dataclass(frozen=True)
class Entry:
    """One setting as the file shows it. `value` is None where the line is commented out."""

    sentence: str
    value: Any
    commented_out: bool


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("ENCODERD_")]:
        monkeypatch.delenv(variable)


def entries(text: str) -> dict[tuple[str, str], Entry]:
    """Read the file as its reader does: a section, a sentence, and below it the setting."""
    values = tomllib.loads(text)
    section, above, found = "", "", {}
    for line in text.splitlines():
        if header := re.fullmatch(r"\[+(\w+)\]+", line):
            section = header[1]
        elif setting := re.match(r"(# )?(\w+) = ", line):
            table = values[section][0] if section == "watch" else values[section]
            key = (section, setting[2])
            assert key not in found, f"{key} is there twice"
            found[key] = Entry(above.removeprefix("# "), table.get(setting[2]), setting[1] is not None)
        above = line
    return found


def known() -> Iterator[tuple[tuple[str, str], FieldInfo]]:
    sections: dict[str, type[BaseModel]] = {"watch": WatchSettings}
    sections |= {name: type(value) for name, value in Settings() if isinstance(value, Section)}
    for section, model in sections.items():
        for key, field in model.model_fields.items():
            yield (section, key), field


def as_toml(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def test_every_setting_is_there_and_nothing_else() -> None:
    assert sorted(entries(SHIPPED.read_text("utf-8"))) == sorted(key for key, _field in known())


@pytest.mark.parametrize(("key", "field"), [pytest.param(*row, id=".".join(row[0])) for row in known()])
def test_each_setting_has_its_sentence_and_its_default(key: tuple[str, str], field: FieldInfo) -> None:
    """A setting whose default is nothing, or found out at the start, is commented out."""
    entry = entries(SHIPPED.read_text("utf-8"))[key]

    assert entry.sentence == field.description
    if field.is_required():
        assert entry.value == EXAMPLE[key[1]]
    elif field.default is None or field.default_factory is not None:
        assert entry.commented_out
    else:
        assert not entry.commented_out
        assert entry.value == as_toml(field.default)


def test_it_loads_and_means_the_defaults() -> None:
    assert load(SHIPPED).model_dump() == load(None, {"watch": [EXAMPLE]}).model_dump()


def test_what_is_commented_out_would_be_accepted_too(tmp_path: Path) -> None:
    """Where a rate control asks for it: bit rates belong to vbr, and a folder's own icq takes none over."""
    text = re.sub(r"^# (\w+ = )", r"\1", SHIPPED.read_text("utf-8"), flags=re.MULTILINE)
    text = text.replace('rate_control = "icq"\n', 'rate_control = "vbr"\n')
    bold = tmp_path / "encoderd.toml"
    bold.write_text(text, "utf-8")

    settings = load(bold)

    assert settings.daemon.worker == "guest-1"
    assert (settings.encode.rate_control, settings.encode.bitrate, settings.encode.quality) == ("vbr", 6_000_000, 23)
    folder = settings.encode_for("recordings")
    assert (folder.rate_control, folder.bitrate, folder.quality) == ("icq", None, 20)
