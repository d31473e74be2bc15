"""The ledger as one process of a run has it: the real one, whose answers may be lost and whose calls may be refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from penstock.errors import LedgerError
from penstock.ledger import Ledger

__all__ = ["LedgerKeeper", "watched"]

_FACTS = frozenset(
    {"claim", "plan", "commit", "take_over", "finish_rewrite", "replace_segments", "savepoint", "drop_savepoints"}
)
"""The calls that change the flow: between them and before their answers, processes die."""


class LedgerKeeper(Protocol):
    """The process that a ledger works for."""

    def asks(self, call: str) -> None:
        """Come to a call; raises LedgerError where it is refused for a moment."""
        ...

    def done(self, call: str, arguments: tuple[Any, ...], named: dict[str, Any], answer: Any) -> None:
        """A call that changes the flow is done; note it."""
        ...

    def answered(self, call: str) -> None:
        """The answer comes; raises LedgerError where it is lost."""
        ...


def _passed_on(name: str) -> Callable[..., Any]:
    def call(self: Any, *arguments: Any, **named: Any) -> Any:
        self.keeper.asks(name)
        answer = getattr(self.inner, name)(*arguments, **named)
        if name in _FACTS:
            self.keeper.done(name, arguments, named, answer)
            self.keeper.answered(name)
        return answer

    return call


def _init(self: Any, inner: Ledger, keeper: LedgerKeeper) -> None:
    self.inner, self.keeper = inner, keeper


_METHODS: dict[str, Any] = {
    name: _passed_on(name) for name in Ledger.__abstractmethods__ if name not in ("operations", "close")
}
_Watched: Any = type(
    "_Watched",
    (Ledger,),
    {
        **_METHODS,
        "__init__": _init,
        "operations": property(lambda self: self.inner.operations),
        "close": lambda _: None,
    },
)


def watched(inner: Ledger, keeper: LedgerKeeper) -> Ledger:
    """The ledger `inner` for one process."""
    return cast("Ledger", _Watched(inner, keeper))


def busy(what: str) -> LedgerError:
    """The error of a ledger that could not be asked, or whose answer is lost."""
    return LedgerError(f"simulated: {what}")
