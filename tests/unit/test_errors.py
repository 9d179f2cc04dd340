"""Exit codes: one meaning each, every error has one, and the unit knows which a restart cannot cure."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from encoderd import errors
from encoderd.errors import EncoderdError, ExitCode

UNIT = Path(__file__).parents[2] / "systemd/encoderd.service"

#: Waiting cures these: another process lets go, space is freed, a mount appears, or a defect was a rare one.
CURED_BY_A_RESTART = {
    ExitCode.FAILED,
    ExitCode.DATABASE,
    ExitCode.DATABASE_LOCKED,
    ExitCode.DATABASE_FULL,
    ExitCode.FOLDER,
    ExitCode.INTERNAL,
}
KINDS = [kind for _name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, EncoderdError)]


def test_each_exit_code_has_one_meaning() -> None:
    assert len({int(code) for code in ExitCode}) == len(ExitCode.__members__)


def test_each_exit_code_leaves_room_for_the_shell_and_systemd() -> None:
    """From 126 on a shell speaks of itself, from 200 on systemd does (systemd.exec(5))."""
    assert [code for code in ExitCode if not 0 <= code < 126] == []


def test_each_exit_code_says_what_it_stands_for() -> None:
    source = inspect.getsource(ExitCode)

    for code in set(ExitCode) - {ExitCode.OK}:
        assert re.search(rf"^ +{code.name} = {int(code)}  #: \w", source, re.MULTILINE), code


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_has_message_remedy_and_code(kind: type[EncoderdError]) -> None:
    error = kind("It broke.", remedy="Mend it.")

    assert (str(error), error.message, error.remedy) == ("It broke.", "It broke.", "Mend it.")
    assert isinstance(error.exit_code, ExitCode)
    assert error.exit_code is not ExitCode.OK


def test_a_database_error_tells_its_reason_by_its_code() -> None:
    kinds = [kind for kind in KINDS if issubclass(kind, errors.DatabaseError)]

    assert len({kind.exit_code for kind in kinds}) == len(kinds)


def test_the_unit_does_not_restart_what_a_restart_cannot_cure() -> None:
    listed = re.search(r"^RestartPreventExitStatus=([\d ]+)$", UNIT.read_text("utf-8"), re.MULTILINE)

    assert listed is not None
    assert {ExitCode(int(code)) for code in listed[1].split()} == set(ExitCode) - CURED_BY_A_RESTART - {ExitCode.OK}
