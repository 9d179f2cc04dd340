"""
Intel's display devices from Sandy Bridge to Panther Lake: generation → marketing name → PCI device ids.

Which ids there are, and of which generation, is what Linux binds its drivers to: include/drm/intel/pciids.h, read in
linux-next of late 2025 (left out: Ponte Vecchio, which has no video encoder, and what is newer than Panther Lake).
Names: pci.ids of 2025-06-09, and Mesa's include/pci_ids/iris_pci_ids.h where that has none. Those of Sandy Bridge, Ivy
Bridge and Haswell, which both describe by the processor instead, are Intel's. A part that neither names has its
family's ("HD Graphics").
"""

from __future__ import annotations

from collections.abc import Mapping

#: Ids as lspci -n writes them, without the vendor, separated by spaces.
GPU_IDS: Mapping[str, Mapping[str, str]] = {
    "SNB": {
        "HD Graphics 2000": "0102 0106 010a",
        "HD Graphics 3000": "0112 0116 0122 0126",
    },
    "IVB": {
        "HD Graphics": "015a",
        "HD Graphics 2500": "0152 0156",
        "HD Graphics 4000": "0162 0166",
        "HD Graphics P4000": "016a",
    },
    "VLV": {
        "HD Graphics": "0f30 0f31 0f32 0f33",
    },
    "HSW": {
        "HD Graphics": (
            "0402 0406 040a 040b 040e 041b 0422 0426 042a 042b 042e 0a02 0a06 0a0a 0a0b 0a0e 0a12 0a1a 0a1b 0a22 "
            "0a2a 0a2b 0c02 0c06 0c0a 0c0b 0c0e 0c12 0c16 0c1a 0c1b 0c1e 0c22 0c26 0c2a 0c2b 0c2e 0d02 0d06 0d0a "
            "0d0b 0d0e 0d12 0d16 0d1a 0d1b 0d1e 0d2a 0d2b 0d2e"
        ),
        "HD Graphics 4200": "0a1e",
        "HD Graphics 4400": "041e 0a16",
        "HD Graphics 4600": "0412 0416",
        "HD Graphics 5000": "0a26",
        "HD Graphics P4600": "041a",
        "Iris Graphics 5100": "0a2e",
        "Iris Pro Graphics 5200": "0d22",
        "Iris Pro Graphics P5200": "0d26",
    },
    "BDW": {
        "HD Graphics": "1602 1606 160a 160b 160d 160e 161b 161d 162d 162e 1632 1636 163a 163b 163d 163e",
        "HD Graphics 5300": "161e",
        "HD Graphics 5500": "1616",
        "HD Graphics 5600": "1612",
        "HD Graphics 6000": "1626",
        "HD Graphics P5700": "161a",
        "Iris Graphics 6100": "162b",
        "Iris Pro Graphics 6200": "1622",
        "Iris Pro Graphics P6300": "162a",
    },
    "CHV": {
        "HD Graphics": "22b0 22b1 22b2 22b3",
    },
    "SKL": {
        "HD Graphics": "190a 190e 1913 1915 1917 191a 192a",
        "HD Graphics 510": "1902 1906 190b",
        "HD Graphics 515": "191e",
        "HD Graphics 520": "1916 1921",
        "HD Graphics 530": "1912 191b",
        "HD Graphics 535": "1923",
        "HD Graphics P530": "191d",
        "Iris Graphics 540": "1926",
        "Iris Graphics 550": "1927",
        "Iris Graphics 555": "192b",
        "Iris Graphics P555": "192d",
        "Iris Pro Graphics 580": "1932 193b",
        "Iris Pro Graphics P580": "193a 193d",
    },
    "APL": {
        "HD Graphics": "0a84 1a84 1a85",
        "HD Graphics 500": "5a85",
        "HD Graphics 505": "5a84",
    },
    "GLK": {
        "UHD Graphics 600": "3185",
        "UHD Graphics 605": "3184",
    },
    "KBL": {
        "HD Graphics": "5908 590a 590e 5913 5915 593b",
        "HD Graphics 610": "5902 5906 590b",
        "HD Graphics 615": "591e",
        "HD Graphics 620": "5916 5921",
        "HD Graphics 630": "5912 591b",
        "HD Graphics 635": "5923",
        "HD Graphics P630": "591a 591d",
        "Iris Plus Graphics 640": "5926",
        "Iris Plus Graphics 650": "5927",
        "UHD Graphics 620": "5917",
    },
    "AML": {
        "UHD Graphics": "87ca",
        "UHD Graphics 615": "591c",
        "UHD Graphics 617": "87c0",
    },
    "CML": {
        "UHD Graphics": "9b41 9ba2 9baa 9bac 9bc2 9bc4 9bca 9bcc",
        "UHD Graphics 610": "9ba4 9ba5 9ba8",
        "UHD Graphics 620": "9b21",
        "UHD Graphics 630": "9bc5 9bc8",
        "UHD Graphics P630": "9bc6 9be6 9bf6",
    },
    "CFL": {
        "Iris Plus Graphics 645": "3ea6",
        "Iris Plus Graphics 655": "3ea5 3ea8",
        "UHD Graphics": "3ea7",
        "UHD Graphics 610": "3e90 3e93 3e99 3e9c",
        "UHD Graphics 620": "3ea9",
        "UHD Graphics 630": "3e91 3e92 3e98 3e9b",
        "UHD Graphics P630": "3e94 3e96 3e9a",
    },
    "WHL": {
        "UHD Graphics": "3ea2 3ea3 3ea4",
        "UHD Graphics 610": "3ea1",
        "UHD Graphics 620": "3ea0",
    },
    "CNL": {
        "HD Graphics": "5a40 5a41 5a42 5a44 5a49 5a4a 5a4c 5a50 5a51 5a52 5a54 5a59 5a5a 5a5c",
    },
    "ICL": {
        "HD Graphics": "8a50 8a57 8a59 8a5b 8a5d 8a71",
        "Iris Plus Graphics": "8a54",
        "Iris Plus Graphics G4": "8a5a 8a5c",
        "Iris Plus Graphics G7": "8a51 8a52 8a53",
        "UHD Graphics": "8a70",
        "UHD Graphics G1": "8a56 8a58",
    },
    "EHL": {
        "UHD Graphics": "4541 4551 4555 4557 4570 4571",
    },
    "JSL": {
        "UHD Graphics": "4e51 4e55 4e57 4e61 4e71",
    },
    "TGL": {
        "Intel Graphics": "9a59",
        "Iris Xe Graphics": "9a40 9a49",
        "UHD Graphics": "9a60 9a68 9a70 9ac0 9ac9 9ad9 9af8",
        "UHD Graphics G4": "9a78",
    },
    "RKL": {
        "UHD Graphics": "4c80 4c8c 4c9a",
        "UHD Graphics 730": "4c8b",
        "UHD Graphics 750": "4c8a",
        "UHD Graphics P750": "4c90",
    },
    "DG1": {
        "Iris Xe Graphics": "4908",
        "Iris Xe MAX 100": "4909",
        "Iris Xe MAX Graphics": "4905",
        "Iris Xe Pod": "4906",
    },
    "SG1": {
        "Server GPU SG-18M": "4907",
    },
    "ADL-S": {
        "UHD Graphics": "468a 468b",
        "UHD Graphics 710": "4693",
        "UHD Graphics 730": "4682 4692",
        "UHD Graphics 770": "4680 4688 4690",
    },
    "ADL-P": {
        "Intel Graphics": "46a2 46b2 46c2",
        "Iris Xe Graphics": "46a6 46a8 46aa 46b0 46b1 46c1",
        "UHD Graphics": "4626 4628 462a 46a0 46a1 46a3 46b3 46c0 46c3",
    },
    "ADL-N": {
        "Intel Graphics": "46d3 46d4",
        "UHD Graphics": "46d0 46d1 46d2",
    },
    "RPL-S": {
        "UHD Graphics": "a781 a782 a783 a788 a789 a78a a78b",
        "UHD Graphics 770": "a780",
    },
    "RPL-U": {
        "Intel Graphics": "a7ac a7ad",
        "Iris Xe Graphics": "a7a1",
        "UHD Graphics": "a721 a7a9",
    },
    "RPL-P": {
        "Intel Graphics": "a7aa a7ab",
        "Iris Xe Graphics": "a7a0",
        "UHD Graphics": "a720 a7a8",
    },
    "DG2": {
        "Arc A310": "56a6",
        "Arc A310E": "56bb",
        "Arc A350E": "56bd",
        "Arc A350M": "5694",
        "Arc A370E": "56bc",
        "Arc A370M": "5693",
        "Arc A380": "56a5",
        "Arc A380E": "56ba",
        "Arc A530M": "5697",
        "Arc A550M": "5692",
        "Arc A570M": "5696",
        "Arc A580": "56a2",
        "Arc A580E": "56bf",
        "Arc A730M": "5691",
        "Arc A750": "56a1",
        "Arc A750E": "56be",
        "Arc A770": "56a0",
        "Arc A770M": "5690",
        "Arc Graphics": "56a3 56a4",
        "Arc Pro A30M": "56b0",
        "Arc Pro A40/A50": "56b1",
        "Arc Pro A60": "56b3",
        "Arc Pro A60M": "56b2",
        "Iris Xe MAX A200M": "5695",
    },
    "ATS-M": {
        "Data Center GPU Flex 140": "56c1",
        "Data Center GPU Flex 170": "56c0",
        "Data Center GPU Flex 170V": "56c2",
    },
    "MTL": {
        "Arc Graphics": "7d55",
        "Intel Graphics": "7d40 7d45 7d60 7dd5",
    },
    "ARL": {
        "Intel Graphics": "7d41 7d51 7d67 7dd1 b640",
    },
    "LNL": {
        "Arc Graphics 130V/140V": "64a0",
        "Intel Graphics": "6420 64b0",
    },
    "BMG": {
        "Arc B570": "e20c",
        "Arc B580": "e20b",
        "Intel Graphics": "e202 e209 e20d e210 e211 e212 e216 e220 e221 e222 e223",
    },
    "PTL": {
        "Intel Graphics": "b080 b081 b082 b083 b084 b085 b086 b087 b08f b090 b0a0 b0b0",
    },
}
