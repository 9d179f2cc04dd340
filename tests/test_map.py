"""
The map of the house, executable: who imports whom, what stays pure, one home for each outside system.

A new module needs one line in `MODULES`; a new outside system needs one in `HOMES`. A module that is on neither side
(on disk but not here, here but not on disk) fails: the map is the place where a new file is thought about.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "encoderd"

#: Every module of the package, as its path without `.py`. "pure" decides on plain values, "acts" touches the world.
MODULES = {
    "__init__": "pure",
    "__main__": "pure",
    # The hall: the words that everyone uses.
    "errors": "pure",
    "findings": "pure",
    "jobs": "pure",
    "logs": "acts",
    "notify": "acts",
    "pci": "acts",
    "root": "acts",
    "settings": "acts",
    "settings_errors": "pure",
    "settings_rules": "pure",
    # The rooms, in the order a recording walks through them.
    "intake/__init__": "pure",
    "intake/completeness": "pure",
    "intake/mounts": "pure",
    "intake/patterns": "pure",
    "intake/scanner": "acts",
    "intake/sighting": "acts",
    "intake/tree": "acts",
    "intake/troubles": "acts",
    "intake/watcher": "acts",
    "queue/__init__": "pure",
    "queue/acceptance": "acts",
    "queue/admission": "acts",
    "queue/claims": "acts",
    "queue/database": "acts",
    "queue/database_errors": "acts",
    "queue/history": "acts",
    "queue/migrations/__init__": "acts",
    "queue/migrations/env": "acts",
    "queue/migrations/versions/0001_jobs_history_flags": "acts",
    "queue/migrations/versions/0002_acceptance": "acts",
    "queue/rebuilding": "acts",
    "queue/store": "acts",
    "queue/tables": "acts",
    "queue/worker_lock": "acts",
    "preflight/__init__": "pure",
    "preflight/checks": "pure",
    "preflight/device_checks": "pure",
    "preflight/drivers": "acts",
    "preflight/elf": "pure",
    "preflight/facts": "acts",
    "preflight/firmware": "acts",
    "preflight/gpu_ids": "pure",
    "preflight/gpus": "pure",
    "preflight/machine": "acts",
    "preflight/media_checks": "pure",
    "preflight/packages": "pure",
    "preflight/pyav_choice": "acts",
    "preflight/runtimes": "acts",
    "encode/__init__": "pure",
    "encode/aac": "pure",
    "encode/ac3": "pure",
    "encode/audio": "acts",
    "encode/audio_examples": "pure",
    "encode/containers": "pure",
    "encode/accounting": "pure",
    "encode/caption_forms": "pure",
    "encode/display_sets": "pure",
    "encode/bounds": "pure",
    "encode/ebml": "pure",
    "encode/content_range": "pure",
    "encode/source_check": "pure",
    "encode/stated_end": "pure",
    "encode/encoder_options": "acts",
    "encode/contents": "acts",
    "encode/left_out": "pure",
    "encode/dispositions": "pure",
    "encode/languages": "pure",
    "encode/tags": "pure",
    "encode/words": "pure",
    "encode/opening": "pure",
    "encode/open_source": "acts",
    "encode/reading": "acts",
    "encode/reception": "acts",
    "encode/audio_configuration": "pure",
    "encode/audio_plan": "pure",
    "encode/byte_clock": "pure",
    "encode/cadence": "acts",
    "encode/captions": "acts",
    "encode/chapters": "pure",
    "encode/matroska_chapters": "pure",
    "encode/child": "acts",
    "encode/closed_captions": "acts",
    "encode/codec_options": "pure",
    "encode/companions": "acts",
    "encode/continuity": "pure",
    "encode/conversion": "acts",
    "encode/copied_audio": "acts",
    "encode/damage": "pure",
    "encode/decoding_times": "pure",
    "encode/elementary_streams": "pure",
    "encode/deinterlacing": "pure",
    "encode/discontinuities": "pure",
    "encode/engine": "acts",
    "encode/epochs": "pure",
    "encode/facts": "pure",
    "encode/failures": "pure",
    "encode/fields": "acts",
    "encode/filtering": "acts",
    "encode/finishing": "acts",
    "encode/form_encoder": "acts",
    "encode/granted": "pure",
    "encode/joined_input": "acts",
    "encode/latm": "pure",
    "encode/likeness": "pure",
    "encode/media": "pure",
    "encode/luma": "acts",
    "encode/memory": "acts",
    "encode/messages": "pure",
    "encode/movie_boxes": "pure",
    "encode/movie_index": "pure",
    "encode/muxer": "acts",
    "encode/nal_units": "pure",
    "encode/picture_decoder": "acts",
    "encode/picture_times": "pure",
    "encode/dolby_vision": "pure",
    "encode/pictures": "pure",
    "encode/pipe": "acts",
    "encode/plan": "pure",
    "encode/playback": "acts",
    "encode/probe": "acts",
    "encode/programmes": "pure",
    "encode/projection": "pure",
    "encode/proof": "acts",
    "encode/publish": "acts",
    "encode/pyav": "acts",
    "encode/qsv_errors": "pure",
    "encode/receipt": "pure",
    "encode/sample": "acts",
    "encode/service_information": "pure",
    "encode/service_text": "pure",
    "encode/shown_at": "pure",
    "encode/silence": "acts",
    "encode/sound_check": "pure",
    "encode/sound_clock": "acts",
    "encode/sound_source": "acts",
    "encode/sound_trial": "acts",
    "encode/supervisor": "acts",
    "encode/steady_stamps": "pure",
    "encode/survey": "acts",
    "encode/timeline": "pure",
    "encode/pauses": "pure",
    "encode/tonemapping": "pure",
    "encode/transcode": "acts",
    "encode/transport_stream": "pure",
    "encode/transport_writer": "pure",
    "encode/trial": "acts",
    "encode/verify": "pure",
    "encode/video_plan": "pure",
    "encode/writer": "acts",
    "encode/written": "pure",
    # The daemon, which knows all rooms.
    "attempt": "acts",
    "daemon": "acts",
    "folders": "acts",
    "gate": "acts",
    "health_line": "pure",
    "health_port": "acts",
    "landing": "acts",
    "rebuild": "acts",
    "leftovers": "acts",
    "readiness": "acts",
    "state_folder": "acts",
    "status": "acts",
    "video_settings": "pure",
    "workshop": "acts",
    # The command.
    "cli/__init__": "acts",
    "cli/charts": "pure",
    "cli/checking": "acts",
    "cli/configuration": "acts",
    "cli/demo": "acts",
    "cli/encoding": "acts",
    "cli/job_page": "acts",
    "cli/jobs": "acts",
    "cli/output": "acts",
    "cli/report": "acts",
    "cli/service": "acts",
    # The house next door.
    "host/__init__": "pure",
    "host/collect": "acts",
    "host/handover": "acts",
    "host/giving": "acts",
    "host/pseudonyms": "pure",
    "host/recording": "acts",
    "host/redaction": "pure",
    "host/replay": "acts",
    "host/steps": "acts",
    "host/round_trips": "acts",
    "host/last_look": "acts",
    "host/standing": "acts",
    "host/journal": "acts",
    "host/binding": "pure",
    "host/kernel": "acts",
    "host/booted_kernel": "acts",
    "host/checks": "pure",
    "host/cli/__init__": "acts",
    "host/cli/__main__": "acts",
    "host/cli/devices": "acts",
    "host/cli/looking": "acts",
    "host/cli/output": "acts",
    "host/cli/vm": "acts",
    "host/preparation": "acts",
    "host/dmar": "pure",
    "host/facts": "acts",
    "host/cgroups": "pure",
    "host/processes": "acts",
    "host/lifelines": "acts",
    "host/consoles": "acts",
    "host/other_managers": "acts",
    "host/usage": "acts",
    "host/usage_checks": "pure",
    "host/qcow2": "pure",
    "host/images": "acts",
    "host/image_checks": "pure",
    "host/ports": "acts",
    "host/guest_needs": "acts",
    "host/device_checks": "pure",
    "host/guest_checks": "pure",
    "host/generations": "pure",
    "host/guest_devices": "pure",
    "host/gpu_checks": "pure",
    "host/gpu_facts": "acts",
    "host/kernel_checks": "pure",
    "host/kvm": "acts",
    "host/platform": "acts",
    "host/platform_checks": "pure",
    "host/argv": "pure",
    "host/explain": "pure",
    "host/profiles": "pure",
    "host/qemu_probe": "acts",
    "host/qemu_properties": "pure",
    "host/settings": "acts",
    "host/settings_rules": "pure",
    "host/agent": "acts",
    "host/boot": "acts",
    "host/console": "acts",
    "host/health": "pure",
    "host/life": "acts",
    "host/machine": "acts",
    "host/qmp": "acts",
    "host/run_folder": "acts",
    "host/share_daemons": "acts",
    "host/state": "pure",
    "host/status": "acts",
    "host/stop_request": "acts",
    "host/stopping": "acts",
}

#: What lies outside of Python's own library, and the modules that may touch it ("queue/" stands for all below it).
HOMES: dict[str, tuple[str, ...]] = {
    "alembic": ("queue/",),
    "av": (
        "encode/audio",
        "encode/cadence",
        "encode/captions",
        "encode/child",
        "encode/closed_captions",
        "encode/conversion",
        "encode/copied_audio",
        "encode/contents",
        "encode/encoder_options",
        "encode/engine",
        "encode/fields",
        "encode/filtering",
        "encode/luma",
        "encode/form_encoder",
        "encode/joined_input",
        "encode/muxer",
        "encode/open_source",
        "encode/picture_decoder",
        "encode/playback",
        "encode/probe",
        "encode/reading",
        "encode/proof",
        "encode/pyav",
        "encode/sample",
        "encode/silence",
        "encode/sound_clock",
        "encode/sound_source",
        "encode/sound_trial",
        "encode/survey",
        "encode/transcode",
        "encode/trial",
        "encode/writer",
    ),
    "numpy": ("encode/",),
    "prometheus_client": ("metrics",),
    "pydantic": ("settings", "settings_errors", "host/settings"),
    "pydantic_settings": ("settings", "host/settings"),
    "qemu": ("host/qmp",),
    "rich": ("cli", "cli/", "host/cli/"),
    "sqlalchemy": ("queue/",),
    "sqlite3": ("queue/",),
    "structlog": ("logs", "workshop"),
    "typer": ("cli", "cli/", "host/cli/"),
    "watchdog": ("intake/watcher",),
}

HALL = {"errors", "findings", "jobs", "logs", "notify", "pci", "root", "settings"}
ROOMS = {"intake", "queue", "preflight", "encode"}
DAEMON = {
    "attempt", "daemon", "folders", "gate", "health_line", "health_port", "landing", "leftovers", "readiness",
    "rebuild", "state_folder", "status", "video_settings", "workshop",
}  # fmt: skip
INSIDE = HALL | ROOMS | {"metrics", "daemon", "cli"}

#: Which parts a part may import, beside itself. A part is the first word of a module's path; DAEMON is one part.
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "__main__": {"cli"},
    "errors": set(),
    "findings": set(),
    "notify": set(),
    "root": set(),
    "settings_errors": set(),
    "settings_rules": set(),
    "jobs": {"errors"},
    "logs": {"jobs"},
    "pci": {"errors", "root"},
    "settings": {"errors", "settings_errors", "settings_rules"},
    **dict.fromkeys(ROOMS, HALL),
    "metrics": HALL,
    "daemon": HALL | ROOMS | {"metrics"},
    "cli": INSIDE,
    "host": {"errors", "findings", "pci", "root", "settings_errors", "logs", "notify"},
}

NEVER_IN_PURE = {"os", "time", "subprocess", "socket", "sqlite3", "sqlalchemy", "av", "structlog"}
DRAWERS = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
MOST_LINES = 400


@cache
def modules_in(package: Path) -> dict[str, Path]:
    return {path.relative_to(package).with_suffix("").as_posix(): path for path in sorted(package.rglob("*.py"))}


@cache
def imports_of(path: Path, package: Path) -> tuple[str, ...]:
    """Return the dotted names that a module imports, at the top or inside a function; relative ones made absolute."""
    return tuple(_imports_of(path, package))


def _imports_of(path: Path, package: Path) -> Iterator[str]:
    place = [package.name, *path.relative_to(package).with_suffix("").parts]
    for node in ast.walk(ast.parse(path.read_bytes(), filename=str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = place[: -node.level] if node.level else []
            yield from (".".join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names)


def own_imports(path: Path, package: Path) -> Iterator[str]:
    """Yield the modules of ours that a module imports, as keys of `modules_in`."""
    known = modules_in(package)
    for name in imports_of(path, package):
        first, *rest = name.split(".")
        if first != package.name:
            continue
        while rest and "/".join(rest) not in known and "/".join([*rest, "__init__"]) not in known:
            rest.pop()  # the last word is a name inside the module
        yield "/".join(rest) if "/".join(rest) in known else "/".join([*rest, "__init__"])


def part_of(module: str) -> str:
    first = module.split("/", maxsplit=1)[0]
    return "daemon" if first in DAEMON or first.startswith("daemon_") else first


def lives_in(module: str, homes: tuple[str, ...]) -> bool:
    return any(module == home or (home.endswith("/") and module.startswith(home)) for home in homes)


def wrong_imports(package: Path) -> list[str]:
    wrong = []
    for module, path in modules_in(package).items():
        part = part_of(module)
        for other in sorted(set(own_imports(path, package))):
            target = part_of(other)
            if target not in {part, "__init__"} and target not in MAY_IMPORT.get(part, set()):
                wrong.append(f"{module} imports {other}")
    return wrong


def homeless_imports(package: Path) -> list[str]:
    wrong = []
    for module, path in modules_in(package).items():
        for system in sorted({name.split(".")[0] for name in imports_of(path, package)} - {package.name}):
            if system in HOMES and not lives_in(module, HOMES[system]):
                wrong.append(f"{module} imports {system}, whose home is {' '.join(HOMES[system])}")
            elif system not in HOMES and system not in sys.stdlib_module_names:
                wrong.append(f"{module} imports {system}, which has no home in HOMES")
    return wrong


def impure_imports(package: Path, kinds: dict[str, str]) -> list[str]:
    return [
        f"{module} is pure and imports {system}"
        for module, path in modules_in(package).items()
        if kinds.get(module) == "pure"
        for system in sorted({name.split(".")[0] for name in imports_of(path, package)} & NEVER_IN_PURE)
    ]


def ways_to_ffmpeg(package: Path) -> list[str]:
    """Only the child loads FFmpeg: what else runs in the daemon's process imports no module that does, ever."""
    return [
        f"{module} imports {other}"
        for module, path in modules_in(package).items()
        if part_of(module) not in {"cli", "demo"} and not lives_in(module, HOMES["av"])
        for other in sorted(set(own_imports(path, package)))
        if lives_in(other, HOMES["av"])
    ]


