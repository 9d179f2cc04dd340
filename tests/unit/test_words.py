"""Words in a container's head: whose they are, what is noise, and what MP4 has a place for."""

from __future__ import annotations

import pytest

from encoderd.encode.media import Service
from encoderd.encode.words import cleaned, differing, fitting, of_output, of_source


def test_words_for_the_container() -> None:
    """The file beside wins over the broadcaster, he over the source; no control characters, no lone surrogates."""
    service = Service(
        name="ＮＨＫ総合", title="題\x07名", description="a\nb\udcff", started_at="2026-11-23T10:00:00+09:00"
    )
    words = of_output({"title": "source", "artist": "them"}, service, {}, "how", "mp4")

    assert {
        "title": "題名",
        "artist": "them",
        "network": "ＮＨＫ総合",
        "date": "2026-11-23T10:00:00+09:00",
        "description": "a\nb",
        "comment": "how",
    } == words.kept
    assert {"title": "mine", "network": "p"} == of_output(
        {}, Service(title="theirs", provider="p"), {"title": "mine", "encoder": "x"}, "", "mp4"
    ).kept


def test_a_comment_stays_behind_the_mark() -> None:
    """The mark begins it, so that the output is known again; whoever commented the source is read on."""
    assert "how\nnice" == of_output({"comment": "nice"}, Service(), {}, "how", "mp4").kept["comment"]
    assert "how\nbeside" == of_output({"comment": "x"}, Service(), {"comment": "beside"}, "how", "mp4").kept["comment"]


def test_what_is_about_the_file_is_no_word() -> None:
    """Matroska spells its names in capitals; FFmpeg doubles words with a language; WTV has other names."""
    found = of_source(
        {
            "ARTIST": "a",
            "ENCODER": "Lavf",
            "major_brand": "isom",
            "title": "t",
            "title-eng": "t",
            "_STATISTICS_TAGS": "BPS",
            "WM/SubTitle": "pilot",
            "WM/MediaStationCallSign": "ABC",
            "custom": "\x00 c ",
            "EMPTY": " ",
        }
    )

    assert {"artist": "a", "title": "t", "custom": "c", "episode_id": "pilot", "network": "ABC"} == found


def test_mp4_has_a_place_for_some() -> None:
    """Numbers have to be numbers there; Matroska takes any word."""
    words = of_output({"season_number": "two", "episode_sort": "03", "mood": "glad"}, Service(), {}, "", "mp4")

    assert ({"episode_sort": "03"}, ("season_number", "mood")) == (words.kept, words.left_out)
    assert "glad" == fitting("matroska", "mood", "glad")


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("track", "1/12", "1/12"),
        ("track", "03/012", "3/12"),
        ("disc", "5/0", "5"),
        ("track", "x", ""),
        ("track", "0", ""),
        ("track", "1/2/3", ""),
        ("disc", "70000", ""),
        ("media_type", "10", "10"),
        ("media_type", "300", ""),
        ("episode_sort", "1234", "1234"),
        ("season_number", "99999999999", ""),
        ("season_number", "-1", ""),
        ("compilation", "1", "1"),
        ("location", "+48.8577+002.295/", "+48.8577+002.295/"),
        ("location", "-33.9+151.2+35.5/", "-33.9+151.2+35.5/"),
        ("location", "Paris", ""),
        ("location", "+91+0/", ""),
        ("creation_time", "2021-03-04T05:06:07.5+09:00", "2021-03-03T20:06:07.500000Z"),
        ("creation_time", "2005-08-17 11:42:43", "2005-08-17T11:42:43.000000Z"),
        ("creation_time", "1900-01-01T00:00:00Z", ""),
        ("creation_time", "1970-01-01T00:00:00Z", ""),
        ("creation_time", "2041-01-01T00:00:00Z", ""),
        ("creation_time", "0000-00-00T00:00:00Z", ""),
        ("creation_time", "yesterday", ""),
    ],
)
def test_mp4_has_a_form_for_some(name: str, value: str, kept: str) -> None:
    """What it would change to another value is left out, and said: FFmpeg writes 2036 for 1900, and 4464 for 70000."""
    assert kept == fitting("mp4", name, value)
    assert value == fitting("matroska", name, value) or name == "creation_time"


def test_matroska_keeps_any_time() -> None:
    assert "1900-01-01T00:00:00.000000Z" == fitting("matroska", "creation_time", "1900-01-01T00:00:00Z")
    assert "" == fitting("matroska", "creation_time", "yesterday")


def test_texts_keep_what_their_letters_need() -> None:
    """Spaces that do not break, joiners (Persian, families of emoji); tabs become spaces, the rest is no text."""
    texts = "Où\u00a0?", "می\u200cخواهم", "👨\u200d👩\u200d👧", "a\u3000b\nc"

    assert texts == tuple(map(cleaned, texts))
    assert "a bc d" == cleaned("\ufeffa\tb\x07c\udcff d\x85\r\n ")
    assert 50_000 == len(cleaned("x" * 50_000))


def test_what_differs_is_named() -> None:
    """Names in any case, numbers as numbers, times and places as far as a container keeps them."""
    planned = {
        "title": "t",
        "artist": "a",
        "episode_sort": "03",
        "creation_time": "2020-01-01T00:00:00.7Z",
        "location": "+48.85774+002.295/",
    }
    kept = {"episode_sort": "3", "creation_time": "2020-01-01T00:00:00.000000Z", "location": "+48.8577+002.2950/"}
    other = {"episode_sort": "4", "creation_time": "2036-02-07T06:28:16.000000Z", "location": "+48.8677+002.2950/"}

    assert [] == differing(planned, {"TITLE": "t", "artist": "a", **kept})
    assert list(planned) == differing(planned, {"artist": "b", **other})
    assert list(planned) == differing(planned, {})
    assert [] == differing({"season_number": "1234", "track": "4"}, {"season_number": "210", "track": "4"})
    assert ["track"] == differing({"track": "1234"}, {"track": "210"})
