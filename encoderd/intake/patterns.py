"""Which file names are recordings and which folders are entered: fnmatch patterns, compiled once."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from encoderd.jobs import readable

#: Endings that are counted apart and those that are shown; longer ones in characters are no endings.
MOST_ENDINGS, SHOWN_ENDINGS, LONGEST_ENDING = 50, 5, 12

_WILD = re.compile(r"[*?\[]")


class _AnyOf:
    """
    Any of several fnmatch patterns, upper and lower case alike.

    "*.ts" and "tmp*" are compared as suffix and prefix: with the shipped patterns that is ten times as fast as one
    regular expression, and the names of 100,000 files are compared at every scan.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        suffixes, prefixes, others = [], [], []
        for pattern in (pattern.lower() for pattern in patterns):
            if pattern.startswith("*") and not _WILD.search(pattern[1:]):
                suffixes.append(pattern[1:])
            elif pattern.endswith("*") and not _WILD.search(pattern[:-1]):
                prefixes.append(pattern[:-1])
            else:
                others.append(fnmatch.translate(pattern))
        self._suffixes, self._prefixes = tuple(suffixes), tuple(prefixes)
        self._others = re.compile("|".join(others)) if others else None

    def matches(self, name: str) -> bool:
        name = name.lower()
        if name.endswith(self._suffixes) or name.startswith(self._prefixes):
            return True
        return self._others is not None and self._others.match(name) is not None


@dataclass(slots=True)
class Ignored:
    """
    The files of a folder that are no recordings to it, counted by the reason: hidden, an ignore pattern, or the ending
    (in lower case, "" for none). Of endings MOST_ENDINGS are told apart, the others count as "other".
    """

    hidden: int = 0
    by_pattern: int = 0
    endings: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.hidden + self.by_pattern + sum(self.endings.values())

    def as_text(self) -> str:
        """Return the counts as people read them: "3 by ending (.jpg 2, .nfo 1), 1 hidden"; "" for none."""
        by_ending = sum(self.endings.values())
        parts = []
        if by_ending:
            most = sorted(self.endings.items(), key=lambda one: (-one[1], one[0]))
            named = [f"{readable(ending) or 'no ending'} {count}" for ending, count in most[:SHOWN_ENDINGS]]
            rest = by_ending - sum(count for _, count in most[:SHOWN_ENDINGS])
            named += [f"others {rest}"] if rest else []
            parts.append(f"{by_ending} by ending ({', '.join(named)})")
        parts += [f"{self.by_pattern} by pattern"] if self.by_pattern else []
        parts += [f"{self.hidden} hidden"] if self.hidden else []
        return ", ".join(parts)


class NamePatterns:
    """The include and ignore patterns of one watch folder; ignore wins."""

    def __init__(self, include: Iterable[str], ignore: Iterable[str], *, recursive: bool = True) -> None:
        self._include, self._ignore, self._recursive = _AnyOf(include), _AnyOf(ignore), recursive

    def takes(self, name: str) -> bool:
        """Return whether a file of this name (the last part of its path) is a recording."""
        return self._include.matches(name) and not self._ignore.matches(name)

    def note_ignored(self, name: str, ignored: Ignored) -> None:
        """Count a file that `takes` refused."""
        if name.startswith("."):
            ignored.hidden += 1
        elif self._ignore.matches(name):
            ignored.by_pattern += 1
        else:
            stem, dot, last = name.rpartition(".")
            ending = f".{last.lower()}" if stem and dot and len(last) <= LONGEST_ENDING else ""
            if ending not in ignored.endings and len(ignored.endings) >= MOST_ENDINGS:
                ending = "other"
            ignored.endings[ending] = ignored.endings.get(ending, 0) + 1

    def enters(self, name: str) -> bool:
        """Return whether a subfolder of this name (the last part of its path) is looked into."""
        return self._recursive and not self._ignore.matches(name)

    def reaches(self, relative_path: str) -> bool:
        """Return whether a scan takes the file at this path below the watch folder."""
        *folders, name = relative_path.split("/")
        return self.takes(name) and all(map(self.enters, folders))
