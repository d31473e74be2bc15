"""The routes of dead letters: groups of one cause, what another try would give, another try, giving up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI, Request
from pydantic import Field

from penstock.clock import Clock
from penstock.control import (
    Environment,
    Letter,
    chosen_letters,
    drop_letters,
    edited_payload,
    letters_of,
    replay_letters,
    trial_of_letters,
)
from penstock.errors import ConfigError
from penstock.interfaces.http.access import Role
from penstock.interfaces.http.bodies import Ask
from penstock.interfaces.http.missing import known_flow
from penstock.ledger import Ledger

__all__ = ["letter_routes"]

_LETTERS_MOST = 100_000
_TRIED_MOST = 200
_SHOWN_MOST = 10
_DIGITS_MOST = 18


class LettersAsk(Ask):
    """Which letters: by number, the open ones of a cause, or all that are open. `edited`: number -> JSON text."""

    ids: list[int] = Field(default_factory=list)
    cause: str | None = None
    every: bool = False
    edited: dict[str, str] = Field(default_factory=dict)


def letter_routes(
    app: FastAPI, environment: Environment, ledger: Ledger, clock: Clock, wake: Callable[[], None]
) -> None:
    """Add the routes."""

    def chosen(flow: str, ask: LettersAsk) -> list[Letter]:
        known_flow(flow, environment, ledger, clock)
        if not (ask.ids or ask.cause or ask.every):
            raise ConfigError("which letters?", flow=flow, hint="give ids, a cause, or every")
        return chosen_letters(letters_of(ledger, flow), ids=ask.ids, cause=ask.cause, every=ask.every)

    @app.get("/v1/flows/{flow}/dead-letters/groups", tags=["dead letters"])
    def groups(request: Request, flow: str) -> dict[str, Any]:
        """Dead letters by cause, most first; examples of rows only for who may see rows."""
        known_flow(flow, environment, ledger, clock)
        found = letters_of(ledger, flow, limit=_LETTERS_MOST)
        with_rows = request.state.caller.role.covers(Role.OPERATOR)
        return {"count": ledger.count_dead_letters(flow), "groups": _groups(found, with_rows=with_rows)}

    @app.post("/v1/flows/{flow}/dead-letters/try", tags=["dead letters"])
    def trial(flow: str, ask: LettersAsk) -> dict[str, Any]:
        """What another try would give, by the version that leads: computed in memory, nothing is written."""
        letters = chosen(flow, ask)[:_TRIED_MOST]
        version = known_flow(flow, environment, ledger, clock).version
        edited = _edited(ask)
        return trial_of_letters(environment, flow, version, [letter.id for letter in letters], edited, clock)

    @app.post("/v1/flows/{flow}/dead-letters/replay", tags=["dead letters"])
    def replay(flow: str, ask: LettersAsk) -> dict[str, Any]:
        """Another try for good: whoever leads the flow takes them in one of the next epochs."""
        letters = chosen(flow, ask)
        replay_letters(ledger, flow, letters, who=ask.who, edited=_edited(ask))
        wake()
        return {"asked": [letter.id for letter in letters]}

    @app.post("/v1/flows/{flow}/dead-letters/drop", tags=["dead letters"])
    def drop(flow: str, ask: LettersAsk) -> dict[str, Any]:
        """Give letters up; this takes a reason."""
        if not ask.why.strip():
            raise ConfigError("giving rows up takes a reason", flow=flow, state_left="nothing was changed")
        return {"dropped": drop_letters(ledger, flow, chosen(flow, ask), who=ask.who, why=ask.why)}


def _edited(ask: LettersAsk) -> dict[int, str]:
    wrong = [number for number in ask.edited if not (number.isdecimal() and len(number) <= _DIGITS_MOST)]
    if wrong:
        raise ConfigError(
            f"{wrong[0]!r:.60} is no number of a dead letter", hint="edited: number -> the row as JSON text"
        )
    return {int(number): edited_payload(text) for number, text in ask.edited.items()}


def _groups(letters: Sequence[Letter], *, with_rows: bool) -> list[dict[str, Any]]:
    by_cause: dict[str, list[Letter]] = {}
    for letter in letters:
        by_cause.setdefault(letter.cause, []).append(letter)
    found = [_group(cause, of) for cause, of in sorted(by_cause.items(), key=lambda item: -len(item[1]))]
    return found if with_rows else [{**one, "letters": [], "message": ""} for one in found]


def _group(cause: str, letters: Sequence[Letter]) -> dict[str, Any]:
    newest = letters[-1].fact
    states: dict[str, int] = {}
    for letter in letters:
        state = letter.state.partition(" ")[0].rstrip(":")
        states[state] = states.get(state, 0) + 1
    return {
        "cause": cause,
        "signature": newest.signature,
        "step": newest.step,
        "error": newest.error,
        "message": newest.message,
        "count": len(letters),
        "open": states.get("open", 0),
        "states": states,
        "first_epoch": letters[0].fact.epoch,
        "last_epoch": newest.epoch,
        "versions": sorted({letter.fact.version for letter in letters}),
        "letters": [letter.as_json() for letter in _shown(letters)],
    }


def _shown(letters: Sequence[Letter]) -> list[Letter]:
    """The oldest that are open, so that those that fall now do not move them away, then the newest of the others."""
    still = [letter for letter in letters if letter.fact.status == "open"]
    others = [letter for letter in letters if letter.fact.status != "open"]
    return [*still[:_SHOWN_MOST], *others[-_SHOWN_MOST:][::-1]]
