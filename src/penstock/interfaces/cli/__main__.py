"""`python -m penstock.interfaces.cli`: the command line, where the script `penstock` is not on the path."""

from __future__ import annotations

from penstock.interfaces.cli.main import main

if __name__ == "__main__":
    main()
