"""The table of Intel's GPUs: whole, without doubles, and right where one can look it up."""

from __future__ import annotations

from collections import Counter

import pytest

from encoderd.preflight.gpu_ids import GPU_IDS
from encoderd.preflight.gpus import GENERATIONS, NEW_RUNTIME, OLD_RUNTIME, Auto, Generation, Gpu, gpu_for
from encoderd.preflight.packages import LINES, Distribution, Part, how_to_get, how_to_repair

ALL_IDS = [device_id for names in GPU_IDS.values() for ids in names.values() for device_id in ids.split()]


def known(device_id: int) -> Gpu:
    gpu = gpu_for(device_id)
    assert gpu is not None
    return gpu


def test_every_generation_has_models() -> None:
    assert sorted(GENERATIONS) == sorted(GPU_IDS)
    assert all(GPU_IDS.values())


def test_no_id_stands_twice() -> None:
    assert [device_id for device_id, times in Counter(ALL_IDS).items() if times > 1] == []


def test_ids_are_written_as_lspci_does() -> None:
    assert [i for i in ALL_IDS if len(i) != 4 or f"{int(i, 16):04x}" != i] == []
    assert len(ALL_IDS) > 350


def test_every_model_and_generation_has_a_name() -> None:
    assert all(name.strip() == name != "" for names in GPU_IDS.values() for name in names)
    assert all(generation.name for generation in GENERATIONS.values())
    assert len({generation.name for generation in GENERATIONS.values()}) == len(GENERATIONS)


@pytest.mark.parametrize(
    ("device_id", "name", "generation", "runtimes"),
    [
        (0x0102, "HD Graphics 2000", "SNB", ()),
        (0x0412, "HD Graphics 4600", "HSW", ()),
        (0x1616, "HD Graphics 5500", "BDW", (OLD_RUNTIME,)),
        (0x1912, "HD Graphics 530", "SKL", (OLD_RUNTIME,)),
        (0x5A85, "HD Graphics 500", "APL", (OLD_RUNTIME,)),
        (0x5912, "HD Graphics 630", "KBL", (OLD_RUNTIME,)),
        (0x3E92, "UHD Graphics 630", "CFL", (OLD_RUNTIME,)),
        (0x9BC5, "UHD Graphics 630", "CML", (OLD_RUNTIME,)),
        (0x8A52, "Iris Plus Graphics G7", "ICL", (OLD_RUNTIME,)),
        (0x4E61, "UHD Graphics", "JSL", (OLD_RUNTIME,)),
        (0x9A49, "Iris Xe Graphics", "TGL", (NEW_RUNTIME, OLD_RUNTIME)),
        (0x4C8A, "UHD Graphics 750", "RKL", (NEW_RUNTIME, OLD_RUNTIME)),
        (0x4680, "UHD Graphics 770", "ADL-S", (NEW_RUNTIME,)),
        (0x46D1, "UHD Graphics", "ADL-N", (NEW_RUNTIME,)),
        (0xA780, "UHD Graphics 770", "RPL-S", (NEW_RUNTIME,)),
        (0x56A5, "Arc A380", "DG2", (NEW_RUNTIME,)),
        (0x7D55, "Arc Graphics", "MTL", (NEW_RUNTIME,)),
        (0x64A0, "Arc Graphics 130V/140V", "LNL", (NEW_RUNTIME,)),
        (0xE20B, "Arc B580", "BMG", (NEW_RUNTIME,)),
        (0xB080, "Intel Graphics", "PTL", (NEW_RUNTIME,)),
    ],
)
def test_a_model(device_id: int, name: str, generation: str, runtimes: tuple[str, ...]) -> None:
    gpu = known(device_id)

    assert (name, generation, runtimes) == (gpu.name, gpu.generation.key, gpu.generation.runtimes)


def test_a_gpu_newer_than_the_table() -> None:
    """An unknown id is no error."""
    assert gpu_for(0xD740) is None
    assert gpu_for(-1) is None


def test_how_messages_name_a_gpu() -> None:
    assert "HD Graphics 530 (8086:1912, Skylake)" == known(0x1912).text


