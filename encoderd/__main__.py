"""`python -m encoderd` is the `encoderd` command."""

from __future__ import annotations

import gc


def main() -> None:
    """Import the command and run it. Imports make a million objects and drop none: the collector waits for them."""
    gc.disable()
    from encoderd.cli import main as command

    gc.freeze()
    gc.enable()
    command()


if __name__ == "__main__":
    main()
