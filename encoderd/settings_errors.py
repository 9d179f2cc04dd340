"""What is wrong with the settings, in sentences: the key as the user wrote it, the cause, the nearest known name."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Return one sentence per mistake, the first one first."""
    return " ".join(_sentence(dict(detail), model) for detail in error.errors(include_url=False))


def _sentence(detail: dict[str, Any], model: type[BaseModel]) -> str:
    where = tuple(detail["loc"])
    name = ".".join(str(part) for part in where)
    if detail["type"] == "extra_forbidden":
        return _unknown(name, str(where[-1]), known_keys(model, where[:-1]))
    if detail["type"] == "missing":
        return f"{name} is missing."
    message = str(detail["msg"]).removeprefix("Value error, ").rstrip(".")
    if not name:
        return _capital(message, model) + ("" if message.endswith("?") else ".")
    if detail["type"] == "value_error" and isinstance(detail.get("input"), Mapping):  # on a section as a whole
        return f"{name}: {message}."
    unit = _unit(name)
    return f"{name} = {detail.get('input')!r}: {message[0].lower()}{message[1:]}{unit}."


def _capital(sentence: str, model: type[BaseModel]) -> str:
    """A setting's name keeps its spelling, also at the start."""
    word = sentence.split(maxsplit=1)[0]
    field = model.model_fields.get(word)
    is_setting = "_" in word or "." in word or (field is not None and _model_in(field.annotation) is None)
    return sentence if is_setting else sentence[0].upper() + sentence[1:]


def _unit(name: str) -> str:
    units = {"_s": "seconds, a plain number", "_mib": "MiB, a whole number", "_bps": "bits per second, a whole number"}
    for ending, unit in units.items():
        if name.endswith(ending):
            return f" (the unit is {unit})"
    return ""


def _unknown(name: str, key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else f" Known here: {', '.join(known)}."
    return f"There is no setting {name}.{hint}"


def known_keys(model: type[BaseModel], where: tuple[str | int, ...]) -> list[str]:
    """Return the keys that exist at `where` in the model, for ("watch", 0) those of one watch folder."""
    current: Any = model
    for part in where:
        if isinstance(part, int):
            continue
        current = _model_in(current.model_fields[part].annotation)
        if current is None:
            return []
    return sorted(current.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in typing.get_args(annotation):
        found = _model_in(argument)
        if found is not None:
            return found
    return None


def unknown_environment(environment: Mapping[str, str], model: type[BaseModel], prefix: str = "ENCODERD_") -> str:
    """
    Return a sentence on the first `ENCODERD_SECTION__KEY` whose section or key does not exist; "" if all do.

    Variables without a double underscore are not ours to judge (ENCODERD_TEST_… and the like).
    """
    for variable in sorted(environment):
        others = prefix == "ENCODERD_" and variable.startswith("ENCODERD_HOST_")  # the host's helper reads them
        if not variable.startswith(prefix) or "__" not in variable or others:
            continue
        section, _, key = variable.removeprefix(prefix).lower().partition("__")
        if section not in model.model_fields:
            return _unknown(variable, section, sorted(model.model_fields))
        known = known_keys(model, (section,))
        if known and key.split("__")[0] not in known:
            return _unknown(variable, key, known)
    return ""
