"""References to secrets: configuration names where a secret is, and only the connector that needs it looks there."""

from __future__ import annotations

import os
from pathlib import Path

from penstock.errors import ConfigError

__all__ = ["is_reference", "resolve"]

SCHEMES = ("env:", "file:")


def is_reference(value: str) -> bool:
    """Whether `value` names a place (`env:NAME`, `file:PATH`) instead of being the value itself."""
    return value.startswith(SCHEMES)


def resolve(value: str, root: Path) -> str:
    """What `value` stands for: `env:NAME` a variable, `file:PATH` the text of a file (relative to `root`), else itself.

    The newline at the end of a file is no part of the secret. Raises ConfigError where the place is missing or
    empty; the message names the reference and never the value.
    """
    if value.startswith("env:"):
        return _from_environment(value, value.removeprefix("env:"))
    if value.startswith("file:"):
        return _from_file(value, root / value.removeprefix("file:"))
    return value


def _from_environment(reference: str, name: str) -> str:
    if not name:
        raise ConfigError(f"the secret reference {reference!r} names no variable", hint="write env:NAME")
    found = os.environ.get(name)
    if not found:
        state = "empty" if found == "" else "not set"
        raise ConfigError(f"the secret {reference!r} is {state}", hint=f"export {name}=... before the start")
    return found


def _from_file(reference: str, path: Path) -> str:
    try:
        found = path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ConfigError(f"the secret {reference!r} can't be read: {error.strerror}", hint=f"look at {path}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"the secret {reference!r} is not UTF-8 text", hint=f"look at {path}") from None
    if not found:
        raise ConfigError(f"the secret {reference!r} is empty", hint=f"look at {path}")
    return found
