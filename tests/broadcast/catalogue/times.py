"""What clocks, stamps and decoders do to pictures, each with what a viewer has to get."""

from __future__ import annotations

from tests.broadcast.truth import Recipe

CATALOGUE: dict[str, Recipe] = {}
