"""The simulated VPL runtime itself, driven by PyAV's h264_qsv as the real one is: in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.often import often
from tests.simulated import FAULTS, RUNTIME, SOURCES, Simulated

#: Nothing here takes a tenth of it, but a busy machine may.
LIMIT_S = 60.0
#: One picture at 30000/1001 Hz, in 90 kHz.
PICTURE = 3003
TWELVE = [number * PICTURE for number in range(12)]


@contextmanager
def started(environment: dict[str, str], *orders: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """Start the program that encodes; it is gone at the end, however it feels."""
    process = subprocess.Popen(
        [sys.executable, str(SOURCES / "encode.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stdin is not None
    try:
        process.stdin.write("".join(f"{json.dumps(order)}\n" for order in orders))
        process.stdin.flush()
        yield process
    finally:
        process.kill()
        process.communicate(timeout=LIMIT_S)


def encoded(environment: dict[str, str], *orders: dict[str, Any]) -> list[dict[str, Any]]:
    """Carry out the orders one after the other in one process; returns its answers (tests/vplsim/encode.py)."""
    with started(environment, *orders) as process:
        out, words = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, words
    return [json.loads(line) for line in out.splitlines()]


def until(condition: Any, what: str) -> None:
    give_up_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < give_up_s, f"never: {what}"
        time.sleep(0.01)


@pytest.mark.usefixtures("simulated")
@pytest.mark.parametrize("personality", often(1, ["", "-DVPLSIM_LEGACY"]))
def test_sources_have_no_warnings(personality: str) -> None:
    """gcc has nothing to say about the C sources."""
    flags = [
        "-std=c11",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Wpedantic",
        "-Werror",
        "-fsyntax-only",
        *filter(None, [personality]),
    ]
    sources = sorted(str(source) for source in SOURCES.glob("*.c"))

    done = subprocess.run(["gcc", *flags, *sources], capture_output=True, text=True, timeout=LIMIT_S)

    assert (0, "") == (done.returncode, done.stderr)


# --- pictures and time


def test_pictures_come_back_as_they_went_in(simulated: Simulated) -> None:
    """Every size that broadcasts have, and some that fill no whole macroblocks, is bit-exact and cropped right."""
    sizes = [(160, 96), (48, 80), (162, 90), (642, 362), (720, 576), (1440, 1080), (1920, 1080)]
    orders = [{"width": width, "height": height, "pts": TWELVE[:7]} for width, height in sizes]

    found = encoded(simulated.environment(), *orders)

    assert [(list(size), [True] * 7, [], None) for size in sizes] == [
        (answer["size"], answer["equal"], answer["complaints"], answer["error"]) for answer in found
    ]


@pytest.mark.parametrize(
    ("options", "types", "dts"),
    often(
        2,
        [
            ({"bf": "0", "g": "4"}, "I P P P I P", [0, 1, 2, 3, 4, 5]),
            ({"bf": "2", "g": "250"}, "I B B P B P", [-1, 0, 1, 2, 3, 4]),
            ({"bf": "1", "g": "250"}, "I B P B P P", [-1, 0, 1, 2, 3, 4]),
            ({"bf": "2", "g": "5"}, "I B B P P I", [-1, 0, 1, 2, 3, 4]),
            ({"bf": "2", "g": "250", "low_power": "1"}, "I P P P P P", [0, 1, 2, 3, 4, 5]),
        ],
    ),
)
def test_order_and_decoding_times(simulated: Simulated, options: dict[str, str], types: str, dts: list[int]) -> None:
    """Types in display order; DTS in the order of packets, one picture early where there are B pictures to wait for."""
    times = [1000 + number * PICTURE for number in range(6)]

    [found] = encoded(simulated.environment(), {"pts": times, "options": options})

    assert (types.split(), times) == ([kind for _, kind in found["decoded"]], [pts for pts, _ in found["decoded"]])
    assert [1000 + number * PICTURE for number in dts] == [packet[1] for packet in found["packets"]]
    assert all(found["equal"])


def test_uneven_times_without_b_pictures(simulated: Simulated) -> None:
    """PTS come back exactly whatever the distance, before zero and beyond 32 bits; without B pictures DTS = PTS."""
    times = [-900, 0, 1, 40_000, 2**32 - 1, 2**32 + 5]

    [found] = encoded(simulated.environment(), {"pts": times, "options": {"bf": "0"}})

    assert [[pts, pts] for pts in times] == [packet[:2] for packet in found["packets"]]
    assert all(found["equal"])


@pytest.mark.parametrize(
    ("options", "forced", "keys"),
    often(
        2,
        [
            ({"g": "5"}, [], [0, 5, 10]),
            ({"g": "250", "forced_idr": "1"}, [4, 7], [0, 4, 7]),
            ({"g": "250", "forced_idr": "1", "bf": "0"}, [11], [0, 11]),
            ({"g": "3", "idr_interval": "1"}, [], [0, 6]),
            ({"g": "250", "forced_idr": "0", "idr_interval": "9"}, [4], [0]),
            ({"g": "250", "forced_idr": "1", "idr_interval": "9"}, [4], [0, 4]),
        ],
    ),
)
def test_key_frames(simulated: Simulated, options: dict[str, str], forced: list[int], keys: list[int]) -> None:
    """Key packets are the IDR pictures: each g pictures, times idr_interval, and wherever one is forced."""
    [found] = encoded(simulated.environment(), {"pts": TWELVE, "options": options, "forced": forced})

    assert keys == sorted(pts // PICTURE for pts, _, is_key, _ in found["packets"] if is_key)
    assert ([True] * 12, []) == (found["equal"], found["complaints"])


def test_key_frames_carry_the_headers(simulated: Simulated) -> None:
    """Extradata has SPS (High, 3.0 for 720 × 576) and PPS; a forced picture that is not to be IDR is still type I."""
    order = {"width": 720, "height": 576, "rate": (25, 1), "pts": [0, 3600, 7200]}
    plain = {**order, "forced": [1], "options": {"forced_idr": "0", "idr_interval": "9"}}

    found, forced = encoded(simulated.environment(), order, plain)

    assert ("0000000167640" + "01e", 1) == (found["extradata"][:16], found["extradata"].count("0000000168"))
    assert ["I", "I", "P"] == [kind for _, kind in forced["decoded"]]


def test_a_new_rate_in_the_middle(simulated: Simulated, tmp_path: Path) -> None:
    """libavcodec resets the encoder for it, with pictures under way: none is lost, and a key frame begins anew."""
    trace = tmp_path / "trace"
    order = {"pts": TWELVE, "options": RATE, "bit_rates_bps": {"7": 3_000_000}}

    [found] = encoded(simulated.environment(trace=trace), order)

    assert (None, [True] * 12) == (found["error"], found["equal"])
    assert ["3000"] == [call.fields["QPP/TargetKbps/ICQQuality"] for call in simulated.calls(trace, "Reset")]
    assert [0, 7] == [pts // PICTURE for pts, _, is_key, _ in found["packets"] if is_key]


def test_free_codec_looks_at_no_pixels(simulated: Simulated) -> None:
    """Codec "free": every picture decodes, grey; those after the first are a few bytes each."""
    [found] = encoded(simulated.environment(codec="free"), {"width": 1440, "height": 1080, "pts": TWELVE})

    assert [[1440, 1080], 12, [False] * 12] == [found["size"], len(found["decoded"]), found["equal"]]
    assert max(size for _, _, is_key, size in found["packets"] if not is_key) < 30


# --- what is granted


VME = ["tgl", "rkl", "adl"]
VDENC_ONLY = ["dg2", "mtl", "lnl"]
ICQ: dict[str, Any] = {}
LA_ICQ = {"look_ahead": "1", "look_ahead_depth": "3"}
LA = {"look_ahead": "1", "global_quality": None, "b": "2M"}
CQP_5 = {"flags": "+qscale", "global_quality": str(5 * 118)}
RATE = {"global_quality": None, "b": "2M"}
VDENC = {"low_power": "1"}
NO_PICTURE_STRUCTURE = "Current picture structure is unsupported"
NO_RATE_CONTROL = "Selected ratecontrol mode is unsupported"
NO_LOW_POWER = "Low power mode is unsupported"


@pytest.mark.parametrize(
    ("platforms", "options", "granted"),
    often(
        5,
        [
            (VME, ICQ, "RateControlMethod: ICQ; ICQQuality: 23; GopRefDist: 3; VDENC: OFF; NumRefFrame: 2"),
            (VME, {"bf": None}, "GopRefDist: 3"),
            (VME, VDENC, "RateControlMethod: ICQ; GopRefDist: 1; VDENC: ON; NumRefFrame: 1"),
            (VME, LA_ICQ, "RateControlMethod: LA_ICQ; ICQQuality: 23; LookAheadDepth: 6"),
            (VME, LA, "RateControlMethod: LA; LookAheadDepth: 40; TargetKbps: 2000"),
            (VME, CQP_5, "RateControlMethod: CQP; QPI: 4; QPP: 5"),
            (VME, {**CQP_5, **VDENC}, "RateControlMethod: CQP; QPI: 10; QPP: 10; QPB: 10"),
            (VME, RATE, "RateControlMethod: VBR; TargetKbps: 2000"),
            (VME, {**RATE, "maxrate": "2M"}, "RateControlMethod: CBR"),
            (VME, {"b": "2M", "maxrate": "3M"}, "RateControlMethod: QVBR; QVBRQuality: 23"),
            (VME, {"profile": "baseline"}, "GopRefDist: 1"),
            (VME, {"preset": "veryslow", "g": "77"}, "TargetUsage: 1; GopPicSize: 77"),
            (VME, {"flags": "+ildct"}, "VDENC: OFF"),
            (VDENC_ONLY, ICQ, "RateControlMethod: ICQ; ICQQuality: 23; GopRefDist: 3; VDENC: ON"),
            (VDENC_ONLY, {"bf": None}, "GopRefDist: 4"),
            (VDENC_ONLY, LA_ICQ, "RateControlMethod: ICQ; ICQQuality: 23"),
            (VDENC_ONLY, LA, "RateControlMethod: VBR; TargetKbps: 2000"),
        ],
    ),
)
def test_what_libavcodec_is_told(
    simulated: Simulated, platforms: list[str], options: dict[str, str], granted: str
) -> None:
    """What was granted, not what was asked for, is in libavcodec's lines at opening; the pictures are right anyway."""
    orders = [
        {"pts": TWELVE[:4], "options": options, "environment": simulated.environment(platform)}
        for platform in platforms
    ]

    found = encoded({}, *orders)

    for platform, answer in zip(platforms, found, strict=True):
        words = set(re.split(r"; |\n", "\n".join(answer["log"])))
        assert (None, [], {}) == (answer["error"], sorted({*granted.split("; ")} - words), answer["leftover"]), platform
        assert [True] * 4 == answer["equal"]


