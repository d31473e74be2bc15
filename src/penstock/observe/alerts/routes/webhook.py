"""Any webhook: the message as JSON, signed. Settings: `url`, `secret`, `headers`.

The signature is `X-Penstock-Signature: sha256=` and the HMAC-SHA256 of time, a dot, and the body, in hexadecimal, keyed
with the secret; the time is that of `X-Penstock-Timestamp`, so that a request that was overheard is of no use later.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from penstock.observe.alerts.messages import Message
from penstock.observe.alerts.routes.posts import Post, json_post

__all__ = ["posts", "signature"]


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """The value of the header."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def posts(message: Message, settings: Mapping[str, Any]) -> list[Post]:
    """One request."""
    further = {str(name): str(value) for name, value in dict(settings.get("headers", {})).items()}
    post = json_post(str(settings["url"]), message.as_dict(), further)
    secret = str(settings.get("secret", ""))
    if not secret:
        return [post]
    timestamp = str(message.at_us // 1_000_000)
    signed = {"X-Penstock-Timestamp": timestamp, "X-Penstock-Signature": signature(secret, timestamp, post.body)}
    return [replace(post, headers={**post.headers, **signed})]
