"""The host's shipped config is the reference an operator reads: it says what the model says, no more and no less."""

from __future__ import annotations

import os
import re
import tomllib
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from encoderd.host.settings import HostSettings, Section, load

SHIPPED = Path(__file__).parents[2] / "config/encoderd-host.toml"

#: What the blocks of the commented examples set that has no default.
EXAMPLES = {
    ("disk", "path"): "/var/lib/encoderd-host/encoderd.qcow2",
    ("share", "path"): "/srv/recordings",
    ("share", "tag"): "recordings",
    ("pci", "address"): "0000:03:00.0",
    ("usb", "port"): "1-4.2",
}


@dataclass(frozen=True)
class Entry:
    """One setting as the file shows it. `commented_out` once more than the block that it is in."""

    sentence: str
    value: Any
    commented_out: bool


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("ENCODERD_")]:
        monkeypatch.delenv(variable)


def uncommented(text: str) -> str:
    """Return the text with the example blocks taken out of their comments, one # from each of their lines."""
    lines, inside = [], False
    for line in text.splitlines():
        inside = (inside or line.startswith("# [[")) and line.startswith("#")
        lines.append(re.sub(r"^# ?", "", line) if inside else line)
    return "\n".join(lines) + "\n"


def entries(text: str) -> dict[tuple[str, str], Entry]:
    values = tomllib.loads(text)
    section, above, found = "", "", {}
    for line in text.splitlines():
        if header := re.fullmatch(r"\[+(\w+)\]+", line):
            section = header[1]
        elif setting := re.match(r"(# )?(\w+) = ", line):
            table = values[section][0] if isinstance(values[section], list) else values[section]
            key = (section, setting[2])
            assert key not in found, f"{key} is there twice"
            found[key] = Entry(above.removeprefix("# "), table.get(setting[2]), setting[1] is not None)
        above = line
    return found


def known() -> Iterator[tuple[tuple[str, str], FieldInfo]]:
    for section, whole in HostSettings.model_fields.items():
        inner = typing.get_args(whole.annotation)
        model = inner[0] if inner else whole.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        for key, field in model.model_fields.items():
            yield (section, key), field


def as_toml(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def test_every_setting_is_there_and_nothing_else() -> None:
    found = entries(uncommented(SHIPPED.read_text("utf-8")))

    assert sorted(key for key, _field in known()) == sorted(found)


@pytest.mark.parametrize(("key", "field"), [pytest.param(*row, id=".".join(row[0])) for row in known()])
def test_each_setting_has_its_sentence_and_its_default(key: tuple[str, str], field: FieldInfo) -> None:
    """A setting without a default shows an example; one whose default is nothing is commented out."""
    entry = entries(uncommented(SHIPPED.read_text("utf-8")))[key]

    assert field.description == entry.sentence
    if key in EXAMPLES:
        assert EXAMPLES[key] == entry.value
    elif field.default is None:
        assert entry.commented_out
    elif field.default_factory is not None:
        assert entry.commented_out or entry.value == {}
    else:
        assert not entry.commented_out
        assert as_toml(field.default) == entry.value


def test_each_block_says_what_it_is_for() -> None:
    """The models of pci and usb have a sentence of their own; it stands above their block."""
    text = SHIPPED.read_text("utf-8")

    for name in ("pci", "usb"):
        model = typing.get_args(HostSettings.model_fields[name].annotation)[0]
        assert issubclass(model, Section)
        assert f"\n# {model.__doc__}\n# [[{name}]]\n" in text


def test_it_loads_and_means_the_defaults() -> None:
    assert load(None).model_dump() == load(SHIPPED).model_dump()


def test_the_examples_would_be_accepted_too(tmp_path: Path) -> None:
    bold = tmp_path / "encoderd-host.toml"
    bold.write_text(uncommented(SHIPPED.read_text("utf-8")), "utf-8")

    settings = load(bold)

    assert [str(disk.path) for disk in settings.disk] == ["/var/lib/encoderd-host/encoderd.qcow2"]
    assert [share.tag for share in settings.share] == ["recordings"]
    assert (settings.pci[0].address, settings.usb[0].port) == ("0000:03:00.0", "1-4.2")
    assert (settings.network[0].mode, settings.network[0].mac) == ("user", "auto")
