"""What the broadcaster tells in the stream stands in the head of the output: title, service, begin, description."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from encoderd.encode.sample import SampleSpec, make_recording
from tests.conftest import SIZE
from tests.encoding import encode
from tests.sections import TS, broadcast_time, eit, packets_of_section, sdt, tdt

#: 23 November 2026, as a modified Julian date.
DAY = 61367
#: Tables come so often, in packets of the stream.
EVERY = 300


def with_tables(data: bytes, *tables: tuple[int, bytes]) -> bytes:
    """The stream with the tables (PID, section) before every so many of its packets, their counters true."""
    out, counters = bytearray(), dict.fromkeys((pid for pid, _ in tables), 0)
    for at in range(0, len(data), TS * EVERY):
        for pid, whole in tables:
            sent = packets_of_section(pid, whole, counters[pid])
            counters[pid] += len(sent)
            out += b"".join(sent)
        out += data[at : at + TS * EVERY]
    return bytes(out)


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_the_broadcaster_s_words_are_in_the_output(tmp_path: Path, container: str) -> None:
    """Service, event and clock of DVB, sent as broadcasters do: every so often, the whole time."""
    plain = make_recording(tmp_path / "plain.ts", SampleSpec(duration_s=2.0, **SIZE)).read_bytes()
    source = tmp_path / "a.ts"
    begin = broadcast_time(DAY, 19, 15, 0)
    source.write_bytes(
        with_tables(
            plain,
            (0x11, sdt({1: (b"\x05ARD", b"Das Erste HD")})),
            (0x12, eit(1, [(7, begin, 5400, b"\x05Tatort: \xdcbel", b"\x05Ein Fall f\xfcr zwei.")])),
            (0x14, tdt(broadcast_time(DAY, 19, 14, 1))),
        )
    )

    done = encode(source, container=container)
    with av.open(str(done.path)) as output:
        head = {key.lower(): value for key, value in output.metadata.items()}

    assert ("Tatort: Übel", "Das Erste HD", "Ein Fall für zwei.") == (
        head["title"], head["network"], head["description"],
    )  # fmt: skip
    assert head["date"].startswith("2026-11-23T19:1")
    assert {"pass"} == set(done.verdicts.values())
