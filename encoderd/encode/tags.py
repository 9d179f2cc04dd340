"""What the output says of itself, against what was planned: languages, titles, flags, chapters, words in its head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from encoderd.encode.chapters import muxable
from encoderd.encode.dispositions import comparable, kept
from encoderd.encode.languages import three_letters
from encoderd.encode.media import Chapter, Tags
from encoderd.encode.plan import EncodePlan
from encoderd.encode.words import differing
from encoderd.encode.written import OutputFacts
from encoderd.findings import Finding, passed, warned

#: Of streams that differ so many are named.
_MOST_NAMED = 6


def wanted_tags(plan: EncodePlan) -> tuple[Tags, ...]:
    """Return what the file has to say of its streams, in their order: video, audio, captions inside."""

    def first(names: Sequence[str], *, default: bool) -> tuple[str, ...]:
        return ("default", *names) if default else tuple(names)

    return (
        plan.video_tags,
        *(
            Tags(language=one.language, title=one.title, dispositions=first(one.dispositions, default=one.default))
            for one in plan.audio
        ),
        *(
            Tags(
                language=three_letters(one.language.partition(",")[0]),
                title=one.title,
                dispositions=first(one.dispositions, default=one.default),
            )
            for one in plan.inside
        ),
    )


def judge_tags(plan: EncodePlan, output: OutputFacts, duration_ms: int | None) -> Finding:
    """Whether the file says of itself what it should; what its container has no word for was named before."""
    wrong = [*_streams(plan, output), *_chapters(plan, output, duration_ms)]
    words = differing(plan.metadata, output.metadata)
    if words:
        wrong.append(f"{', '.join(words)} of the whole file")
    if not wrong:
        count = len(plan.chapters)
        beyond = sum(duration_ms is not None and one.start_ms >= duration_ms for one in plan.chapters)
        late = f" and {beyond} beyond the end" if beyond else ""
        streams, words_kept = len(wanted_tags(plan)), len(plan.metadata)
        return passed("tags", f"{streams} streams, {count - beyond} chapters{late}, {words_kept} words")
    more = f" and {len(wrong) - _MOST_NAMED} more" if len(wrong) > _MOST_NAMED else ""
    return warned(
        "tags",
        f"other than planned: {'; '.join(wrong[:_MOST_NAMED])}{more}",
        "Compare it with the recording: ffprobe -show_streams -show_chapters FILE; keep the recording when it matters.",
    )


def _streams(plan: EncodePlan, output: OutputFacts) -> Iterator[str]:
    there = [stream for stream in output.streams if stream.kind in {"video", "audio", "subtitle"}]
    for number, (wanted, stream) in enumerate(zip(wanted_tags(plan), there, strict=False)):
        found = stream.tags
        if stream.kind == "video":  # it is always the default: a player needs no word for that
            wanted = Tags(language=wanted.language, title=wanted.title, dispositions=_not_default(wanted))
            found = Tags(language=found.language, title=found.title, dispositions=_not_default(found))
        if wanted.language != found.language:
            yield f"stream {number} has the language {found.language or 'none'}, not {wanted.language or 'none'}"
        if wanted.title != found.title:
            yield f"stream {number} has the title {found.title!r}, not {wanted.title!r}"
        due = set(comparable(plan.muxer, kept(plan.muxer, stream.kind, wanted.dispositions)))
        there_is = set(comparable(plan.muxer, found.dispositions))
        if due != there_is:
            yield f"stream {number} is {_list(there_is)}, not {_list(due)}"


def _not_default(tags: Tags) -> tuple[str, ...]:
    return tuple(name for name in tags.dispositions if name != "default")


def _chapters(plan: EncodePlan, output: OutputFacts, duration_ms: int | None) -> Iterator[str]:
    due = [
        Chapter(start_ms=one["start"], title=str(one["metadata"]["title"]))
        for one in muxable(plan.chapters, duration_ms, plan.muxer)
    ]
    if output.chapters is None:
        if due or plan.source_chapters:
            yield f"{len(due)} chapters could not be written: this PyAV knows none"
        return
    if len(due) != len(output.chapters):
        yield f"{len(output.chapters)} chapters, not {len(due)}"
        return
    frame_ms = 1000 / plan.video.frame_rate if plan.video.frame_rate else Fraction(40)
    for wanted, found in zip(due, output.chapters, strict=True):
        if abs(wanted.start_ms - found.start_ms) > frame_ms or wanted.title != found.title:
            yield f"the chapter {wanted.title!r} of {wanted.start_ms} ms is {found.title!r} at {found.start_ms} ms"
            return


def _list(names: Sequence[str] | set[str]) -> str:
    return ", ".join(sorted(names)) or "nothing special"