@pytest.mark.parametrize(
    ("platforms", "options", "refused"),
    often(
        3,
        [
            (VME, {**VDENC, **LA_ICQ}, NO_RATE_CONTROL),
            (VME, {**VDENC, **LA}, NO_RATE_CONTROL),
            (VME, {**VDENC, "flags": "+ildct"}, NO_PICTURE_STRUCTURE),
            (VDENC_ONLY, {"flags": "+ildct"}, NO_PICTURE_STRUCTURE),
            (VDENC_ONLY, {"low_power": "0"}, NO_LOW_POWER),
        ],
    ),
)
def test_what_is_refused_is_named(
    simulated: Simulated, platforms: list[str], options: dict[str, str], refused: str
) -> None:
    """A platform that cannot refuses at opening, and libavcodec names that one thing."""
    orders = [{"options": options, "environment": simulated.environment(platform)} for platform in platforms]

    for answer in encoded({}, *orders):
        assert ["open", "NotImplementedError", 38] == answer["error"]
        assert [refused] == [line for line in answer["log"] if line.endswith(" is unsupported")]


def test_platforms_that_the_new_runtime_does_not_drive(simulated: Simulated) -> None:
    """As libmfx-gen before Tiger Lake: there is no implementation, and the message is the one for everything."""
    platforms = ["hsw", "bdw", "skl", "apl", "kbl", "icl", "jsl"]

    found = encoded({}, *({"environment": simulated.environment(platform)} for platform in platforms))

    assert [(["open", "UnknownError", 1313558101], "Error creating a MFX session: -9.")] * len(platforms) == [
        (answer["error"], answer["log"][-1]) for answer in found
    ]


