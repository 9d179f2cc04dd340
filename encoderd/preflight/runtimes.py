"""
The runtimes as libvpl's dispatcher finds them, in its order, without loading any.

Source: libvpl 2.16, src/linux/mfxvideo (loader.cpp), and strace. "-9" is its word for everything that goes wrong here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from encoderd.preflight.elf import HEADER_BYTES, elf_damage
from encoderd.preflight.gpus import NEW_RUNTIME, OLD_RUNTIME, Gpu
from encoderd.root import Root

PRIORITY = "ONEVPL_PRIORITY_PATH"
SEARCH = "ONEVPL_SEARCH_PATH"
SYSTEM_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib", "/lib64", "/usr/lib64")
#: Of Intel's closed Media Server Studio, long out of service.
STUDIO_FOLDERS = ("/opt/intel/mediasdk/lib", "/opt/intel/mediasdk/lib64")
#: Any other implementation that names itself as one ("libvpl…"): a test's, or a vendor's.
OTHER = "libvpl"
#: The result of a dlopen that did not come back.
HANGS = "hangs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """
    One library. `kind` is NEW_RUNTIME, OLD_RUNTIME or OTHER; `source` is the variable or folder it was found through;
    `real` is its path without links; `damage` is "" when its ELF header is sound.
    """

    kind: str
    path: str
    real: str
    source: str
    damage: str = ""


def search_folders(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return (source, folder) in the dispatcher's order. Neither the current directory nor ld.so.cache is searched."""
    places = [(PRIORITY, folder) for folder in _listed(environ, PRIORITY)]
    places += [("LD_LIBRARY_PATH", folder) for folder in _listed(environ, "LD_LIBRARY_PATH")]
    places += [(folder, folder) for folder in SYSTEM_FOLDERS]
    places += [(SEARCH, folder) for folder in _listed(environ, SEARCH)]
    return places + [(folder, folder) for folder in STUDIO_FOLDERS]


def _listed(environ: Mapping[str, str], name: str) -> list[str]:
    return [folder.rstrip("/") or "/" for folder in environ.get(name, "").split(":") if folder]


def kind_of(name: str) -> str:
    """Return the kind of a file of this name, "" when the dispatcher passes it by."""
    if ".so" not in name or any(word in name for word in ("libvpl.so", "libmfx.so", "libmfx-tracer")):
        return ""
    if name in (NEW_RUNTIME, OLD_RUNTIME):
        return name
    return OTHER if name.startswith("libvpl") else ""


def find_runtimes(root: Root, environ: Mapping[str, str], machine: str) -> tuple[Runtime, ...]:
    """Return every candidate once, by its real path, in the order in which the dispatcher meets them."""
    found: dict[str, Runtime] = {}
    seen: set[str] = set()
    for source, folder in search_folders(environ):
        if (place := root.real(folder)) in seen:
            continue
        seen.add(place)
        for name in root.names(folder):
            kind = kind_of(name)
            path = f"{folder}/{name}"
            if not kind or (real := root.real(path)) in found:
                continue
            damage = elf_damage(root.head(path, HEADER_BYTES), root.size_bytes(path), machine)
            found[real] = Runtime(kind=kind, path=path, real=real, source=source, damage=damage)
    return tuple(found.values())


def to_load(runtimes: Iterable[Runtime]) -> list[str]:
    """Return the paths that are worth a dlopen in a child: what the header condemns is condemned already."""
    return [runtime.path for runtime in runtimes if not runtime.damage]


def winner(runtimes: Sequence[Runtime], gpu: Gpu | None, loads: Mapping[str, str]) -> Runtime | None:
    """
    Return the runtime that a session on `gpu` would get, None when there is none.

    A sound library that serves the GPU, in this order: those of ONEVPL_PRIORITY_PATH; then the implementations of VPL,
    which hide Media SDK's on the same device; then Media SDK's. A `gpu` that is None is newer than the table. `loads`
    are the results of dlopen by path ("" is good); a path that is not in it counts as loadable.
    """
    serving = [
        runtime
        for runtime in runtimes
        if not runtime.damage
        and not loads.get(runtime.path, "")
        and (runtime.kind == OTHER or runtime.kind in (gpu.generation.runtimes if gpu else (NEW_RUNTIME,)))
    ]
    return min(serving, key=lambda runtime: (runtime.source != PRIORITY, runtime.kind == OLD_RUNTIME), default=None)
