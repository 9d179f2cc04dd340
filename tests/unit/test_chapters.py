"""Chapters from the files that other programs write, in their encodings; nonsense costs itself."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd.encode.chapters import (
    BEGINNING,
    LONGEST_TITLE,
    MOST_CHAPTERS,
    Chapter,
    are_marked,
    muxable,
    of_source,
    on_output,
    parse,
)

OGM = "CHAPTER01=00:00:00.000\r\nCHAPTER01NAME={0}\r\nCHAPTER02=00:01:30.500\r\nCHAPTER02NAME={1}\r\n"


def times(data: str | bytes) -> list[tuple[int, int | None, str]]:
    found = parse(data if isinstance(data, bytes) else data.encode("utf-8"))
    return [(chapter.start_ms, chapter.end_ms, chapter.title) for chapter in found.chapters]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp932", "euc_jp"])
@pytest.mark.parametrize(
    "titles", [("アバン", "本編"), ("本編", "提供"), ("ＣＭ　その１", "次回予告"), ("A", "B"), ("高橋・崎", "Aパート")]
)
def test_each_encoding_is_known_by_itself(encoding: str, titles: tuple[str, str]) -> None:
    """With CRLF, as Windows writes it."""
    assert [(0, None, titles[0]), (90_500, None, titles[1])] == times(OGM.format(*titles).encode(encoding))


def test_windows_own_characters() -> None:
    data = OGM.format("①髙﨑", "～Aパート～").encode("cp932")

    assert ["①髙﨑", "～Aパート～"] == [title for _, _, title in times(data)]


@pytest.mark.parametrize("title", ["ｱﾊﾞﾝ", "ｵｰﾌﾟﾆﾝｸﾞ", "ﾊﾟｰﾄA", "CMﾊﾞﾝ"])
def test_half_width_katakana_is_no_euc(title: str) -> None:
    data = OGM.format(title, "B").encode("cp932")

    assert title == times(data)[0][2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CHAPTER01=00:00:05.5\nCHAPTER01NAME=a", [(5_500, None, "a")]),
        ("CHAPTER1=01:02:03\n", [(3_723_000, None, "")]),
        ("chapter001 = 00:00:01,250\nchapter001name=a=b", [(1_250, None, "a=b")]),
        (
            "CHAPTER02=00:00:02.000\nCHAPTER01=00:00:01.000\nCHAPTER01NAME=one",
            [(1_000, None, "one"), (2_000, None, "")],
        ),
        ("CHAPTER01NAME=before\nCHAPTER01=00:00:00.123456", [(123, None, "before")]),
        ("CHAPTER01=00:00:01.000\nCHAPTER02=00:00:01.000\n", [(1_000, None, "")]),
        ("CHAPTER01=00:61:00.000\nCHAPTER02=00:00:99.0\nCHAPTER03=x\nCHAPTER04=-1:00:00.0", []),
        ("CHAPTER01=00:00:00.000\nCHAPTER01NAME=tab\there\x07", [(0, None, "tab here")]),
        ("CHAPTER01NAME=no time", []),
        ("CHAPTER01=9999:00:00.000", []),
        ("", []),
    ],
)
def test_ogm(text: str, expected: list[tuple[int, int | None, str]]) -> None:
    assert expected == times(text)


FF = ";FFMETADATA1\ntitle=A \\= B\\\nC\n# remark\nencoder=x\n{0}[STREAM]\ntitle=sound\n"


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ("[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1500\ntitle=one\n", [(0, 1500, "one")]),
        ("[CHAPTER]\nTIMEBASE=1/90000\nSTART=90045\nEND=180000\n", [(1_001, 2_000, "")]),
        ("[CHAPTER]\nSTART=1000000000\nEND=2000000000\n", [(1_000, 2_000, "")]),
        (
            "[chapter]\nTIMEBASE=1/1\nEND=5\ntitle=a\\;b\n[CHAPTER]\nTIMEBASE=1/1\nEND=7\n",
            [(0, 5_000, "a;b"), (5_000, 7_000, "")],
        ),
        (
            "[CHAPTER]\nTIMEBASE=1/1\nSTART=0\nEND=9\ntitle=a\n[CHAPTER]\nTIMEBASE=1/1\nSTART=4\nEND=3\ntitle=b\n",
            [(0, 4_000, "a"), (4_000, None, "b")],
        ),
        ("[CHAPTER]\nTIMEBASE=1/0\nSTART=1\n[CHAPTER]\nTIMEBASE=x\nSTART=1\n[CHAPTER]\nSTART=-1\n", []),
        ("[CHAPTER]\nTIMEBASE=1/1\nSTART=99999999999999999999\n", []),
    ],
)
def test_ffmetadata(sections: str, expected: list[tuple[int, int | None, str]]) -> None:
    found = parse(FF.format(sections).encode())

    assert expected == [(chapter.start_ms, chapter.end_ms, chapter.title) for chapter in found.chapters]
    assert {"title": "A = B\nC"} == found.metadata


def test_what_was_left_out_is_said() -> None:
    assert ("2 lines say nothing of chapters",) == parse(b"CHAPTER01=0\nhello\nCHAPTER02=00:00:01.000").notes
    assert ("1 chapters overlapped",) == parse(b"CHAPTER01=00:00:01.0\nCHAPTER02=00:00:01.0").notes
    assert "no encoding that is known" in parse(b"CHAPTER01NAME=\x81").notes[0]


def test_a_file_that_never_ends_is_cut() -> None:
    text = "".join(f"CHAPTER{n}=00:{n // 60 % 60:02d}:{n % 60:02d}.{n // 3600}00\n" for n in range(5_000))
    long = "CHAPTER1=00:00:00.0\nCHAPTER1NAME=" + "x" * 10_000

    assert MOST_CHAPTERS == len(parse(text.encode()).chapters)
    assert LONGEST_TITLE == len(parse(long.encode()).chapters[0].title)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_anything_may_stand_there(data: st.DataObject) -> None:
    """Random bytes, and valid files that were hit by them: an answer in order, never an exception."""
    noise = random.Random(data.draw(st.integers(0, 2**32)))
    valid = data.draw(st.sampled_from([OGM.format("本", "x"), FF.format("[CHAPTER]\nTIMEBASE=1/9\nSTART=3\nEND=4\n")]))
    content = bytearray(valid.encode(data.draw(st.sampled_from(["utf-8", "cp932", "utf-16"]))))
    for _ in range(noise.randrange(6)):
        at = noise.randrange(len(content))
        content[at : at + noise.randrange(3)] = noise.randbytes(noise.randrange(4))
    for raw in (bytes(content), noise.randbytes(200), b";FFMETADATA" + noise.randbytes(200)):
        found = parse(raw)
        starts = [chapter.start_ms for chapter in found.chapters]

        assert sorted(set(starts)) == starts
        ends = [chapter.end_ms for chapter in found.chapters]
        assert all(end is None or end <= start for end, start in zip(ends, starts[1:], strict=False))
        found.metadata.get("title", "").encode("utf-8")
        for entry in muxable(found.chapters, 5_000, "mp4"):
            assert 0 <= entry["start"] < entry["end"] <= 5_000


def test_chapters_for_the_muxer() -> None:
    """Every end is known, the first begins at 0 and each has a title; beyond the end there are none."""
    chapters = [
        Chapter(start_ms=1_000, title="one"),
        Chapter(start_ms=2_000, end_ms=2_500),
        Chapter(start_ms=4_000, end_ms=9_000, title="x"),
        Chapter(start_ms=6_000),
    ]
    made = [(entry["start"], entry["end"], entry["metadata"]["title"]) for entry in muxable(chapters, 5_000, "mp4")]
    open_ended = muxable(chapters, None, "mp4")[-1]

    assert [(0, 1_000, BEGINNING), (1_000, 2_000, "one"), (2_000, 2_500, "Chapter 2"), (4_000, 5_000, "x")] == made
    assert (6_000, 7_000) == (open_ended["start"], open_ended["end"])
    assert [] == muxable([], 5_000, "mp4")


def test_only_mp4_has_to_begin_at_zero() -> None:
    """Matroska's first chapter begins where it begins; in MP4 one that nearly begins at 0 does so."""
    chapters = [Chapter(start_ms=40, title="one"), Chapter(start_ms=2_000, title="two")]
    starts = {muxer: [entry["start"] for entry in muxable(chapters, 5_000, muxer)] for muxer in ("mp4", "matroska")}

    assert {"mp4": [0, 2_000], "matroska": [40, 2_000]} == starts


