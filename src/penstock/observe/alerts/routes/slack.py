"""Webhooks of Slack's shape, which Mattermost and others take too. Settings: `url`.

See https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks and the blocks of its Block Kit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.observe.alerts.messages import Message
from penstock.observe.alerts.routes.posts import Post, json_post
from penstock.observe.alerts.rules import Severity

__all__ = ["posts"]

_MOST = 2_900
"""Characters of one block; Slack takes 3,000."""
_MARKS: Mapping[Severity, str] = {Severity.PAGE: ":red_circle:", Severity.TICKET: ":large_orange_circle:"}


def posts(message: Message, settings: Mapping[str, Any]) -> list[Post]:
    """One message with a title and a block of text. Text of logs can't mention anybody."""
    mark = _MARKS.get(message.severity, ":information_source:") if message.firing else ":white_check_mark:"
    title = f"{mark} {_plain(message.title)}"
    blocks: list[dict[str, Any]] = [
        {"type": "section", "text": {"type": "mrkdwn", "text": f"*{title}*"[:_MOST]}},
        {"type": "section", "text": {"type": "mrkdwn", "text": _plain(message.text)[:_MOST]}},
    ]
    context = " · ".join(f"{name}: {_plain(value)}" for name, value in sorted(message.labels.items()))
    if context:
        blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": context[:_MOST]}]})
    return [json_post(str(settings["url"]), {"text": title[:_MOST], "blocks": blocks})]


def _plain(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