def test_every_module_is_on_the_map() -> None:
    found = set(modules_in(PACKAGE))

    assert sorted(found - set(MODULES)) == [], "a new module: give it a line in MODULES"
    assert sorted(set(MODULES) - found) == [], "a module that is gone: take its line out of MODULES"


def test_every_part_has_its_neighbours() -> None:
    assert {part_of(module) for module in MODULES} <= set(MAY_IMPORT)
    assert set(MODULES.values()) == {"pure", "acts"}


def test_parts_import_only_their_neighbours() -> None:
    assert wrong_imports(PACKAGE) == []


def test_outside_systems_are_touched_at_home_only() -> None:
    assert homeless_imports(PACKAGE) == []


def test_pure_modules_touch_nothing() -> None:
    assert impure_imports(PACKAGE, MODULES) == []


def test_nothing_but_the_child_reaches_ffmpeg() -> None:
    assert ways_to_ffmpeg(PACKAGE) == []


def test_the_daemon_s_process_never_loads_ffmpeg() -> None:
    """What the imports of imports really load, asked of a fresh interpreter."""
    if not any(part_of(module) == "daemon" for module in MODULES):
        pytest.skip("the map has no daemon yet")

    program = "import sys, encoderd.daemon; print(sorted(m for m in sys.modules if m.split('.')[0] == 'av'))"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=PACKAGE.parent, capture_output=True, text=True, timeout=60, check=False
    )

    assert (run.returncode, run.stdout) == (0, "[]\n"), run.stderr