def test_trace_holds_what_was_asked_for_and_what_was_granted(simulated: Simulated, tmp_path: Path) -> None:
    """Query is traced with libavcodec's wishes, GetVideoParam with the answer; each call with its status."""
    trace = tmp_path / "trace"
    wishes = {"preset": "slow", "async_depth": "2", **VDENC}

    encoded(simulated.environment(trace=trace), {"pts": TWELVE[:3], "options": wishes})

    wish, answer = simulated.calls(trace, "Query")[0], simulated.calls(trace, "GetVideoParam")[0]
    names = ("RateControlMethod", "GopRefDist", "LowPower", "TargetUsage", "AsyncDepth", "CropW")
    assert (["ICQ", "3", "16", "3", "2", "160"], 5) == ([wish.fields[name] for name in names], wish.status)
    assert (["ICQ", "1", "16", "3", "2", "160"], 0) == ([answer.fields[name] for name in names], answer.status)
    assert [0] * 3 == [call.status for call in simulated.calls(trace, "SyncOperation")]


# --- faults

NO_SESSION = (["open", "UnknownError", 1313558101], "Error creating a MFX session: -9.")
REFUSED = (["open", "NotImplementedError", 38], "some encoding parameters are not supported by the QSV runtime")
HANG_AT_SYNC = (["encode", "InvalidDataError", 1094995529], "Invalid FrameType:0.")
QUIET: tuple[None, str] = (None, "")


