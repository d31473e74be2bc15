"""A NATS stream under the source contract."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import nats

from penstock.clock import new_id
from penstock.connect import Offsets, Source
from penstock.flow import Dataset
from tests.contracts.sources import SourceCase, numbered


class NatsCase(SourceCase):
    """A stream of its own on the session's server, published to by the NATS project's own client."""

    kind: ClassVar[str] = "nats"
    name: ClassVar[str] = "nats"
    needs: ClassVar[tuple[str, ...]] = ("nats_url",)
    forgets: ClassVar[bool] = True

    def set_up(self, fixtures: Mapping[str, Any]) -> None:
        """Make the stream."""
        self.url = str(fixtures["nats_url"])
        self.stream = new_id()
        asyncio.run(self._publish([]))

    def dataset(self) -> Dataset:
        """The stream."""
        return Dataset("nats", self.stream, None, (), {"url": self.url, "stream": self.stream})

    def fill(self, first: int, count: int) -> None:
        """A message a row."""
        asyncio.run(self._publish(numbered(first, count).write_ndjson().encode().splitlines()))

    def lose(self, source: Source, end: Offsets) -> None:
        """As the stream's limits do."""
        asyncio.run(self._purge(int(end["stream"])))

    async def _purge(self, sequence: int) -> None:
        client = await nats.connect(self.url)
        try:
            await client.jetstream().purge_stream(self.stream, seq=sequence)
        finally:
            await client.close()

    async def _publish(self, payloads: Sequence[bytes]) -> None:
        client = await nats.connect(self.url)
        try:
            jet = client.jetstream(publish_async_max_pending=len(payloads) + 1)
            if not payloads:
                await jet.add_stream(name=self.stream, subjects=[self.stream])
            answers = [await jet.publish_async(self.stream, payload) for payload in payloads]
            await asyncio.gather(*answers)
        finally:
            await client.close()
