from __future__ import annotations

from pathlib import Path

import pytest

from encoderd.findings import Verdict
from encoderd.intake.mounts import (
    Mount,
    blind_reason,
    check_mount,
    events_reach_us,
    mount_of,
    mounts_under,
    parse_mountinfo,
    read_mountinfo,
)

GUEST = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
40 27 0:50 / /srv/rec rw,relatime shared:1 master:2 - virtiofs rec rw
41 40 0:51 / /srv/rec/nas rw,relatime - nfs4 nas:/tv rw,vers=4.2,hard,proto=tcp
42 27 0:52 / /mnt/two\040words\011\134 ro - 9p rec rw,cache=f,trans=virtio
43 27 0:53 / /mnt/twice rw - autofs systemd-1 rw
44 43 0:54 / /mnt/twice rw - cifs //nas/tv rw,vers=3.1.1
45 27 0:55 / /srv/rec2 rw - tmpfs tmpfs
a line that is none
"""


@pytest.mark.parametrize(
    ("path", "point", "fs_type"),
    [
        ("/", "/", "ext4"),
        ("/home/x", "/", "ext4"),
        ("/srv/rec", "/srv/rec", "virtiofs"),
        ("/srv/rec/a", "/srv/rec", "virtiofs"),
        ("/srv/rec/nas/a", "/srv/rec/nas", "nfs4"),
        ("/srv/rec2", "/srv/rec2", "tmpfs"),
        ("/srv/record", "/", "ext4"),
        ("/mnt/two words\t\\/x", "/mnt/two words\t\\", "9p"),
        ("/mnt/twice", "/mnt/twice", "cifs"),
    ],
)
def test_the_longest_mount_point_and_the_last_mount_on_it_win(path: str, point: str, fs_type: str) -> None:
    mount = mount_of(path, GUEST)

    assert (point, fs_type) == (mount.point, mount.fs_type)


def test_options_are_the_mounts_and_the_file_systems() -> None:
    assert mount_of("/mnt/two words\t\\", GUEST).options == ("ro", "rw", "cache=f", "trans=virtio")
    assert mount_of("/srv/rec2", GUEST).options == ("rw",)


def test_no_mount_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="no mount holds '/a'"):
        mount_of("/a", "")
    assert mounts_under("/a", "2 1 0:2 / /a/b rw - tmpfs x rw") == [
        Mount(point="/a/b", fs_type="tmpfs", options=("rw", "rw"))
    ]


def test_mounts_further_down_belong_to_the_folder() -> None:
    assert [mount.fs_type for mount in mounts_under("/srv/rec", GUEST)] == ["virtiofs", "nfs4"]
    assert [mount.fs_type for mount in mounts_under("/mnt/twice", GUEST)] == ["cifs"]


@pytest.mark.parametrize(
    ("fs_type", "expected"),
    [
        *[(local, True) for local in ("ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "vfat")],
        *[(share, False) for share in ("nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "ceph", "autofs")],
        *[(fuse, False) for fuse in ("fuse", "fuseblk", "fuse.sshfs", "fuse.glusterfs", "not known yet")],
    ],
)
def test_events_reach_us_on_local_file_systems_only(fs_type: str, expected: bool) -> None:
    assert events_reach_us(Mount(point="/", fs_type=fs_type, options=())) is expected


@pytest.mark.parametrize(
    ("fs_type", "options", "blind"),
    [
        ("9p", "rw,trans=virtio", False),
        ("9p", "rw,cache=none", False),
        ("9p", "rw,cache=mmap", False),
        ("9p", "rw,mmap", False),
        ("9p", "rw,cache=1", False),
        ("9p", "rw,cache=5", False),
        ("9p", "rw,cache=0x5", False),
        ("9p", "rw,cachetag=fscache", False),
        ("9p", "rw,loose", True),
        ("9p", "rw,fscache,cachetag=x", True),
        ("9p", "rw,cache=loose", True),
        ("9p", "rw,cache=fscache", True),
        ("9p", "rw,cache=f", True),
        ("9p", "rw,cache=8f", True),
        ("9p", "rw,cache=0x8f", True),
        ("9p", "rw,cache=?", True),
        ("virtiofs", "rw", False),
        ("nfs4", "rw,fsc", False),
        ("cifs", "rw,cache=loose", False),
    ],
)
def test_only_9p_with_a_loose_cache_is_blind(fs_type: str, options: str, blind: bool) -> None:
    mount = Mount(point="/", fs_type=fs_type, options=tuple(options.split(",")))

    assert (blind_reason(mount) is not None) is blind


@pytest.mark.parametrize(
    ("mountinfo", "allow_blind", "verdict", "words"),
    [
        (GUEST, False, Verdict.PASS, "is on nfs4, virtiofs: recordings are seen by scans"),
        ("1 0 0:1 / / rw - ext4 x rw", False, Verdict.PASS, "is on ext4: recordings are seen by events and scans"),
        ("1 0 0:1 / / rw - 9p rec rw,cache=f", False, Verdict.FAIL, "/ is 9p with cache=f"),
        ("1 0 0:1 / / rw - 9p rec rw,cache=f", True, Verdict.WARN, "/ is 9p with cache=f"),
        (GUEST + "9 1 0:9 / /srv/rec/x rw - 9p r rw,loose", False, Verdict.FAIL, "/srv/rec/x is 9p with loose"),
        ("1 0 0:1 / / rw - nfs4 n:/ rw,nocto", False, Verdict.WARN, "nocto"),
        ("", False, Verdict.WARN, "not known"),
    ],
)
def test_check_mount(mountinfo: str, allow_blind: bool, verdict: Verdict, words: str) -> None:
    finding = check_mount(Path("/srv/rec"), mountinfo, allow_blind=allow_blind)

    assert (finding.check, finding.verdict) == ("watch_mount", verdict)
    assert words in finding.evidence


def test_this_machine_has_mounts() -> None:
    assert "proc" in {mount.fs_type for mount in parse_mountinfo(read_mountinfo())}
