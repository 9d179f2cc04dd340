"""What the output says of itself against what was planned: every difference is named, and forbids disposal."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from encoderd.encode.media import CaptionInfo, Chapter, Tags
from encoderd.encode.tags import judge_tags, wanted_tags
from encoderd.encode.written import OutputFacts
from encoderd.findings import Verdict
from tests.unit.test_verify import PLAN, output

DESCRIBED = replace(PLAN.audio[1], language="deu", title="AD", dispositions=("visual_impaired", "descriptions"))
WANTED = replace(
    PLAN,
    audio=(PLAN.audio[0], DESCRIBED),
    metadata={"title": "t"},
    chapters=(Chapter(start_ms=0, title="one"), Chapter(start_ms=2_000, title="two")),
)
TOLD = Tags(language="deu", title="AD", dispositions=("visual_impaired", "descriptions"))


def written(last: Tags = TOLD) -> OutputFacts:
    found = output()
    streams = (*found.streams[:2], replace(found.streams[2], tags=last))
    chapters = (Chapter(start_ms=0, title="one"), Chapter(start_ms=2_030, title="two"))
    return replace(found, streams=streams, chapters=chapters, metadata={"TITLE": "t"})


def test_what_is_as_planned_passes() -> None:
    """A chapter may be a picture beside; MP4 has one word for two flags of an audio description."""
    assert Verdict.PASS == judge_tags(WANTED, written(), 9_000).verdict
    assert Verdict.PASS == judge_tags(WANTED, written(replace(TOLD, dispositions=("visual_impaired",))), 9_000).verdict


def test_chapters_beyond_the_end_are_counted_apart() -> None:
    late = replace(WANTED, chapters=(*WANTED.chapters, Chapter(start_ms=9_000, title="three")))

    assert "2 chapters and 1 beyond the end," in judge_tags(late, written(), 9_000).evidence


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (written(replace(TOLD, language="eng")), "stream 2 has the language eng, not deu"),
        (written(replace(TOLD, title="")), "stream 2 has the title '', not 'AD'"),
        (written(replace(TOLD, dispositions=())), "stream 2 is nothing special, not visual_impaired"),
        (written(replace(TOLD, dispositions=("default", *TOLD.dispositions))), "stream 2 is default, visual_impaired"),
        (replace(written(), metadata={}), "title of the whole file"),
        (replace(written(), chapters=()), "0 chapters, not 2"),
        (replace(written(), chapters=None), "2 chapters could not be written"),
        (
            replace(written(), chapters=(Chapter(start_ms=0, title="one"), Chapter(start_ms=2_050, title="two"))),
            "the chapter 'two' of 2000 ms is 'two' at 2050 ms",
        ),
        (
            replace(written(), chapters=(Chapter(start_ms=0, title="one"), Chapter(start_ms=2_000, title="x"))),
            "the chapter 'two' of 2000 ms is 'x' at 2000 ms",
        ),
    ],
)
def test_every_difference_is_named(found: OutputFacts, said: str) -> None:
    finding = judge_tags(WANTED, found, 9_000)

    assert Verdict.WARN == finding.verdict
    assert said in finding.evidence
    assert finding.remedy


def test_what_a_container_has_no_word_for_is_not_looked_for() -> None:
    """Neither has a flag for a receiver's mix; Matroska's sound has none for descriptions."""
    mixed = replace(DESCRIBED, dispositions=(*DESCRIBED.dispositions, "dependent"))
    plan = replace(WANTED, audio=(PLAN.audio[0], mixed))
    in_matroska = replace(written(), streams=written(replace(TOLD, dispositions=("visual_impaired",))).streams)

    assert Verdict.PASS == judge_tags(plan, written(), 9_000).verdict
    assert Verdict.PASS == judge_tags(replace(plan, muxer="matroska"), in_matroska, 9_000).verdict


def test_wanted_are_video_sound_and_captions_inside() -> None:
    """In the order of the file; a language of two letters becomes one of three."""
    caption = CaptionInfo(index=3, pid=3, codec="dvb_subtitle", language="de", dispositions=("hearing_impaired",))
    plan = replace(WANTED, inside=(caption,), video_tags=Tags(language="fra"))

    assert (
        Tags(language="fra"),
        Tags(dispositions=("default",)),
        TOLD,
        Tags(language="deu", dispositions=("hearing_impaired",)),
    ) == wanted_tags(plan)
    assert Fraction(25) == plan.video.frame_rate
