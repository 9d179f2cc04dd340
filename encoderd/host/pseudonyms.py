"""
Stand-ins for the names of people, hosts, networks and disks: the same name gets the same stand-in everywhere.

Relations survive that way: a mount's source is still the disk below. Where somebody parses it, a stand-in has the form
of what it stands for (02:00:00:00:00:01, 192.0.2.1).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping

#: Words that name nobody, and that facts are made of. A host or a user that is called so keeps its name.
_NOBODY = frozenset(
    re.findall(
        r"\S+",
        """
        root admin user guest host server desktop localhost localdomain debian ubuntu fedora arch proxmox pve linux
        kernel intel nvidia amdgpu kvm qemu libvirt vfio vfio-pci i915 xe iommu pci usb video render audio media tv plex
        jellyfin encoderd docker podman systemd sshd on off yes no default live system service daemon account test
        machine computer hypervisor virtual storage backup encoder device devices driver drivers module modules bridge
        display graphics console kernel memory network ethernet wireless session slice scope group groups config class
        """,
    )
)
#: Parts of paths that nobody chose, below folders whose other parts their owner did.
_KNOWN_PARTS = frozenset(
    re.findall(
        r"\S+",
        """
        home srv mnt media root opt var lib log cache tmp libvirt qemu images vz dump template iso docker containers
        storage overlay overlay2 volumes lxc machines encoderd encoderd-host run spool mail snap flatpak boot efi data
        export vm vms
        """,
    )
)
_SYSTEM = ("/proc", "/sys", "/dev", "/etc", "/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/boot", "/run")
#: Folders of /dev that the kernel and udev name; any other one is a volume group's or an array's.
_DEV_FOLDERS = frozenset(
    re.findall(r"\S+", "disk mapper dri vfio input snd char block bus dvb shm pts fd net usb cpu hugepages mqueue zvol")
)
_DEV_NODE = re.compile(r"(sd|hd|vd|xvd|nvme|mmcblk|dm-|md\d|loop|zram|sr|fb|tty|kvm|vhost-|vfio|zfs|rtc|null|zero)")
#: From this length on a word does not occur in others by chance.
_LONG = 6
_SUFFIX = re.compile(r"\.(?:qcow2|img|raw|iso|fd|vmdk|vdi|vhdx?|rom|bin|xml|conf|toml|sock|pid)$")

_UUID = re.compile(r"(?<![0-9a-f])[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![0-9a-f])", re.IGNORECASE)
_MAC = re.compile(r"(?<![0-9a-f:.-])(?:[0-9a-f]{2}([:-]))(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}(?![0-9a-f:-])", re.IGNORECASE)
#: An interface that is named by its address: systemd.net-naming-scheme(7).
_MAC_NAME = re.compile(r"(?<![a-z])((?:en|wl|ww|ib|sl|eth)x)([0-9a-f]{12})(?![0-9a-f])")
_IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?!\.?\d)")
_IPV6 = re.compile(r"(?<![0-9a-z:.])[0-9a-f]*:[0-9a-f:]*:[0-9a-f]*(?![0-9a-z:.])", re.IGNORECASE)
_HEX = re.compile(r"(?<![0-9a-z])(?:[0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{32})(?![0-9a-z])")
_SSH_KEY = re.compile(r"(?:ssh-|ecdsa-|sk-)[a-z0-9@.-]+ AAAA[\w+/=]+[^\n]*")
_BY_NAME = re.compile(r"(?<=/dev/disk/)(by-(?:id|uuid|label|partlabel|partuuid|diskseq|dname|loop-ref)/)([^\s,/:\"']+)")
_TAGGED = re.compile(r"\b(UUID|LABEL|PARTUUID|PARTLABEL)=([^\s,\"']+)")
_MAPPED = re.compile(r"(?<=/dev/mapper/)([^\s,:\"'/]+)")

#: Paths inside of text, below folders whose parts their owner chose.
_OWN_PATH = re.compile(
    r"(?<![\w/.-])/(?:home|srv|mnt|media|root|opt|data|tank|storage|export|var|vm|vms)/[^\s,:;\"'()\[\]]+"
)


class Pseudonyms:
    """
    Knows all stand-ins so far. It learns names while it reads: a text that comes before its name is learnt has to be
    given to it again.

    `words` are private words by kind: {"host": [...], "user": [...], "vm": [...]}; they count wherever they stand.
    """

    def __init__(self, words: Mapping[str, Iterable[str]]) -> None:
        self._aliases: dict[str, dict[str, str]] = {}
        self._given: dict[str, set[str]] = {}
        self._words: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None
        for kind, listed in words.items():
            for word in listed:
                self.named(kind, word)

    # --- single names

    def alias(self, kind: str, value: str, form: Callable[[int], str] | None = None) -> str:
        """Return the stand-in of a value of this kind: "serial-1", or in the `form` that its number is given."""
        known, given = self._aliases.setdefault(kind, {}), self._given.setdefault(kind, set())
        if value in given:
            return value
        if value not in known:
            number = len(known) + 1
            known[value] = form(number) if form is not None else f"{kind}-{number}"
            given.add(known[value])
        return known[value]

    def named(self, kind: str, word: str) -> str:
        """Return a name's stand-in; from now on the word is replaced wherever it stands."""
        if not word or word.lower() in _NOBODY or word.isdecimal():
            return word
        alias = self.alias(kind, word)
        if len(word) > 2 and word != alias:
            self._learn(word, alias)
        return alias

    def mapped(self, name: str) -> str:
        """A name below /dev/mapper."""
        return name if name == "control" else self.alias("mapped", name)

    def disk_name(self, folder: str, name: str) -> str:
        """A name below /dev/disk/`folder`, or the value of UUID= and its like, which is the same one."""
        if _UUID.fullmatch(name):
            return self._uuid(name)
        kinds = {"by-uuid": "volume", "by-partuuid": "partition", "by-label": "label", "by-partlabel": "label"}
        return self.alias(kinds.get(folder, "disk"), name)

    def _learn(self, word: str, alias: str) -> None:
        if word.lower() not in self._words:
            self._words[word.lower()] = alias
            self._pattern = None

    def _mac(self, digits: str, separator: str) -> str:
        plain = digits.lower()
        if plain not in ("0" * 12, "f" * 12):
            plain = self.alias("mac", plain, lambda number: f"02{number:010x}")
        return separator.join(plain[at : at + 2] for at in range(0, 12, 2))

    def _uuid(self, value: str) -> str:
        if set(value) <= {"0", "-"}:
            return value
        return self.alias("uuid", value.lower(), lambda number: f"00000000-0000-4000-8000-{number:012x}")

    def _ipv4(self, value: str) -> str:
        if value.startswith(("0.", "127.", "255.")):
            return value
        # The two nets that are for examples: RFC 5737.
        return self.alias("ip", value, lambda number: f"{'192.0.2' if number < 256 else '198.51.100'}.{number % 256}")

    def _ipv6(self, value: str) -> str:
        """Times, PCI addresses and ids have colons too; and :: and ::1 tell nothing."""
        try:
            plain = str(ipaddress.IPv6Address(value))
        except ValueError:
            return value
        groups = value.split(":")
        if plain in ("::", "::1") or not (len(groups) == 8 or any(len(group) == 4 for group in groups)):
            return value
        return self.alias("ipv6", plain, lambda number: f"2001:db8::{number:x}")  # RFC 3849

    def _hex(self, value: str) -> str:
        if not value.strip("0"):
            return value
        alias = self.alias("hex", value, lambda number: f"{number:012x}".ljust(len(value), "0"))
        if len(value) == 64 and alias != value:  # a container's; people and programs write its beginning
            self._learn(value[:12], alias[:12])
        return alias

    # --- text and paths

    def text(self, text: str) -> str:
        """Replace private words and paths, addresses, UUIDs, keys and names of disks in any text."""
        return self._plain(_OWN_PATH.sub(lambda found: self.path(found[0]), text))

    def _plain(self, text: str) -> str:
        text = _SSH_KEY.sub("ssh-key", text)
        text = _BY_NAME.sub(lambda found: found[1] + self.disk_name(found[1].rstrip("/"), found[2]), text)
        text = _TAGGED.sub(lambda found: f"{found[1]}={self.disk_name('by-' + found[1].lower(), found[2])}", text)
        text = _MAPPED.sub(lambda found: self.mapped(found[1]), text)
        text = _UUID.sub(lambda found: self._uuid(found[0]), text)
        text = _MAC.sub(lambda found: self._mac(found[0].replace(found[1], ""), found[1]), text)
        text = _MAC_NAME.sub(lambda found: found[1] + self._mac(found[2], ""), text)
        text = _IPV4.sub(lambda found: self._ipv4(found[0]), text)
        text = _IPV6.sub(lambda found: self._ipv6(found[0]), text)
        text = _HEX.sub(lambda found: self._hex(found[0]), text)
        if self._pattern is None:
            self._pattern = _pattern(self._words)
        return self._pattern.sub(lambda found: self._words[found[0].lower()], text)

    def path(self, path: str) -> str:
        """Replace the owner's words in an absolute path, part by part; a system's own parts stay."""
        if not path.startswith("/"):
            return self._plain(path)
        if found := re.fullmatch(r"(/etc/libvirt/qemu(?:/autostart)?|/run/libvirt/qemu)/([^/]+)\.(xml|pid)", path):
            return f"{found[1]}/{self.named('vm', found[2])}.{found[3]}"
        _, first, *rest = path.split("/")
        if first == "home" and rest:
            return "/".join(["", first, self.named("user", rest[0]), *map(self.part, rest[1:])])
        if first == "dev" and len(rest) > 1 and rest[0] not in _DEV_FOLDERS:
            return "/".join(["", first, *map(self.part, rest)])
        if f"/{first}" in _SYSTEM or path == "/":
            return self._plain(path)
        return self._plain("/".join(map(self.part, path.split("/"))))

    def folder(self, path: str) -> str:
        """The same for a folder, or for what was looked for in vain: below /dev a volume group's is one."""
        _, first, *rest = path.split("/")
        if first == "dev" and len(rest) == 1 and rest[0] not in _DEV_FOLDERS and not _DEV_NODE.match(rest[0]):
            return f"/dev/{self.part(rest[0])}"
        return self.path(path)

    def part(self, part: str) -> str:
        """One word of a path that somebody chose; what it is a file of stays."""
        if not part or part in _KNOWN_PARTS or part in (".", ".."):
            return part
        suffix = _SUFFIX.search(part)
        return self.alias("name", part[: suffix.start()] if suffix else part) + (suffix[0] if suffix else "")


def _pattern(words: Iterable[str]) -> re.Pattern[str]:
    """A short word counts where it stands alone; a long one also inside of others ("Magdalenas keyboard")."""
    longest_first = sorted(words, key=len, reverse=True)
    listed = [
        re.escape(word) if len(word) >= _LONG else rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])"
        for word in longest_first
    ]
    return re.compile("|".join(listed) or r"(?!)", re.IGNORECASE)
