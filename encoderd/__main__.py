"""`python -m encoderd` is the `encoderd` command."""

from encoderd.cli import main

main()
