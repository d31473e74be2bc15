"""Pushed rows under the source contract."""

from __future__ import annotations

import json
from typing import ClassVar

import httpx

from penstock.connect import Offsets, Source
from penstock.connect.http_push import HttpPushSource
from penstock.flow import Dataset
from tests.contracts.sources import SourceCase, numbered


class HttpPushCase(SourceCase):
    """An inbox that was filled through its door."""

    kind: ClassVar[str] = "http_push"
    name: ClassVar[str] = "http-push"
    forgets: ClassVar[bool] = True

    def dataset(self) -> Dataset:
        """A door on a free port."""
        return Dataset("http_push", "orders")

    def fill(self, first: int, count: int) -> None:
        """In three requests to who listens, or else to a source that is closed again."""
        door = None if self._is_open() else self.make()
        assert door is None or isinstance(door, HttpPushSource)
        url = self._url() if door is None else door.url
        for part in numbered(first, count).iter_slices(count // 3 + 1):
            answer = httpx.post(url, content=part.write_ndjson())
            assert answer.status_code == httpx.codes.ACCEPTED
        if door is not None:
            door.close()

    def lose(self, source: Source, end: Offsets) -> None:
        """As the source itself forgets."""
        source.forget(end)

    def _url(self) -> str:
        return str(json.loads((self.folder / "own/http.json").read_text())["url"])

    def _is_open(self) -> bool:
        try:
            return httpx.get(f"{self._url()}/health").is_success
        except (OSError, httpx.TransportError):
            return False
