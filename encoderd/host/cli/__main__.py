"""`python -m encoderd.host.cli`."""

from encoderd.host.cli import main

if __name__ == "__main__":
    main()
