"""References to secrets: configuration names where a secret is, and only the connector that needs it looks there."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from penstock.errors import ConfigError

__all__ = ["is_reference", "resolve", "resolved_secrets"]

SCHEMES = ("env:", "file:")
_resolved: tuple[str, ...] = ()


def is_reference(value: str) -> bool:
    """Whether `value` names a place (`env:NAME`, `file:PATH`) instead of being the value itself."""
    return value.startswith(SCHEMES)


def resolved_secrets() -> tuple[str, ...]:
    """The values that references stood for in this process, and the passwords in those that are addresses.

    For whoever must keep them out of what people see. The same tuple as long as nothing more was resolved.
    """
    return _resolved


def _note(value: str) -> str:
    global _resolved  # noqa: PLW0603 - what a process knows of secrets is one fact of the process
    found = [value]
    try:
        password = urlsplit(value).password
    except ValueError:
        password = None
    if password:
        found += [password, unquote(password)]
    if not set(found) <= set(_resolved):
        _resolved = (*_resolved, *(one for one in dict.fromkeys(found) if one not in _resolved))
    return value


def resolve(value: str, root: Path, *, secret: bool = True) -> str:
    """What `value` stands for: `env:NAME` a variable, `file:PATH` the text of a file (relative to `root`), else itself.

    `secret`: whether what was found must not be seen in logs (`resolved_secrets`).
    The newline at the end of a file is no part of the secret. Raises ConfigError where the place is missing or
    empty; the message names the reference and never the value.
    """
    if value.startswith("env:"):
        found = _from_environment(value, value.removeprefix("env:"))
    elif value.startswith("file:"):
        found = _from_file(value, root / value.removeprefix("file:"))
    else:
        return value
    return _note(found) if secret else found


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
