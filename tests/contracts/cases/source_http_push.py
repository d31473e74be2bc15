"""Pushed rows under the source contract."""

from __future__ import annotations

from typing import ClassVar

import httpx

from penstock.connect.http_push import HttpPushSource
from penstock.flow import Dataset
from tests.contracts.sources import SourceCase, numbered


class HttpPushCase(SourceCase):
    """An inbox that was filled through its door."""

    kind: ClassVar[str] = "http_push"
    name: ClassVar[str] = "http-push"

    def dataset(self) -> Dataset:
        """A door on a free port."""
        return Dataset("http_push", "orders")

    def fill(self, first: int, count: int) -> None:
        """In three requests to a source that is closed again."""
        door = self.make()
        assert isinstance(door, HttpPushSource)
        for part in numbered(first, count).iter_slices(count // 3 + 1):
            answer = httpx.post(door.url, content=part.write_ndjson())
            assert answer.status_code == httpx.codes.ACCEPTED
