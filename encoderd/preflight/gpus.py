"""
What each Intel GPU needs on Linux to encode H.264 through Quick Sync, and what it then can do.

Sources: what the full and the free VA driver encode, HuC and its kernels, media-driver's README; HuC's files up to
Alder Lake, Linux 5.16, drivers/gpu/drm/i915/gt/uc/intel_uc_fw.c, and since, Debian's package firmware-intel-graphics;
which runtime serves whom, the platform lists of vpl-gpu-rt and Media SDK as their documents give them. The kernels from
which on a driver binds by itself are common knowledge where no commit that drops its force_probe was found. None of it
was tried on hardware by us: the trial encode has the last word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from encoderd.preflight.gpu_ids import GPU_IDS

#: The runtimes' file names, which are also their names here.
NEW_RUNTIME = "libmfx-gen.so.1.2"
OLD_RUNTIME = "libmfxhw64.so.1"

#: What h264_qsv's rate controls are called in the settings.
PAK_RATE_CONTROLS = frozenset({"icq", "la_icq", "cqp", "qvbr", "vbr", "cbr"})
#: There is no look-ahead in low power: refused before DG2, and silently left out since.
LOW_POWER_RATE_CONTROLS = PAK_RATE_CONTROLS - {"la_icq"}
#: Without HuC only a constant quantizer is left of them.
NO_HUC_RATE_CONTROLS = frozenset({"cqp"})

Version = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """
    What GPUs of one generation have in common.

    `runtimes` are those that serve it, the better one first, () where none is open. `pak` is encoding with shaders
    (PAK and VME), which the full VA driver alone can do; `low_power` is the fixed-function encoder (VDEnc), which
    both can. `low_power_bframes` is how many it makes between two others at most. `drivers` are the kernel's, the usual
    one first; `kernel` is the first one that binds it without force_probe, (0, 0) for "every one that still runs".
    `huc` are HuC's files under /lib/firmware as prefixes, any one of which will do; `huc_by_default` is False where
    the kernel loads it only with enable_guc=2, which it understands from `huc_kernel` on.
    """

    key: str
    name: str
    runtimes: tuple[str, ...] = ()
    pak: bool = False
    low_power: bool = False
    low_power_bframes: int = 0
    drivers: tuple[str, ...] = ("i915",)
    kernel: Version = (0, 0)
    huc: tuple[str, ...] = ()
    huc_by_default: bool = False
    huc_kernel: Version = (0, 0)

    @property
    def va_driver(self) -> str:
        """The name that LIBVA_DRIVER_NAME would have: the runtimes work with iHD only."""
        return "iHD" if self.runtimes else "i965"


@dataclass(frozen=True, slots=True, kw_only=True)
class Auto:
    """What the settings' "auto" means on one GPU with one VA driver, and which rate controls are then left."""

    low_power: str  # "on" or "off"
    bframes: int
    rate_controls: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One model. `device_id` is PCI's, the vendor is Intel."""

    device_id: int
    name: str
    generation: Generation

    @property
    def text(self) -> str:
        """As messages name it: "HD Graphics 530 (8086:1912, Skylake)"."""
        return f"{self.name} (8086:{self.device_id:04x}, {self.generation.name})"

    def encodes(self, *, low_power: bool, full_driver: bool | None = None) -> bool:
        """Can it encode this way? `full_driver` is None where it is unknown which VA driver is there: then yes."""
        generation = self.generation
        return generation.low_power if low_power else generation.pak and full_driver is not False

    def rate_controls(self, low_power: bool, *, huc: bool = True) -> frozenset[str]:
        """Return those of h264_qsv that work this way, with the full VA driver; empty when it cannot encode so."""
        if not self.encodes(low_power=low_power):
            return frozenset()
        if not low_power:
            return PAK_RATE_CONTROLS
        return LOW_POWER_RATE_CONTROLS if huc else NO_HUC_RATE_CONTROLS

    def interlaces(self, low_power: bool) -> bool:
        """Can it encode fields? The fixed-function encoder makes progressive frames only."""
        return self.encodes(low_power=low_power) and not low_power

    def auto(self, *, full_driver: bool | None = None, huc: bool = True) -> Auto:
        """
        Decide the settings' "auto": shaders where there are any, else low power.

        B-frames are the runtimes' own choice: two with shaders, none in low power before DG2, three since.
        """
        low_power = not self.encodes(low_power=False, full_driver=full_driver) and self.generation.low_power
        return Auto(
            low_power="on" if low_power else "off",
            bframes=self.generation.low_power_bframes if low_power else 2,
            rate_controls=self.rate_controls(low_power, huc=huc),
        )