@pytest.mark.parametrize(
    ("fault", "error_and_log", "packets", "empty", "right"),
    often(
        8,
        [
            ("desc", NO_SESSION, 0, 0, 0),
            ("session", NO_SESSION, 0, 0, 0),
            ("session=-4", NO_SESSION, 0, 0, 0),
            ("query", REFUSED, 0, 0, 0),
            ("query=-17", REFUSED, 0, 0, 0),
            (
                "iosurf",
                (["open", "NotImplementedError", 38], "Error querying (IOSurf) the encoding parameters"),
                0,
                0,
                0,
            ),
            ("init", (["open", "OSError", 5], "Error initializing the encoder: device failed (-17)"), 0, 0, 0),
            ("init=-4", (["open", "MemoryError", 12], "failed to allocate memory (-4)"), 0, 0, 0),
            ("init=-15", (["open", "ArgumentError", 22], "invalid video parameters (-15)"), 0, 0, 0),
            ("init=5", (["open", "BugError", 558323010], "Warning in encoder initialization"), 0, 0, 0),
            ("param", (["open", "BugError", 558323010], "Error retrieving encoding parameters."), 0, 0, 0),
            ("nohdr", (["open", "UnknownError", 1313558101], "No extradata returned from libmfx."), 0, 0, 0),
            ("async=-17@12", (["encode", "OSError", 5], "Error during encoding: device failed (-17)"), 6, 0, 6),
            ("async=-21@12", (["encode", "OSError", 5], "Error during encoding: GPU Hang (-21)"), 6, 0, 6),
            ("async=-13@12", (["encode", "OSError", 5], "Error during encoding: device lost (-13)"), 6, 0, 6),
            ("async=-12@12", (["encode", "UnknownError", 1313558101], "operation aborted (-12)"), 6, 0, 6),
            ("async=-16@12", (["encode", "BugError", 558323010], "undefined behavior (-16)"), 6, 0, 6),
            ("async=5@6", (None, "Warning during encoding: incompatible video parameters (5)"), 5, 0, 5),
            ("sync=-21@6", HANG_AT_SYNC, 4, 0, 4),
            ("sync=-17@6", HANG_AT_SYNC, 4, 0, 4),
            ("sync=-12@12", (["flush", *HANG_AT_SYNC[0][1:]], HANG_AT_SYNC[1]), 7, 0, 7),
            ("syncquiet@6", QUIET, 12, 7, 5),
            ("nodata@6", QUIET, 12, 7, 5),
            ("nodata@6x2", QUIET, 12, 2, 10),
            ("trunc@10x1", QUIET, 12, 0, 11),
            ("drop@6x1", QUIET, 11, 0, 11),
            ("drop@6", QUIET, 5, 0, 5),
            ("garble@6", QUIET, 12, 0, 5),
            ("garble@6x1", QUIET, 12, 0, 11),
            ("badpts=-1500@6", QUIET, 12, 0, 5),
            ("busy@6x20", QUIET, 12, 0, 12),
            ("exec@6x3", QUIET, 12, 0, 12),
            ("nodata@6x2,drop@9x1", QUIET, 11, 2, 9),
        ],
    ),
)
def test_what_libavcodec_makes_of_a_fault(
    simulated: Simulated,
    fault: str,
    error_and_log: tuple[list[Any] | None, str],
    packets: int,
    empty: int,
    right: int,
) -> None:
    """Twelve frames go in; the error (step, class, errno), its words, and how many packets and right pictures come."""
    error, words = error_and_log

    [found] = encoded(simulated.environment(fault=fault), {"pts": TWELVE})

    sizes = [packet[3] for packet in found["packets"]]
    assert (error, packets, empty, right) == (found["error"], len(sizes), sizes.count(0), sum(found["equal"]))
    assert words in "\n".join(found["log"])


