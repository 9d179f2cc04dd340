"""How giving the GPU back went, by kernel release: whether this host's driver takes it back is learned by trying."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SCHEMA = 1
_MOST_BYTES = 2**20
_MOST_RELEASES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrips:
    """What one kernel release has shown: how often it went clean and not; the last one's trouble, "" for none."""

    clean: int = 0
    unclean: int = 0
    trouble: str = ""


def past(file: Path) -> dict[str, RoundTrips]:
    """Return what is recorded, the oldest release first; a file that cannot be understood counts as empty."""
    try:
        with file.open("rb") as opened:
            content = json.loads(opened.read(_MOST_BYTES))
        return {release: _parsed(trips) for release, trips in content["releases"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def record(file: Path, release: str, trouble: str) -> RoundTrips:
    """Add one round trip; `trouble` is "" for a clean one. Raises OSError when it cannot be written."""
    trips = past(file)
    if not trips and file.exists():
        with contextlib.suppress(OSError):
            file.replace(file.with_suffix(".json.bad"))
    before = trips.pop(release, RoundTrips())
    trips[release] = RoundTrips(
        clean=before.clean + (not trouble), unclean=before.unclean + bool(trouble), trouble=trouble
    )
    kept = dict(list(trips.items())[-_MOST_RELEASES:])
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".json.tmp")
    with temporary.open("w", encoding="utf-8") as opened:
        json.dump({"schema": SCHEMA, "releases": {name: asdict(one) for name, one in kept.items()}}, opened, indent=1)
        opened.flush()
        os.fsync(opened.fileno())
    temporary.replace(file)
    return trips[release]


def advice(trips: RoundTrips | None, release: str) -> str:
    """Say in a sentence what the past means for gpu.after."""
    if trips is None or trips.clean + trips.unclean == 0:
        return f"Linux {release} has not yet given this GPU back: try it once while nothing important runs."
    if trips.trouble:
        return (
            f"Linux {release} did not take the GPU back cleanly the last time ({trips.trouble}): set gpu.after = "
            '"keep-vfio" and reboot when the host needs it.'
        )
    return f"Linux {release} has taken the GPU back cleanly {trips.clean} times of {trips.clean + trips.unclean}."


def _parsed(trips: Any) -> RoundTrips:
    clean, unclean, trouble = trips["clean"], trips["unclean"], trips["trouble"]
    if not isinstance(clean, int) or not isinstance(unclean, int) or not isinstance(trouble, str):
        raise TypeError("not round trips")
    return RoundTrips(clean=clean, unclean=unclean, trouble=trouble)