_OLD = (OLD_RUNTIME,)
_BOTH = (NEW_RUNTIME, OLD_RUNTIME)
_NEW = (NEW_RUNTIME,)
_I915_XE = ("i915", "xe")


# fmt: off
_GENERATIONS = (
    Generation(key="SNB", name="Sandy Bridge"),
    Generation(key="IVB", name="Ivy Bridge"),
    Generation(key="VLV", name="Bay Trail"),
    Generation(key="HSW", name="Haswell"),
    Generation(key="BDW", name="Broadwell", runtimes=_OLD, pak=True),
    Generation(key="CHV", name="Braswell"),
    Generation(key="SKL", name="Skylake", runtimes=_OLD, pak=True, low_power=True, huc=("i915/skl_huc",),
               huc_kernel=(4, 11)),
    Generation(key="APL", name="Apollo Lake", runtimes=_OLD, pak=True, low_power=True, huc=("i915/bxt_huc",),
               huc_kernel=(4, 11)),
    Generation(key="GLK", name="Gemini Lake", runtimes=_OLD, pak=True, low_power=True, huc=("i915/glk_huc",),
               huc_kernel=(4, 11)),
    Generation(key="KBL", name="Kaby Lake", runtimes=_OLD, pak=True, low_power=True, huc=("i915/kbl_huc",),
               huc_kernel=(4, 11)),
    Generation(key="AML", name="Amber Lake", runtimes=_OLD, pak=True, low_power=True, huc=("i915/kbl_huc",),
               huc_kernel=(4, 11)),
    Generation(key="CFL", name="Coffee Lake", runtimes=_OLD, pak=True, low_power=True, huc=("i915/kbl_huc",),
               huc_kernel=(4, 15)),
    Generation(key="WHL", name="Whiskey Lake", runtimes=_OLD, pak=True, low_power=True, huc=("i915/kbl_huc",),
               huc_kernel=(4, 15)),
    Generation(key="CML", name="Comet Lake", runtimes=_OLD, pak=True, low_power=True,
               huc=("i915/cml_huc", "i915/kbl_huc"), huc_kernel=(4, 15)),
    Generation(key="CNL", name="Cannon Lake", runtimes=_OLD, pak=True, low_power=True),
    Generation(key="ICL", name="Ice Lake", runtimes=_OLD, pak=True, low_power=True, kernel=(5, 2),
               huc=("i915/icl_huc",), huc_kernel=(5, 2)),
    Generation(key="EHL", name="Elkhart Lake", runtimes=_OLD, low_power=True, kernel=(5, 8),
               huc=("i915/ehl_huc",), huc_kernel=(5, 8)),
    Generation(key="JSL", name="Jasper Lake", runtimes=_OLD, low_power=True, kernel=(5, 12),
               huc=("i915/ehl_huc",), huc_kernel=(5, 8)),
    Generation(key="TGL", name="Tiger Lake", runtimes=_BOTH, pak=True, low_power=True, drivers=_I915_XE,
               kernel=(5, 9), huc=("i915/tgl_huc",), huc_kernel=(5, 9)),
    Generation(key="RKL", name="Rocket Lake", runtimes=_BOTH, pak=True, low_power=True, drivers=_I915_XE,
               kernel=(5, 14), huc=("i915/tgl_huc",), huc_kernel=(5, 17)),
    Generation(key="DG1", name="DG1", runtimes=_BOTH, pak=True, low_power=True, drivers=_I915_XE,
               kernel=(6, 17), huc=("i915/dg1_huc",), huc_by_default=True),
    # libmfx-gen leaves this one out of its platforms.
    Generation(key="SG1", name="SG1", runtimes=_OLD, pak=True, low_power=True, drivers=_I915_XE,
               kernel=(6, 17), huc=("i915/dg1_huc",), huc_by_default=True),
    Generation(key="ADL-S", name="Alder Lake-S", runtimes=_NEW, pak=True, low_power=True, drivers=_I915_XE,
               kernel=(5, 17), huc=("i915/tgl_huc",), huc_by_default=True),
    Generation(key="ADL-P", name="Alder Lake-P", runtimes=_NEW, pak=True, low_power=True, drivers=_I915_XE,
               kernel=(5, 17), huc=("i915/tgl_huc",), huc_by_default=True),
    Generation(key="ADL-N", name="Alder Lake-N", runtimes=_NEW, pak=True, low_power=True, drivers=_I915_XE,
               kernel=(6, 2), huc=("i915/tgl_huc",), huc_by_default=True),
    Generation(key="RPL-S", name="Raptor Lake-S", runtimes=_NEW, pak=True, low_power=True, drivers=_I915_XE,
               kernel=(6, 2), huc=("i915/tgl_huc",), huc_by_default=True),
    Generation(key="RPL-P", name="Raptor Lake-P", runtimes=_NEW, pak=True, low_power=True, drivers=_I915_XE,
               kernel=(6, 2), huc=("i915/tgl_huc",), huc_by_default=True),
    Generation(key="RPL-U", name="Raptor Lake-U", runtimes=_NEW, pak=True, low_power=True, drivers=_I915_XE,
               kernel=(6, 2), huc=("i915/tgl_huc",), huc_by_default=True),
    Generation(key="DG2", name="Alchemist", runtimes=_NEW, low_power=True, low_power_bframes=3, drivers=_I915_XE,
               kernel=(6, 2), huc=("i915/dg2_huc",), huc_by_default=True),
    Generation(key="ATS-M", name="Arctic Sound-M", runtimes=_NEW, low_power=True, low_power_bframes=3,
               drivers=_I915_XE, kernel=(6, 2), huc=("i915/dg2_huc",), huc_by_default=True),
    Generation(key="MTL", name="Meteor Lake", runtimes=_NEW, low_power=True, low_power_bframes=3,
               drivers=_I915_XE, kernel=(6, 8), huc=("i915/mtl_huc",), huc_by_default=True),
    Generation(key="ARL", name="Arrow Lake", runtimes=_NEW, low_power=True, low_power_bframes=3,
               drivers=_I915_XE, kernel=(6, 9), huc=("i915/mtl_huc",), huc_by_default=True),
    Generation(key="LNL", name="Lunar Lake", runtimes=_NEW, low_power=True, low_power_bframes=3,
               drivers=("xe",), kernel=(6, 12), huc=("xe/lnl_huc",), huc_by_default=True),
    Generation(key="BMG", name="Battlemage", runtimes=_NEW, low_power=True, low_power_bframes=3,
               drivers=("xe",), kernel=(6, 12), huc=("xe/bmg_huc",), huc_by_default=True),
    Generation(key="PTL", name="Panther Lake", runtimes=_NEW, low_power=True, low_power_bframes=3,
               drivers=("xe",), kernel=(6, 17), huc=("xe/ptl_huc",), huc_by_default=True),
)
# fmt: on

#: By the key that `GPU_IDS` uses.
GENERATIONS: Mapping[str, Generation] = {generation.key: generation for generation in _GENERATIONS}


@cache
def _models() -> Mapping[int, Gpu]:
    return {
        int(device_id, 16): Gpu(device_id=int(device_id, 16), name=name, generation=GENERATIONS[key])
        for key, names in GPU_IDS.items()
        for name, ids in names.items()
        for device_id in ids.split()
    }


def gpu_for(device_id: int) -> Gpu | None:
    """Return what is known of 8086:`device_id`, None for an id that is not in the table: newer than it, as a rule."""
    return _models().get(device_id)