@pytest.mark.parametrize(
    ("device_id", "full_driver", "low_power", "bframes"),
    [
        (0x1912, True, "off", 2),
        (0x1912, None, "off", 2),
        (0x1912, False, "on", 0),
        (0x1616, True, "off", 2),
        (0x1616, False, "off", 2),  # nothing else is there; va_driver says so
        (0x4E61, True, "on", 0),
        (0x46D1, True, "off", 2),
        (0x46D1, False, "on", 0),
        (0x56A5, True, "on", 3),
        (0x64A0, False, "on", 3),
    ],
)
def test_what_auto_means(device_id: int, full_driver: bool | None, low_power: str, bframes: int) -> None:
    """Shaders where GPU and driver have them, else low power."""
    auto = known(device_id).auto(full_driver=full_driver)

    assert (low_power, bframes) == (auto.low_power, auto.bframes)


def test_rate_controls() -> None:
    """Look-ahead needs shaders; low power without HuC has a constant quantizer only."""
    skylake, broadwell, arc = known(0x1912), known(0x1616), known(0x56A5)

    assert {"icq", "la_icq", "cqp", "qvbr", "vbr", "cbr"} == skylake.rate_controls(low_power=False)
    assert {"icq", "cqp", "qvbr", "vbr", "cbr"} == skylake.rate_controls(low_power=True)
    assert {"cqp"} == skylake.rate_controls(low_power=True, huc=False)
    assert frozenset() == broadwell.rate_controls(low_power=True)
    assert frozenset() == arc.rate_controls(low_power=False)
    assert Auto(low_power="on", bframes=3, rate_controls=frozenset({"cqp"})) == arc.auto(huc=False)
    assert skylake.interlaces(low_power=False)
    assert not skylake.interlaces(low_power=True)


@pytest.mark.parametrize("generation", GENERATIONS.values(), ids=GENERATIONS)
def test_a_generation_is_consistent(generation: Generation) -> None:
    """Whatever has a runtime can encode in some way; a driver there always is; xe's firmware is xe's alone."""
    assert bool(generation.runtimes) == (generation.pak or generation.low_power)
    assert set(generation.drivers) <= {"i915", "xe"} and generation.drivers
    assert generation.va_driver == ("iHD" if generation.runtimes else "i965")
    assert all(prefix.startswith(generation.drivers) for prefix in generation.huc)
    assert (generation.low_power_bframes > 0) <= (generation.low_power and not generation.pak)
    assert not (generation.huc_by_default and generation.huc_kernel != (0, 0))


@pytest.mark.parametrize("part", Part)
@pytest.mark.parametrize(("family", "version"), [(family, version) for family in LINES for version in LINES[family]])
def test_every_distribution_says_how_to_get_every_part(family: str, version: str, part: Part) -> None:
    line = how_to_get(part, Distribution(likes=(family,), version=version), "/opt/encoderd/bin/pip")

    assert line
    assert "{" not in line.replace("${f##*.}", "")
    assert any(word in line for word in ("apt install", "dnf", "Debian 13"))


def test_a_distribution_that_nobody_knows() -> None:
    """Words instead of a command."""
    line = how_to_get(Part.NEW_RUNTIME, Distribution(likes=("gentoo",)))

    assert "Install the VPL GPU runtime (libmfx-gen.so.1.2; Debian's libmfx-gen1.2)" == line
    assert "pip install --force-reinstall --no-binary av" in how_to_get(Part.VAAPI_PYAV, Distribution(), "pip")


def test_relatives_and_newer_versions_have_the_newest_lines() -> None:
    newest = how_to_get(Part.FIRMWARE, Distribution(likes=("debian",), version="13"))

    assert newest == how_to_get(Part.FIRMWARE, Distribution(likes=("debian",), version="14"))
    assert newest == how_to_get(Part.FIRMWARE, Distribution(likes=("raspbian", "debian"), version="12"))
    mint = Distribution(likes=("linuxmint", "ubuntu", "debian"), version="22")
    assert "linux-generic" in how_to_get(Part.KERNEL, mint)


def test_how_to_put_a_file_there_again() -> None:
    assert "apt install --reinstall libmfx1" == how_to_repair(
        Part.OLD_RUNTIME, Distribution(likes=("debian",), version="12")
    )
    assert "dnf reinstall intel-mediasdk" == how_to_repair(Part.OLD_RUNTIME, Distribution(likes=("fedora",)))
