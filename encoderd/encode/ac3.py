"""AC-3 and E-AC-3 at the header: what a packet's sound is, without decoding it. Source: ETSI TS 102 366."""

from __future__ import annotations

from dataclasses import dataclass, field

_SYNC = b"\x0b\x77"
_RATES_HZ = (48_000, 44_100, 32_000)  # fscod
#: frmsizecod / 2 → kbit/s. Source: ETSI TS 102 366, table 4.13.
_BIT_RATES_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
#: acmod → libavutil's name of the layout, without and with LFE. Source: ETSI TS 102 366, table 4.3.
_LAYOUTS = (
    ("stereo", "stereo"),  # 1+1: two sounds, which FFmpeg hands out as left and right
    ("mono", "mono"),
    ("stereo", "2.1"),
    ("3.0", "3.0"),
    ("3.0(back)", "3.0(back)"),
    ("4.0", "4.0"),
    ("quad(side)", "quad(side)"),
    ("5.0(side)", "5.1(side)"),
)
_BLOCK_SAMPLES = 256
_DEPENDENT = 1  # strmtyp
_EAC3_BSID = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Ac3Configuration:
    """
    What stays the same in every frame of a track: `codec` is "ac3" or "eac3", `acmod` 0 is two sounds (1+1).

    `samples` and `bit_rate_bps` tell a frame's length and the rate to encode with; they do not make another track.
    """

    codec: str
    rate_hz: int
    acmod: int
    lfe: bool
    samples: int = field(default=1536, compare=False)
    bit_rate_bps: int = field(default=0, compare=False)

    @property
    def dual_mono(self) -> bool:
        return self.acmod == 0

    @property
    def layout(self) -> str:
        return _LAYOUTS[self.acmod][self.lfe]


def ac3_configuration(data: bytes) -> Ac3Configuration | None:
    """Return the configuration of one whole packet; None when it is broken, or cut off."""
    if len(data) < 8 or data[:2] != _SYNC:
        return None
    found = _eac3(data) if data[5] >> 3 >= _EAC3_BSID else _ac3(data)
    if found is None:
        return None
    configuration, size = found
    if size > len(data) or (size < len(data) and data[size : size + 2] != _SYNC):
        return None
    return configuration


def _ac3(data: bytes) -> tuple[Ac3Configuration, int] | None:
    fscod, size_code, bsid = data[4] >> 6, data[4] & 63, data[5] >> 3
    if fscod >= len(_RATES_HZ) or size_code >> 1 >= len(_BIT_RATES_KBPS):
        return None
    kbps, rate_hz = _BIT_RATES_KBPS[size_code >> 1], _RATES_HZ[fscod]
    words = kbps * 1000 * 1536 // 16 // rate_hz + (size_code & 1 if fscod == 1 else 0)
    acmod, rest = data[6] >> 5, (data[6] << 8 | data[7]) & 0x1FFF
    skipped = 2 * (acmod & 1 and acmod != 1) + 2 * (acmod >> 2) + 2 * (acmod == 2)  # mix levels, dsurmod
    slower = max(0, bsid - 8)  # bsid 9 and 10: half and quarter rates
    configuration = Ac3Configuration(
        codec="ac3",
        rate_hz=rate_hz >> slower,
        acmod=acmod,
        lfe=bool(rest >> (12 - skipped) & 1),
        bit_rate_bps=kbps * 1000 >> slower,
    )
    return configuration, 2 * words


def _eac3(data: bytes) -> tuple[Ac3Configuration, int] | None:
    size = 2 * (((data[2] & 7) << 8 | data[3]) + 1)
    fscod, blocks = data[4] >> 6, (1, 2, 3, 6)[data[4] >> 4 & 3]
    if fscod == 3:
        if data[4] >> 4 & 3 == 3:
            return None
        rate_hz, blocks = _RATES_HZ[data[4] >> 4 & 3] // 2, 6
    else:
        rate_hz = _RATES_HZ[fscod]
    if data[2] >> 6 == _DEPENDENT or data[5] >> 3 > 16:
        return None  # part of a frame whose beginning is lost
    configuration = Ac3Configuration(
        codec="eac3",
        rate_hz=rate_hz,
        acmod=data[4] >> 1 & 7,
        lfe=bool(data[4] & 1),
        samples=_BLOCK_SAMPLES * blocks,
        bit_rate_bps=8 * size * rate_hz // (_BLOCK_SAMPLES * blocks),
    )
    return configuration, size
