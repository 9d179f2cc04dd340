from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoderd.intake.patterns import MOST_ENDINGS, Ignored, NamePatterns
from encoderd.settings import IGNORED, WatchSettings

SHIPPED = NamePatterns(WatchSettings.model_fields["include"].default, IGNORED)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("news.ts", True),
        ("NEWS.TS", True),
        ("番組 第1話.m2ts", True),
        ("two\nlines.ts", True),
        ("\udcff\udcfe.ts", True),
        *((f"news.{ending}", True) for ending in ("m2t", "tp", "TRP", "rec", "m4v", "3gp")),
        (".ts", False),  # a hidden file
        (".hidden.ts", False),
        ("news.ts.part", False),
        ("news.TMP", False),
        ("news.ts~", False),
        ("_unpack_news.ts", False),
        ("news.txt", False),
        ("ts", False),
        ("", False),
    ],
)
def test_shipped_patterns(name: str, expected: bool) -> None:
    assert SHIPPED.takes(name) is expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.ts", True),
        ("sub/folder/a.ts", True),
        ("sub/.hidden/a.ts", False),
        ("x.PART/a.ts", False),
        ("a.ts/b.txt", False),
    ],
)
def test_ignore_patterns_hold_for_folders_too(path: str, expected: bool) -> None:
    assert SHIPPED.reaches(path) is expected


def test_a_folder_that_is_not_recursive_reaches_its_own_files_only() -> None:
    flat = NamePatterns(["*.ts"], [], recursive=False)

    assert (flat.reaches("a.ts"), flat.reaches("sub/a.ts"), flat.enters("sub")) == (True, False, False)


def test_without_patterns_nothing_is_taken_and_nothing_ignored() -> None:
    assert not NamePatterns([], []).takes("a.ts")
    assert NamePatterns(["*"], []).takes("")


names = st.text("aB.*?[]!-x \n\udcff", max_size=8)


@given(names, names)
def test_patterns_mean_what_fnmatch_says(name: str, pattern: str) -> None:
    """The short cuts for "*.ts" and "tmp*" change nothing but the speed."""
    expected = fnmatch.fnmatchcase(name.lower(), pattern.lower())

    assert NamePatterns([pattern], []).takes(name) == expected


def ignored(*names: str) -> Ignored:
    counted = Ignored()
    for name in names:
        SHIPPED.note_ignored(name, counted)
    return counted


def test_ignored_files_are_counted_by_their_reason() -> None:
    found = ignored("a.JPG", "b.jpg", "c.nfo", "README", ".x.ts", "d.ts.part", "e.", "no.dot-that-is-an-ending")

    assert found == Ignored(hidden=1, by_pattern=1, endings={".jpg": 2, ".nfo": 1, "": 2, ".": 1})
    assert len(found) == 8
    assert found.as_text() == "6 by ending (no ending 2, .jpg 2, . 1, .nfo 1), 1 by pattern, 1 hidden"
    assert ignored().as_text() == ""


def test_endings_without_number_are_bounded() -> None:
    found = ignored(*(f"a.{number}" for number in range(1000)))

    assert len(found.endings) == MOST_ENDINGS + 1
    assert len(found) == 1000
    assert "1000 by ending (other 950, .0 1, .1 1, .10 1, .11 1, others 46)" == found.as_text()
