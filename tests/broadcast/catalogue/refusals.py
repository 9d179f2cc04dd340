"""What is odd about the file as a whole, each with what a viewer has to get."""

from __future__ import annotations

from tests.broadcast.truth import Recipe

CATALOGUE: dict[str, Recipe] = {}
