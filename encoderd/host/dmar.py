"""
The firmware's ACPI table DMAR: which VT-d units there are, what stands behind them, what memory it keeps for itself.

Layout: Intel VT-d specification, chapter 8, "BIOS considerations"; the tests hold a table that QEMU 7.2 made.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from encoderd.pci import PciAddress

_HEADER_BYTES = 48
_DRHD, _RMRR = 0, 1
_SCOPE_ENDPOINT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """One device that a structure names. `path` is (device, function) from `bus` down through bridges."""

    kind: int
    bus: int
    path: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemappingUnit:
    """One VT-d unit (DRHD). `include_all` is the one that takes every device of its segment that no other one names."""

    segment: int
    register_base: int
    include_all: bool
    scopes: tuple[Scope, ...]

    def names(self, address: PciAddress) -> bool:
        """Does a scope of it name this device itself? Devices behind a bridge are not followed."""
        place = ((address.device, address.function),)
        return self.segment == address.domain and any(
            scope.kind == _SCOPE_ENDPOINT and scope.bus == address.bus and scope.path == place for scope in self.scopes
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservedMemory:
    """Memory (first and last byte) that firmware and some devices share (RMRR)."""

    segment: int
    first: int
    last: int
    scopes: tuple[Scope, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dmar:
    """
    The table. `address_bits` is the host's DMA width (HAW); `torn` tells what could not be read of it, "" when all was.
    """

    address_bits: int
    interrupt_remapping: bool
    x2apic_opt_out: bool
    units: tuple[RemappingUnit, ...]
    reserved: tuple[ReservedMemory, ...]
    torn: str = ""

    def covers(self, address: PciAddress) -> bool:
        """
        Is this device behind some unit: named, or swept up by one that takes all?

        What is behind a bridge counts as covered: which bridge leads to it does not stand in this table.
        """
        if address.bus != 0:
            return True
        return any(unit.names(address) or (unit.include_all and unit.segment == address.domain) for unit in self.units)


def parse_dmar(table: bytes) -> Dmar | None:
    """Return what the table says as far as it can be read, None when it is none at all (not even a header)."""
    if len(table) < _HEADER_BYTES or table[:4] != b"DMAR":
        return None
    (declared,) = struct.unpack_from("<I", table, 4)
    torn = "" if declared == len(table) else f"it says {declared} bytes and has {len(table)}"
    units: list[RemappingUnit] = []
    reserved: list[ReservedMemory] = []
    at = _HEADER_BYTES
    while at + 4 <= len(table):
        kind, length = struct.unpack_from("<HH", table, at)
        body = table[at : at + length]
        if length < 4 or len(body) < length:
            torn = torn or f"the structure at byte {at} says {length} bytes"
            break
        if kind == _DRHD and length >= 16:
            flags, _, segment, base = struct.unpack_from("<BBHQ", body, 4)
            unit_scopes = _scopes(body[16:])
            units.append(
                RemappingUnit(segment=segment, register_base=base, include_all=bool(flags & 1), scopes=unit_scopes)
            )
        elif kind == _RMRR and length >= 24:
            segment, first, last = struct.unpack_from("<HQQ", body, 6)
            reserved.append(ReservedMemory(segment=segment, first=first, last=last, scopes=_scopes(body[24:])))
        at += length
    return Dmar(
        address_bits=table[36] + 1,
        interrupt_remapping=bool(table[37] & 1),
        x2apic_opt_out=bool(table[37] & 2),
        units=tuple(units),
        reserved=tuple(reserved),
        torn=torn,
    )


def _scopes(data: bytes) -> tuple[Scope, ...]:
    found = []
    while len(data) >= 6 and 6 <= data[1] <= len(data):
        kind, length, bus = data[0], data[1], data[5]
        path = data[6 : length - length % 2]
        found.append(Scope(kind=kind, bus=bus, path=tuple(zip(path[::2], path[1::2], strict=True))))
        data = data[length:]
    return tuple(found)