def test_a_container_s_chapters_move_with_the_output_s_zero() -> None:
    """The output begins 80.02 s into the source's clock: what is over then is gone, what goes on begins at 0."""
    chapters = [
        Chapter(start_ms=0, end_ms=70_000, title="before"),
        Chapter(start_ms=70_000, title="going on"),
        Chapter(start_ms=81_020, end_ms=82_000, title="one"),
        Chapter(start_ms=82_000, title="open"),
    ]

    assert (
        Chapter(start_ms=0, title="going on"),
        Chapter(start_ms=1_000, end_ms=1_980, title="one"),
        Chapter(start_ms=1_980, title="open"),
    ) == on_output(chapters, 80_020)


def test_chapters_that_an_old_pyav_does_not_read_are_noticed() -> None:
    """Matroska says in its head that it has some, MP4 in its index, wherever that stands."""
    assert are_marked(b"\x1a\x45\xdf\xa3..\x10\x43\xa7\x70", b"")
    assert are_marked(b"ftyp", b"moov..udta..chpl")
    assert not are_marked(b"ftyp", b"moov")


def test_a_container_s_chapters_are_put_in_order() -> None:
    """Editions that overlap are cut where the next chapter begins, and that is said."""
    found = of_source([Chapter(start_ms=5_000, title="b"), Chapter(start_ms=0, end_ms=9_000, title="a")])

    assert (Chapter(start_ms=0, end_ms=5_000, title="a"), Chapter(start_ms=5_000, title="b")) == found.chapters
    assert ("1 chapters overlapped",) == found.notes


@pytest.mark.parametrize(
    ("titles", "title"),
    [
        (("Part", "Scene"), "Part / Scene"),
        (("", "Scene"), "Scene"),
        (("Part", ""), "Part"),
        (("Part", "Scene", "Part", "Shot"), "Part / Scene / Shot"),
        (("x" * 300, "y" * 300), "x" * 300 + " / " + "y" * (LONGEST_TITLE - 303)),
    ],
)
def test_chapters_at_one_time_keep_their_titles(titles: tuple[str, ...], title: str) -> None:
    """A part that begins with its first scene is one chapter, which ends where the next scene begins."""
    nested = [Chapter(start_ms=0, end_ms=9_000 // number, title=one) for number, one in enumerate(titles, start=1)]
    found = of_source([*nested, Chapter(start_ms=5_000, title="last")])

    assert (Chapter(start_ms=0, end_ms=5_000, title=title), Chapter(start_ms=5_000, title="last")) == found.chapters
