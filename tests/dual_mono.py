"""ARIB's dual mono, as Japanese broadcasters send it: two languages in one AAC frame, made by joining two mono ones."""

from __future__ import annotations

#: Bits of id_syn_ele and element_instance_tag before an element's own. Source: ISO/IEC 14496-3, table 4.4.
_HEAD = 7
#: A program_config_element with two single channels in front, AAC-LC, 48 kHz, no comment: whole bytes.
_PROGRAM = 0b101_0000_01_0011_0010_0000_0000_00_000_0000_0_0_0_00000_00001_0_00000000
_ADTS_SIZE = 7


def dual_mono_adts(main: list[bytes], sub: list[bytes], *, program: bool = False) -> list[bytes]:
    """
    Join the mono AAC-LC frames of two encoders into ADTS frames of channel configuration 0, 48 kHz.

    The frames may have ADTS headers or none. `program`: with a program_config_element in each; broadcasters send none.
    """
    joined = []
    for pair in zip(main, sub, strict=False):
        bits = "".join(f"{tag:07b}" + _inside(_without_header(frame)) for tag, frame in enumerate(pair)) + "111"
        bits += "0" * (-len(bits) % 8)
        block = int(bits, 2).to_bytes(len(bits) // 8, "big")
        if program:
            block = _PROGRAM.to_bytes(7, "big") + block
        size = _ADTS_SIZE + len(block)
        head = 0xFFF_1 << 40 | 1 << 38 | 3 << 34 | size << 13 | 0x7FF << 2
        joined.append(head.to_bytes(_ADTS_SIZE, "big") + block)
    return joined


def _without_header(frame: bytes) -> bytes:
    if frame[0] != 0xFF or frame[1] & 0xF6 != 0xF0:
        return frame
    return frame[_ADTS_SIZE if frame[1] & 1 else _ADTS_SIZE + 2 :]


def _inside(block: bytes) -> str:
    """The bits of the single channel element, without its head and the end element behind it."""
    bits = "".join(f"{byte:08b}" for byte in block)
    while bits.startswith("110"):  # fill elements: the encoder's name
        count = int(bits[3:7], 2)
        at = 7
        if count == 15:
            count, at = int(bits[7:15], 2) + 14, 15
        bits = bits[at + 8 * count :]
    assert bits.startswith("000"), "not a mono frame"
    return bits.rstrip("0")[_HEAD:-3]
