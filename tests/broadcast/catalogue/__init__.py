"""
The made recordings, by name; each name stands in one of these modules.

Nothing is stored: `Recipe.make` builds the bytes in a second or less. Pictures are small where their size does not
matter.
"""

from __future__ import annotations

from tests.broadcast.catalogue import broadcasts, claims, damages, foreign, refusals, shapes, sounds, times, tracks
from tests.broadcast.truth import Recipe

CATALOGUE: dict[str, Recipe] = {}
for _topic in (broadcasts, times, claims, sounds, damages, refusals, tracks, shapes, foreign):
    assert not CATALOGUE.keys() & _topic.CATALOGUE.keys()
    CATALOGUE |= _topic.CATALOGUE
