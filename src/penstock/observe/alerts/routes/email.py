"""E-mail by SMTP. Settings: `host`, `port`, `to` (one or more), `from`, `user`, `password`, `tls` (`starttls` unless it
is said to be `yes` or `no`).
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from typing import Any

from penstock.clock import to_datetime
from penstock.observe.alerts.messages import Message

__all__ = ["mail", "send"]

_TIMEOUT_S = 20.0
_PORTS = {"starttls": 587, "yes": 465, "no": 25}


def mail(message: Message, settings: Mapping[str, Any]) -> EmailMessage:
    """The mail. Messages of one group are one thread."""
    to = settings["to"]
    found = EmailMessage()
    state = message.severity.value.upper() if message.firing else "OVER"
    found["Subject"] = f"[{state}] {message.title}".replace("\n", " ")[:200]
    found["From"] = str(settings["from"])
    found["To"] = ", ".join(to) if isinstance(to, (list, tuple)) else str(to)
    found["Date"] = to_datetime(message.at_us)
    found["References"] = f"<{message.key.replace('/', '.')}@penstock>"
    found.set_content(message.text)
    return found


def send(message: Message, settings: Mapping[str, Any]) -> None:
    """Send it. Raises OSError and smtplib's errors, which are OSErrors too."""
    tls = str(settings.get("tls", "starttls"))
    host, port = str(settings["host"]), int(settings.get("port", _PORTS[tls]))
    context = ssl.create_default_context()
    server: smtplib.SMTP
    if tls == "yes":
        server = smtplib.SMTP_SSL(host, port, timeout=_TIMEOUT_S, context=context)
    else:
        server = smtplib.SMTP(host, port, timeout=_TIMEOUT_S)
    with server:
        if tls == "starttls":
            server.starttls(context=context)
        if settings.get("user"):
            server.login(str(settings["user"]), str(settings.get("password", "")))
        server.send_message(mail(message, settings))
