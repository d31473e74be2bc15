"""What is sent by HTTP, as a value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Post", "json_post"]


@dataclass(frozen=True, slots=True)
class Post:
    """One request. `retry_on`: status codes that waiting may heal, beside those from 500 on."""

    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    retry_on: tuple[int, ...] = (408, 425, 429)


def json_post(url: str, values: Any, headers: Mapping[str, str] | None = None) -> Post:
    """A request with JSON."""
    body = json.dumps(values, ensure_ascii=False).encode()
    return Post(url, body, {"content-type": "application/json", **(headers or {})})
