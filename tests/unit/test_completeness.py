"""When a recording is whole: tables first, then any history that hypothesis can think of."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd.intake.completeness import Completeness, Offered, Settled, Settling, Sighting, Waiting, Writer
from encoderd.jobs import Candidate

SETTLE_S = 10.0


def sighting(at_s: float, *, size: int = 100, writer: Writer | None = None, path: str = "a.ts") -> Sighting:
    return Sighting(
        watch="tv",
        relative_path=path,
        size_bytes=size,
        mtime_ns=size * 1000,
        device=1,
        inode=2,
        asked_at_s=at_s,
        answered_at_s=at_s,
        writer=writer,
    )


def candidate(size: int = 100, path: str = "a.ts") -> Candidate:
    return Candidate(watch="tv", relative_path=path, size_bytes=size, mtime_ns=size * 1000)


def books() -> Completeness:
    return Completeness({"tv": SETTLE_S})


def offer(whole: Completeness, at_s: float = 0.0, **what: int) -> None:
    whole.see(sighting(at_s, **what))
    assert whole.see(sighting(at_s + SETTLE_S, writer=Writer.NONE, **what)) is not None


def waiting(whole: Completeness) -> list[Waiting]:
    return [one.waiting for one in whole.settling()]


@pytest.mark.parametrize("writer", [Writer.NONE, Writer.UNKNOWN])
def test_a_recording_is_whole_after_its_rest_and_a_last_look(writer: Writer) -> None:
    whole = books()

    assert whole.see(sighting(0)) is None
    assert whole.due(9.9, 10) == []
    assert whole.next_due_s() == 10
    assert whole.due(10, 10) == [("tv", "a.ts")]
    assert whole.see(sighting(10.5, writer=writer)) == Settled(candidate=candidate(), rested_s=10.5)
    assert whole.settling() == []


def test_rest_alone_is_not_enough() -> None:
    """However often it is seen at rest: without a look for writers it is no candidate."""
    whole = books()

    assert [whole.see(sighting(second)) for second in range(0, 1000, 5)] == [None] * 200
    assert waiting(whole) == [Waiting.RESTING]


def test_one_sighting_is_not_enough() -> None:
    """Also the very first sighting of a file may come with an answer about writers."""
    whole = books()

    assert whole.see(sighting(100, writer=Writer.NONE)) is None


def test_a_look_that_comes_too_early_is_repeated_in_time() -> None:
    whole = books()
    whole.see(sighting(0))

    assert whole.see(sighting(9, writer=Writer.NONE)) is None
    assert whole.due(10, 10) == [("tv", "a.ts")]


CHANGES = {
    "it grew": {"size_bytes": 101},
    "it shrank": {"size_bytes": 99},
    "it was written to": {"mtime_ns": 100_001},
    "its mtime went back": {"mtime_ns": 5},
    "another file has its name": {"inode": 3},
    "another file system is mounted": {"device": 3},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_any_change_starts_the_rest_anew(change: dict[str, int]) -> None:
    whole = books()
    whole.see(sighting(0))
    whole.see(sighting(9))

    assert whole.see(replace(sighting(12, writer=Writer.NONE), **change)) is None
    assert waiting(whole) == [Waiting.GROWING]
    assert whole.see(replace(sighting(21, writer=Writer.NONE), **change)) is None
    assert waiting(whole) == [Waiting.RESTING]
    assert whole.see(replace(sighting(22, writer=Writer.NONE), **change)) is not None


def test_a_recorder_that_stalls_for_ten_minutes_keeps_its_recording() -> None:
    """While it is open for writing it is no candidate, and it is looked at every settle_s, a minute at most."""
    whole = Completeness({"tv": 120})
    whole.see(sighting(0))
    looks = []
    for second in range(1, 601):
        for _ in whole.due(second, 10):
            looks.append(second)
            assert whole.see(sighting(second, writer=Writer.OPEN)) is None

    assert looks == [120, 180, 240, 300, 360, 420, 480, 540, 600]
    assert waiting(whole) == [Waiting.OPEN]
    assert whole.see(sighting(601, size=200)) is None
    assert whole.due(720, 10) == []
    assert whole.due(721, 10) == [("tv", "a.ts")]
    assert whole.see(sighting(721, size=200, writer=Writer.NONE)) is not None


def test_an_empty_file_is_not_even_looked_at() -> None:
    whole = books()
    whole.see(sighting(0, size=0))
    whole.see(sighting(50, size=0))

    assert whole.due(60, 10) == []
    assert waiting(whole) == [Waiting.EMPTY]
    assert whole.see(sighting(60, size=0, writer=Writer.NONE)) is None
    whole.see(sighting(61, size=1))
    assert whole.due(71, 10) == [("tv", "a.ts")]


def test_an_identity_is_offered_once() -> None:
    whole = books()
    offer(whole)

    for second in range(20, 100, 10):
        assert whole.see(sighting(second, writer=Writer.NONE)) is None
    assert whole.due(1000, 10) == []
    assert whole.settling() == []


def test_the_same_content_on_a_share_mounted_anew_is_the_same_recording() -> None:
    """Device and inode numbers change with a mount; the identity is size and mtime."""
    whole = books()
    offer(whole)

    assert whole.see(replace(sighting(20), device=77, inode=78)) is None
    assert whole.settling() == []


def test_a_recording_that_changes_after_admission_is_offered_again() -> None:
    whole = books()
    offer(whole)

    whole.see(sighting(20, size=150))
    assert whole.due(30, 10) == [("tv", "a.ts")]
    assert whole.see(sighting(30, size=150, writer=Writer.NONE)) == Settled(candidate=candidate(150), rested_s=10)


def test_a_forgotten_recording_is_offered_again() -> None:
    whole = books()
    offer(whole)
    whole.forget("tv", "a.ts")
    whole.forget("tv", "never seen.ts")

    whole.see(sighting(20))
    assert whole.see(sighting(30, writer=Writer.NONE)) == Settled(candidate=candidate(), rested_s=10)


def test_a_file_that_vanished_begins_anew() -> None:
    whole = books()
    whole.see(sighting(0))
    whole.see(sighting(0, path="b.ts"))
    whole.keep_only("tv", {"b.ts"})
    whole.lose("tv", "b.ts")

    assert whole.settling() == []
    assert whole.due(50, 10) == []
    assert whole.see(sighting(50, writer=Writer.NONE)) is None


def test_folders_keep_their_own_time() -> None:
    whole = Completeness({"tv": 10, "radio": 100})
    whole.see(sighting(0))
    whole.see(replace(sighting(0), watch="radio"))
    whole.keep_only("radio", {"a.ts"})

    assert whole.due(10, 10) == [("tv", "a.ts")]
    assert whole.due(100, 10) == [("radio", "a.ts")]


def test_looks_come_in_portions() -> None:
    whole = books()
    for number in range(5):
        whole.see(sighting(0, path=f"{number}.ts"))

    assert [len(whole.due(10, 2)) for _ in range(4)] == [2, 2, 1, 0]


def test_a_share_that_hangs_does_not_make_a_rest() -> None:
    """The rest counts from the first answer to the last question: what the share said in between is of any age."""
    whole = books()
    whole.see(replace(sighting(0), answered_at_s=600))

    assert whole.see(replace(sighting(601, writer=Writer.NONE), answered_at_s=1200)) is None
    assert whole.see(sighting(1200, writer=Writer.NONE)) is not None


def test_a_clock_that_runs_backwards_is_an_error() -> None:
    whole = books()
    whole.see(sighting(5))
    whole.due(5, 10)

    with pytest.raises(ValueError, match=r"monotonic clock went from 5 s back to 4\.9 s"):
        whole.due(4.9, 10)
    with pytest.raises(ValueError, match="monotonic clock went from 5 s to 4 s"):
        whole.see(sighting(4))


def test_settling_says_what_and_since_when() -> None:
    whole = books()
    whole.see(sighting(1, path="b.ts"))
    whole.see(sighting(2, path="a.ts"))
    whole.see(sighting(5, path="a.ts", size=101))

    assert whole.settling() == [
        Settling(watch="tv", relative_path="a.ts", size_bytes=101, since_s=2, waiting=Waiting.GROWING),
        Settling(watch="tv", relative_path="b.ts", size_bytes=100, since_s=1, waiting=Waiting.RESTING),
    ]


def test_offered_names_can_be_dropped() -> None:
    offered = Offered()
    for path in ("a.ts", "b.ts"):
        offered.note(candidate(path=path))
    offered.keep_only("tv", {hash("b.ts")})
    offered.keep_only("radio", set())

    assert (offered.count("tv"), offered.count("radio")) == (1, 0)
    assert not offered.has_name("tv", "a.ts")
    assert offered.holds("tv", "b.ts", 100, 100_000)
    assert not offered.holds("tv", "b.ts", 100, 100_001)


@dataclass
class World:
    """One file as it really is, and what intake gets to see of it."""

    now_s: float = 0.0
    size: int = 0
    changes: int = 0
    mtime_ns: int = 0
    inode: int = 1
    changed_at_s: float = 0.0
    is_open: bool = False

    def change(self, size: int, *, backwards: bool) -> None:
        self.changes += 1
        self.size = size
        self.mtime_ns = -self.changes if backwards else self.changes
        self.changed_at_s = self.now_s

    def look(self, answer_s: float, *, for_writers: bool) -> Sighting:
        """Ask now; the file system answers from the middle of `answer_s`."""
        asked_at_s = self.now_s
        self.now_s += answer_s
        seen = Sighting(
            watch="tv", relative_path="a.ts", size_bytes=self.size, mtime_ns=self.mtime_ns, device=1,
            inode=self.inode, asked_at_s=asked_at_s, answered_at_s=self.now_s + answer_s,
            writer=(Writer.OPEN if self.is_open else Writer.NONE) if for_writers else None,
        )  # fmt: skip
        self.now_s += answer_s
        return seen


pauses = st.sampled_from([0.0, 0.5, 3.0, 9.9, 10.0, 10.1, 25.0, 700.0])
deeds = st.one_of(
    st.tuples(st.just("wait"), pauses),
    st.tuples(st.just("append"), st.sampled_from([0.0, 1.0])),
    st.tuples(st.just("truncate"), st.just(0.0)),
    st.tuples(st.just("replace"), st.just(0.0)),
    st.tuples(st.just("open"), st.just(0.0)),
    st.tuples(st.just("close"), st.just(0.0)),
    st.tuples(st.just("scan"), st.sampled_from([0.0, 0.0, 0.1, 30.0])),
    st.tuples(st.just("tick"), st.sampled_from([0.0, 0.0, 0.1, 30.0])),
    st.tuples(st.just("stray look"), st.sampled_from([0.0, 30.0])),
    st.tuples(st.just("lose"), st.just(0.0)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(deeds, max_size=60))
def test_nothing_is_offered_early_and_nothing_is_forgotten(history: list[tuple[str, float]]) -> None:
    """
    For every history of one file: when intake offers an identity, the file really has it, is not empty, nobody has
    it open, and its last change lies at least settle_s back, counted to the question of the last look. No identity is
    offered twice. When the file is left alone in the end, what it then is has been offered.
    """
    world, whole, offered = World(), books(), list[Candidate]()

    def look(answer_s: float) -> None:
        asked_at_s = world.now_s
        settled = whole.see(world.look(answer_s, for_writers=True))
        if settled is None:
            return
        assert settled.candidate.size_bytes == world.size > 0
        assert settled.candidate.mtime_ns == world.mtime_ns
        assert not world.is_open
        assert asked_at_s - world.changed_at_s >= settled.rested_s >= SETTLE_S
        assert settled.candidate not in offered
        offered.append(settled.candidate)

    def tick(answer_s: float) -> None:
        for _ in whole.due(world.now_s, 10):
            look(answer_s)

    for deed, value in history:
        match deed:
            case "wait":
                world.now_s += value
            case "append":
                world.change(world.size + 1, backwards=bool(value))
            case "truncate":
                world.change(0, backwards=False)
            case "replace":
                world.inode += 1
                world.change(world.size, backwards=False)
            case "open" | "close":
                world.is_open = deed == "open"
            case "scan":
                whole.see(world.look(value, for_writers=False))
            case "tick":
                tick(value)
            case "stray look":
                look(value)
            case "lose":
                whole.lose("tv", "a.ts")

    world.is_open = False
    for _ in range(3):
        whole.see(world.look(0.0, for_writers=False))
        world.now_s += 61
        tick(0.0)
    last = Candidate(watch="tv", relative_path="a.ts", size_bytes=world.size, mtime_ns=world.mtime_ns)
    assert (last in offered) == (world.size > 0)
    assert whole.settling() == [] or world.size == 0
