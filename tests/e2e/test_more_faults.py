"""The rows of the fault table that `make test` leaves out, because another row there takes the same way."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.test_daemon_qsv_faults import (
    IN_A_JOB,
    IN_THE_TRIAL,
    Fault,
    broadcast,  # noqa: F401 - a fixture
    fault_file,  # noqa: F401 - a fixture
    qsv,  # noqa: F401 - a fixture
    strike_a_job,
    strike_the_trial,
)
from tests.running import RunningDaemon
from tests.simulated import Simulated


@pytest.mark.parametrize("fault", [fault for fault in IN_A_JOB if not fault.often], ids=lambda fault: fault.order)
def test_a_fault_in_a_job(
    qsv: RunningDaemon,  # noqa: F811
    simulated: Simulated,
    fault_file: Path,  # noqa: F811
    broadcast: Path,  # noqa: F811
    fault: Fault,
) -> None:
    """As in `make test`."""
    strike_a_job(qsv, simulated, fault_file, broadcast, fault)


@pytest.mark.parametrize("fault", [fault for fault in IN_THE_TRIAL if not fault.often], ids=lambda fault: fault.order)
def test_a_fault_in_the_trial(
    qsv: RunningDaemon,  # noqa: F811
    simulated: Simulated,
    fault_file: Path,  # noqa: F811
    broadcast: Path,  # noqa: F811
    fault: Fault,
) -> None:
    """As in `make test`."""
    strike_the_trial(qsv, simulated, fault_file, broadcast, fault)
