"""The contract of documents: small JSON values with a name, kept for people and for the server.

An alert that fires, a silence, a dashboard: each is one document of a kind. Whoever changes one that he has read says
so, and loses no change of somebody else's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Document", "Documents"]


@dataclass(frozen=True, slots=True)
class Document:
    """One document. `body`: JSON values. `changed_us`: when it was kept last, as the ledger's clock says."""

    kind: str
    id: str
    body: Mapping[str, Any]
    who: str = ""
    changed_us: int = 0


class Documents(ABC):
    """Documents of one environment. Every method raises LedgerError."""

    @abstractmethod
    def keep(self, document: Document, *, over: int | None = None) -> int | None:
        """Keep a document in the place of the one of its name; gives its `changed_us`.

        `over`: the `changed_us` of the one that it was made from, 0 where there was none. Where another one was kept
        since, nothing is written and this gives None: read again. `over` None: whatever is there.
        """

    @abstractmethod
    def document(self, kind: str, id_: str) -> Document | None:
        """One document."""

    @abstractmethod
    def documents(self, kind: str) -> Sequence[Document]:
        """All documents of a kind, by their ids."""

    @abstractmethod
    def drop(self, kind: str, id_: str) -> bool:
        """Forget a document; whether it was there."""
