"""The GPU's firmware: HuC, without which low power has no rate control. Which files are there, and does it run?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from encoderd.root import Root

#: Where the kernel looks. Source: Documentation/driver-api/firmware/fw_search_path.rst.
_FOLDERS = ("/lib/firmware/updates", "/lib/firmware", "/usr/lib/firmware")
_DEBUG = "/sys/kernel/debug/dri"


@dataclass(frozen=True, slots=True, kw_only=True)
class Firmware:
    """
    `files` are HuC's below /lib/firmware ("i915/tgl_huc.bin", packed or not). `huc` is the kernel's word for its state
    by PCI address ("RUNNING", "DISABLED", …), which root alone can read: an address that is not there is unknown.
    """

    files: tuple[str, ...] = ()
    huc: Mapping[str, str] = field(default_factory=dict)

    def has_any(self, prefixes: tuple[str, ...]) -> bool:
        return any(name.startswith(prefixes) for name in self.files)


def read_firmware(root: Root) -> Firmware:
    files = {
        f"{driver}/{name}"
        for folder in _FOLDERS
        for driver in ("i915", "xe")
        for name in root.names(f"{folder}/{driver}")
        if "_huc" in name and root.exists(f"{folder}/{driver}/{name}")
    }
    return Firmware(files=tuple(sorted(files)), huc=_states(root))


def _states(root: Root) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in root.names(_DEBUG):
        address = re.search(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", root.text(f"{_DEBUG}/{entry}/name"))
        if address is None:
            continue
        places = [f"{tile}/uc/huc_info" for tile in root.names(f"{_DEBUG}/{entry}") if tile.startswith("gt")]
        for place in (*places, "i915_huc_load_status"):
            state = _state(root.text(f"{_DEBUG}/{entry}/{place}"))
            # Since Meteor Lake media has a GT of its own, and it is that one's HuC that counts.
            if state and found.get(address[0]) != "RUNNING":
                found[address[0]] = state
    return found


def _state(text: str) -> str:
    """Read "status: RUNNING", and what older kernels say instead. Source: i915's intel_uc_fw_dump, xe's too."""
    match = re.search(r"^\s*(?:HuC )?status:\s*([A-Za-z ]{2,40})$", text, re.MULTILINE)
    if match:
        return match[1].strip().upper()
    return "DISABLED" if "disabled" in text.lower() else ""