@pytest.mark.parametrize(
    ("fault", "in_call"),
    often(
        2,
        [
            ("hangload", "load"),
            ("hanginit", "Init"),
            ("hang@6", "EncodeFrameAsync"),
            ("hangsync@6", "SyncOperation"),
            ("busy@6", "EncodeFrameAsync"),
            ("exec@6", "SyncOperation"),
        ],
    ),
)
def test_faults_that_never_end(simulated: Simulated, tmp_path: Path, fault: str, in_call: str) -> None:
    """A hang never returns; busy and in execution are asked again for ever. Only a signal ends it."""
    trace = tmp_path / "trace"

    def stuck() -> bool:
        last = simulated.calls(trace)[-5:]
        return last[-1:] != [] and (
            last[-1].status is None or (len(last) == 5 and all(call.status in (1, 2) for call in last))
        )

    with started(simulated.environment(fault=fault, trace=trace), {"pts": TWELVE}) as process:
        until(stuck, fault)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.2)

        assert in_call == simulated.calls(trace)[-1].name


def test_crash_takes_the_process_along(simulated: Simulated) -> None:
    """abort() in the driver is the end of whoever loaded it."""
    with started(simulated.environment(fault="crash@6"), {"pts": TWELVE}) as process:
        out, _ = process.communicate(timeout=LIMIT_S)

    assert (-signal.SIGABRT, "") == (process.returncode, out)


@pytest.mark.parametrize(
    "fault",
    often(
        2, ["asinc=-17@3", "hang=3", "init@3", "async=@3", "async=-17@0", "crash@3y", "busyx3", "drop@", "desc;init"]
    ),
)
def test_slips_in_a_fault_are_no_quiet_pass(simulated: Simulated, fault: str) -> None:
    """A fault that means nothing opens no session and is named on stderr; most do not even get past Python."""
    environment = {**simulated.environment(), "VPLSIM_FAULT": fault}

    with started(environment, {"pts": TWELVE}) as process:
        out, words = process.communicate(timeout=LIMIT_S)

    assert NO_SESSION[0] == json.loads(out)["error"]
    assert f'vplsim: "{fault}" is no fault' in words
    if fault not in ("hang=3", "init@3"):  # Python does not know which of them takes what
        with pytest.raises(ValueError, match="no fault"):
            simulated.environment(fault=fault)