def test_modules_are_nouns_and_not_drawers() -> None:
    assert [name for name in modules_in(PACKAGE) if DRAWERS & set(name.replace("_", "/").split("/"))] == []


def test_modules_can_be_read_in_one_sitting() -> None:
    lengths = {name: len(path.read_text("utf-8").splitlines()) for name, path in modules_in(PACKAGE).items()}

    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_the_map_s_own_eyes_are_open(tmp_path: Path) -> None:
    """Each rule sees its breach, however the import is written."""
    package = tmp_path / "encoderd"
    sources = {
        "__init__": "",
        "errors": "from . import findings\n",
        "findings": "",
        "intake/__init__": "",
        "intake/watcher": "from encoderd.queue.store import add\nimport watchdog.events, requests\n",
        "queue/__init__": "from ..intake import watcher\n",
        "queue/store": "import sqlalchemy as sa\nfrom encoderd import errors, __version__\n",
        "encode/__init__": "",
        "encode/probe": "import av\n",
        "encode/plan": "def late():\n    import os.path\n    from encoderd.encode import probe\n",
        "daemon_gate": "import encoderd.queue.store, av\n",
        "host/__init__": "",
        "host/cli/__init__": "import encoderd.settings, typer\n",
        "settings": "",
    }
    for name, source in sources.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / f"{name}.py").write_text(source, "utf-8")

    assert wrong_imports(package) == [
        "errors imports findings",
        "host/cli/__init__ imports settings",
        "intake/watcher imports queue/store",
        "queue/__init__ imports intake/watcher",
    ]
    assert homeless_imports(package) == [
        "daemon_gate imports av, whose home is " + " ".join(HOMES["av"]),
        "intake/watcher imports requests, which has no home in HOMES",
    ]
    assert impure_imports(package, {"encode/plan": "pure"}) == ["encode/plan is pure and imports os"]
    assert ways_to_ffmpeg(package) == ["encode/plan imports encode/probe"]
