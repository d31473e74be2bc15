"""Keeps the values of secrets out of entries."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

__all__ = ["HIDDEN", "Redactor"]

HIDDEN = "***"
"""What stands in the place of a secret."""
_CHARS_LEAST = 4
"""A shorter value would tear holes into everything, and is no secret."""
_LINE_CHARS_LEAST = 12
"""Of a value of several lines (a key in PEM) each line of this length is hidden too: tracebacks show single lines."""


class Redactor:
    """Replaces secrets in text. `secrets` is asked each time: more become known while a flow connects."""

    def __init__(self, secrets: Callable[[], Sequence[str]] = lambda: ()) -> None:
        self.secrets = secrets
        self._seen: Sequence[str] = ()
        self._hidden: tuple[str, ...] = ()

    def __call__(self, text: str) -> str:
        """The text without any secret in it."""
        secrets = self.secrets()
        if secrets is not self._seen:
            self._seen, self._hidden = secrets, _forms(secrets)
        for secret in self._hidden:
            if secret in text:
                text = text.replace(secret, HIDDEN)
        return text


def _forms(secrets: Sequence[str]) -> tuple[str, ...]:
    """All texts to hide, the longest first: a secret as it is, as Python and JSON write it, and its lines."""
    found: set[str] = set()
    for secret in secrets:
        lines = secret.splitlines()
        wanted = [secret] if len(lines) < 2 else [secret, *(one for one in lines if len(one) >= _LINE_CHARS_LEAST)]  # noqa: PLR2004
        for one in wanted:
            found |= {one, repr(one)[1:-1], json.dumps(one)[1:-1], json.dumps(one, ensure_ascii=False)[1:-1]}
    return tuple(sorted((one for one in found if len(one) >= _CHARS_LEAST), key=len, reverse=True))
