"""`encoderd config`: are the settings right, and what are they?"""

from __future__ import annotations

from json import dumps
from typing import Any

import typer

from encoderd.cli.output import ConfigOption, JsonOption, explained, file_of, say_json, settings_of
from encoderd.readiness import check_extra
from encoderd.settings import EncodeSettings, Settings

app = typer.Typer(help="Check and show the settings.", no_args_is_help=True)


@app.command()
@explained
def check(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Read the settings and say what is wrong with them; exit code 2 if anything is."""
    settings = settings_of(config)
    check_extra(settings)
    where = file_of(config) or "defaults and the environment"
    if json:
        say_json({"file": str(where), "watch": [folder.name for folder in settings.watch]})
        return
    typer.echo(f"The settings are right ({where}): {len(settings.watch)} watch folders.")


@app.command()
@explained
def show(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show every setting as it is in force, with each folder's own encode section."""
    settings = settings_of(config)
    sections = settings.model_dump(mode="json")
    for folder, shown in zip(settings.watch, sections["watch"], strict=True):
        shown["encode"] = settings.encode_for(folder.name).model_dump(mode="json")
    if json:
        say_json(sections)
        return
    for name, section in sections.items():
        if name != "watch":
            typer.echo(f"[{name}]")
            _lines(section)
    for folder, section in zip(settings.watch, sections["watch"], strict=True):
        typer.echo("[[watch]]")
        own = _own(settings, settings.encode_for(folder.name))
        _lines({**section, "encode": own})


def _own(settings: Settings, encode: EncodeSettings) -> dict[str, object]:
    """What a folder overrides."""
    general, own = settings.encode.model_dump(mode="json"), encode.model_dump(mode="json")
    return {name: value for name, value in own.items() if general[name] != value}


def _lines(section: dict[str, object]) -> None:
    for name, value in section.items():
        typer.echo(f"{name} = {_toml(value)}" if value is not None else f"# {name} is not set")


def _toml(value: Any) -> str:
    """Strings, numbers, booleans and arrays of them are written in TOML as they are in JSON; tables are not."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(inner)}" for name, inner in value.items() if inner is not None) + "}"
    return dumps(value, ensure_ascii=False)
