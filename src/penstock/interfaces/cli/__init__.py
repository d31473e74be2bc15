"""The command line: `penstock VERB ...`, one file a verb."""

from penstock.interfaces.cli.main import main

__all__ = ["main"]
