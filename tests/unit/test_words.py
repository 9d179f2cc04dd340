"""Words in a container's head: whose they are, what is noise, and what MP4 has a place for."""

from __future__ import annotations

from encoderd.encode.media import Service
from encoderd.encode.words import differing, keeps, of_output, of_source


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
    assert [True, False, False] == [keeps("mp4", "track", value) for value in ("1/12", "x", "0")]
    assert keeps("matroska", "mood", "glad")


def test_what_differs_is_named() -> None:
    """Names in any case, numbers as numbers, the time of creation in any form."""
    planned = {"title": "t", "artist": "a", "episode_sort": "03", "creation_time": "2020-01-01T00:00:00Z"}

    assert [] == differing(planned, {"TITLE": "t", "artist": "a", "episode_sort": "3", "creation_time": "2020"})
    assert ["title", "artist", "episode_sort", "creation_time"] == differing(planned, {"artist": "b"})