def test_faults_are_known_everywhere() -> None:
    """What Python lets through is what the runtime knows and the README explains."""
    known = re.findall(r'^ +\[FAULT_\w+\] = \{"(\w+)"', (SOURCES / "fault.c").read_text("utf-8"), re.MULTILINE)
    readme = (SOURCES / "README.md").read_text("utf-8")

    assert sorted(FAULTS) == sorted(known)
    assert [] == [fault for fault in FAULTS if not re.search(rf"^\| `{fault}\b", readme, re.MULTILINE)]


def test_platforms_and_variables_are_explained() -> None:
    """Every platform and environment variable of the sources is in the README."""
    readme = (SOURCES / "README.md").read_text("utf-8")
    sources = "".join(source.read_text("utf-8") for source in SOURCES.glob("*.c"))
    names = {*re.findall(r"VPLSIM_[A-Z_]+", sources), *re.findall(r'^ +\{"(\w+)", MFX_PLATFORM', sources, re.MULTILINE)}

    assert {"VPLSIM_MS", "tgl"} <= names
    assert {"VPLSIM_LEGACY"} == {name for name in names if f"`{name}`" not in readme}  # that one is the compiler's


def test_fault_file_is_read_at_each_session(simulated: Simulated, tmp_path: Path) -> None:
    """A fault that is set while a process runs strikes its next session; when it ends, the one after is sound."""
    file = tmp_path / "fault"
    environment = simulated.environment(fault_file=file)
    outcomes = []

    with started(environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for fault in [None, "async=-17@3", "", "init=-4"]:
            if fault is not None:
                simulated.set_fault(file, fault)
            process.stdin.write(f"{json.dumps({'pts': TWELVE})}\n")
            process.stdin.flush()
            outcomes.append(json.loads(process.stdout.readline())["error"])

    assert [None, ["encode", "OSError", 5], None, ["open", "MemoryError", 12]] == outcomes
    with pytest.raises(ValueError, match="no fault"):
        simulated.set_fault(file, "asinc")


# --- engine, sessions, life


def test_one_engine_for_all_sessions(simulated: Simulated, tmp_path: Path) -> None:
    """With a price of 10 ms, 4 × 12 pictures take 0.48 s however many sessions and processes share the engine."""
    environment = simulated.environment(ms=10, state=tmp_path)
    two = {"pts": TWELVE, "at_once": 2}

    with started(environment, two) as one, started(environment, two) as other:
        outs = [process.communicate(timeout=LIMIT_S)[0] for process in (one, other)]

    answers = [json.loads(line) for out in outs for line in out.splitlines()]
    assert [[True] * 12] * 4 == [answer["equal"] for answer in answers]
    begins_s, ends_s = zip(*(answer["span_s"] for answer in answers), strict=True)
    assert max(ends_s) - min(begins_s) >= 0.48


def test_sessions_are_counted_over_processes(simulated: Simulated, tmp_path: Path) -> None:
    """The last place is taken as long as its process lives, even if that one is stuck, and free when it is killed."""
    trace = tmp_path / "trace"
    environment = simulated.environment(sessions=1, state=tmp_path)
    stuck = {**environment, **simulated.environment(sessions=1, state=tmp_path, fault="hang@1", trace=trace)}

    with started(stuck, {"pts": TWELVE}):
        until(lambda: simulated.calls(trace)[-1:] and simulated.calls(trace)[-1].status is None, "the hang")
        [refused] = encoded(environment, {"pts": TWELVE})
    [granted] = encoded(environment, {"pts": TWELVE})

    assert NO_SESSION == (refused["error"], refused["log"][-1])
    assert (None, [True] * 12) == (granted["error"], granted["equal"])


def test_sessions_are_counted_within_a_process(simulated: Simulated) -> None:
    """Without a state folder the places are each process's own: of three at once, two are served."""
    found = encoded(simulated.environment(sessions=2, ms=10), {"pts": TWELVE, "at_once": 3})

    assert [1, 2] == [
        sum(answer["error"] == NO_SESSION[0] for answer in found),
        sum(answer["equal"] == [True] * 12 for answer in found),
    ]


@pytest.mark.parametrize("shared", [True, False])
def test_closing_gives_the_place_back(simulated: Simulated, tmp_path: Path, shared: bool) -> None:
    """One after the other, any number of sessions share one place, the library loaded all the time or not."""
    environment = simulated.environment(sessions=1, state=tmp_path if shared else None)
    library = str(simulated.folder / "new" / RUNTIME)

    found = encoded(environment, *[{"pts": TWELVE, "keep_loaded": library}] * 3)

    assert [None] * 3 == [answer["error"] for answer in found]


def test_fifty_sessions_leave_nothing(simulated: Simulated) -> None:
    """Opening and closing costs no descriptor and no memory, and the library is unloaded each time."""
    found = encoded(simulated.environment(), *[{"pts": TWELVE[:5]}] * 60)

    late = found[10:]
    assert {(found[0]["descriptors"], False)} == {(answer["descriptors"], answer["mapped"]) for answer in late}
    assert late[-1]["memory_kib"] - late[0]["memory_kib"] < 4096


def test_four_threads(simulated: Simulated) -> None:
    """Four sessions of one process do not mix up their pictures."""
    found = encoded(simulated.environment(), {"pts": [number * PICTURE for number in range(60)], "at_once": 4})

    assert [(None, [True] * 60)] * 4 == [(answer["error"], answer["equal"]) for answer in found]
    assert all(one[1] < other[1] for answer in found for one, other in pairwise(answer["packets"]))


# --- the legacy runtime


def test_legacy_runtime_without_a_display(simulated: Simulated, tmp_path: Path) -> None:
    """
    On HD Graphics the wheel gets a session and is then refused everything: it cannot give the runtime a VA display.

    Source: seen with Debian's libmfxhw64 and PyAV's wheel; libavcodec sets the handle only when built with VAAPI.
    """
    trace = tmp_path / "trace"
    environment = simulated.legacy_environment(tmp_path / "drm", trace=trace)

    [found] = encoded(environment, {"options": {"profile": None}})

    assert ["open", "NotImplementedError", 38] == found["error"]
    assert [
        NO_RATE_CONTROL,
        "Current frame rate is unsupported",
        NO_PICTURE_STRUCTURE,
        "Current resolution is unsupported",
        "Current pixel format is unsupported",
    ] == [line for line in found["log"] if line.endswith(" is unsupported")]
    assert [-3] == [call.status for call in simulated.calls(trace, "Query")]


def test_legacy_runtime_on_a_gpu_too_new_for_it(simulated: Simulated, tmp_path: Path) -> None:
    """
    From Alder Lake on it gives no session, and without a render node in sysfs the dispatcher uses none of its sessions.

    A real runtime of this machine may answer in its place, so the trace is asked, not libavcodec.
    """
    trace, other_trace = tmp_path / "trace", tmp_path / "other-trace"
    too_new = simulated.legacy_environment(tmp_path / "drm", platform="adl", trace=trace)
    no_node = {
        **simulated.legacy_environment(tmp_path / "drm", trace=other_trace),
        "VPLSIM_SYSFS": str(tmp_path / "nothing"),
    }

    encoded(too_new, {})
    [unseen] = encoded(no_node, {})

    assert {-3} == {call.status for call in simulated.calls(trace)}
    assert NO_SESSION == (unseen["error"], unseen["log"][-1])
    assert [] == simulated.calls(other_trace, "Query")
