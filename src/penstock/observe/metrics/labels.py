"""Labels as people write them: `step=orders`."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.errors import ConfigError

__all__ = ["labels_of"]


def labels_of(given: Iterable[str]) -> dict[str, str]:
    """The labels of texts `NAME=VALUE`, by name. Raises ConfigError."""
    labels = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ConfigError(f"the label {text!r:.60} is not NAME=VALUE", hint="write for example step=orders")
        labels[name] = value
    return labels
