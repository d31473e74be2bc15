"""`python -m penstock`: the command line."""

from __future__ import annotations

from penstock.interfaces import cli

if __name__ == "__main__":
    cli.main()
