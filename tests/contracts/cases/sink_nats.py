"""A NATS stream under the sink contract."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import nats
import polars as pl
from nats.js.errors import NotFoundError

from penstock.clock import new_id
from penstock.connect.ndjson import JsonLines
from penstock.flow import Dataset
from tests.contracts.sinks import SinkCase


class NatsCase(SinkCase):
    """A stream of its own on the session's server."""

    kind = "nats"
    needs = ("nats_url",)
    types_not_kept: ClassVar[frozenset[str]] = frozenset({"binary", "float32", "float64", "more_float64"})
    """JSON has no bytes, no infinity and no NaN; plain numbers are in other tests."""

    def set_up(self, fixtures: Mapping[str, Any]) -> None:
        """Where the server is."""
        self.url = str(fixtures["nats_url"])
        self.stream = new_id()

    def dataset(self, key: Sequence[str]) -> Dataset:
        """The stream."""
        return Dataset("nats", self.stream, None, tuple(key), {"url": self.url, "stream": self.stream})

    def read_back(self, schema: pl.Schema) -> pl.DataFrame:
        """As the NATS project's own client gets the messages."""
        frame, bad = JsonLines(schema).parse(b"\n".join(asyncio.run(self._messages())))
        assert not bad
        return frame

    async def _messages(self) -> list[bytes]:
        client = await nats.connect(self.url)
        jet = client.jetstream()
        found: list[bytes] = []
        try:
            info = await jet.stream_info(self.stream)
            for sequence in range(info.state.first_seq, info.state.last_seq + 1):
                try:
                    message = await jet.get_msg(self.stream, sequence)
                except NotFoundError:
                    continue
                if message.subject == self.stream:
                    found.append(message.data or b"")
        except NotFoundError:
            pass
        finally:
            await client.close()
        return found
