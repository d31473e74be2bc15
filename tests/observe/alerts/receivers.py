"""Real receivers on loopback that keep what they are told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MessageHandler

from penstock.testing.servers import free_port

__all__ = ["HttpReceiver", "MailReceiver", "http_receiver", "mail_receiver"]


@dataclass
class HttpReceiver:
    """An HTTP server. `answers`: status codes of the next requests; 200 afterwards."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    @property
    def bodies(self) -> list[Any]:
        """The JSON of all requests."""
        return [json.loads(body) for _, _, body in self.got]


@contextmanager
def http_receiver() -> Iterator[HttpReceiver]:
    """A receiver that listens until the end."""
    receiver = HttpReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.got.append((self.path, headers, body))
            code = receiver.answers.pop(0) if receiver.answers else 200
            self.send_response(code)
            if code in (301, 302, 307):
                self.send_header("location", f"{receiver.url}/elsewhere")
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            """Nothing: the test looks at what it got."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


@dataclass
class MailReceiver:
    """An SMTP server."""

    host: str
    port: int
    got: list[Message]


@contextmanager
def mail_receiver() -> Iterator[MailReceiver]:
    """A receiver that takes any mail until the end."""
    got: list[Message] = []

    class Keep(MessageHandler):
        def handle_message(self, message: Message) -> None:
            got.append(message)

    controller = Controller(Keep(), hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        yield MailReceiver("127.0.0.1", controller.port, got)
    finally:
        controller.stop()
