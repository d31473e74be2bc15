"""Dead letters as people see them: what each one is now, which of them are meant, and what another try would give."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from penstock.clock import Clock, SystemClock
from penstock.control.rollouts.checking import assembled
from penstock.control.running import PreparedRun, locate
from penstock.engine import Computation, Patience, Rehearsed, StopSignal, adopt, rehearse
from penstock.errors import ConfigError, PenstockError, did_you_mean
from penstock.ledger import DeadLetter, EpochRecord, Event, Ledger, LocalStateStore, TableImage

__all__ = [
    "Letter",
    "Tried",
    "chosen_letters",
    "drop_letters",
    "edited_payload",
    "letters_of",
    "replay_letters",
    "try_letters",
]

_PAGE = 10_000
_PATIENCE_S = 20.0
_STATES = {"redriven": "redriven in epoch {epoch}", "dropped": "dropped: {why}", "undone": "undone"}


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter and where it stands. `waiting`: somebody asked for another try; `planned`: an epoch has it now."""

    fact: DeadLetter
    waiting: bool = False
    planned: bool = False

    @property
    def id(self) -> int:
        """Its number."""
        assert self.fact.id is not None, "a letter that was read from the ledger has one"
        return self.fact.id

    @property
    def cause(self) -> str:
        """What its cause is called: 8 hexadecimal digits of its signature."""
        return hashlib.sha256(self.fact.signature.encode()).hexdigest()[:8]

    @property
    def state(self) -> str:
        """`open`, `waiting`, `redriven in epoch n`, `dropped: why`, `undone`."""
        if self.fact.status == "open":
            return "waiting" if self.waiting or self.planned else "open"
        known = {"epoch": "?", "why": "?", **self.fact.detail}
        return _STATES.get(self.fact.status, self.fact.status).format_map(known)

    @property
    def hindrance(self) -> str:
        """Why it can't be tried again; empty where it can."""
        of = self.fact.offset.get("of")
        if of == "result":
            return (
                "it is a result of the step, which has taken its input; an undo to the epoch before it does that again"
            )
        if of == "timer":
            return "it is a timer that fired once, not a row; an undo to the epoch before it lets it fire again"
        if self.planned:
            return "it is being tried again at this moment"
        return "" if self.fact.status == "open" else f"it is {self.state}"

    def as_json(self) -> dict[str, Any]:
        """All that is known, as JSON values."""
        fact = self.fact
        return {
            "id": fact.id,
            "state": self.state,
            "cause": self.cause,
            "epoch": fact.epoch,
            "step": fact.step,
            "error": fact.error,
            "message": fact.message,
            "signature": fact.signature,
            "payload": fact.payload,
            "offset": dict(fact.offset),
            "version": fact.version,
            "status": fact.status,
            "detail": dict(fact.detail),
        }


@dataclass(frozen=True, slots=True)
class Tried:
    """What another try of a letter would give. `error`: what would stop the flow, as `PenstockError.as_dict`."""

    letter: Letter
    payload: str
    result: Rehearsed | None = None
    error: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def verdict(self) -> str:
        """`written`, `remembered` (nothing comes out yet), `late`, `dead` (again), `stops` (the flow), `nothing`."""
        if self.result is None:
            return "stops"
        if self.result.dead:
            return "dead"
        if self.result.changes:
            return "written"
        if self.result.rows_late:
            return "late"
        return "remembered" if self.result.tables else "nothing"


def letters_of(ledger: Ledger, flow: str, *, limit: int | None = None) -> list[Letter]:
    """The letters of a flow in the order in which they fell, all or the first `limit`."""
    facts: list[DeadLetter] = []
    first = 0
    while limit is None or len(facts) < limit:
        wanted = _PAGE if limit is None else min(_PAGE, limit - len(facts))
        page = ledger.dead_letters(flow, first=first, limit=wanted)
        facts += page
        if len(page) < wanted:
            break
        first = (page[-1].id or 0) + 1
    standing = ledger.standing(flow)
    planned = standing.planned if standing is not None else None
    taken = {entry["letter"] for entry in planned.redrive} if planned is not None else set()
    waiting = {entry["letter"] for entry in ledger.waiting_redrives(flow, limit=1_000_000)}
    return [Letter(fact, fact.id in waiting, fact.id in taken and fact.status == "open") for fact in facts]


def chosen_letters(
    letters: Sequence[Letter], *, ids: Collection[int] = (), cause: str | None = None, every: bool = False
) -> list[Letter]:
    """The letters that a person means: by number, the open ones of a cause, or all that are open.

    `cause`: its id, the beginning of it, or the signature. Raises ConfigError where nothing is called so.
    """
    if ids:
        known = {letter.id: letter for letter in letters}
        missing = [number for number in ids if number not in known]
        if missing:
            raise ConfigError(
                f"there is no dead letter {missing[0]}", hint="see their numbers: penstock deadletters FLOW"
            )
        return [known[number] for number in dict.fromkeys(sorted(ids))]
    found = [letter for letter in letters if letter.fact.status == "open"]
    if cause is not None:
        matching = {one.cause for one in letters if one.fact.signature == cause or one.cause.startswith(cause)}
        if len(matching) != 1:
            known_causes = sorted({letter.cause for letter in letters})
            raise ConfigError(
                f"{len(matching)} causes begin with {cause!r}.{did_you_mean(cause, known_causes)}",
                hint="see them: penstock deadletters FLOW --group",
            )
        found = [letter for letter in found if letter.cause in matching]
    else:
        assert every, "one of the three"
    return found


def edited_payload(text: str) -> str:
    """A payload that a person wrote, on one line. Raises ConfigError where it is no JSON object."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigError(
            f"the payload is not JSON: {error}", state_left="nothing was changed", hint="a row is a JSON object"
        ) from None
    if not isinstance(value, dict):
        raise ConfigError(
            "the payload is no JSON object",
            state_left="nothing was changed",
            hint='write the row as the step takes it: {"id": 1}',
        )
    return json.dumps(value, ensure_ascii=False)


def replay_letters(
    ledger: Ledger, flow: str, letters: Sequence[Letter], *, who: str, edited: Mapping[int, str] | None = None
) -> None:
    """Ask for another try of letters, all or none; whoever leads the flow takes them between two epochs.

    Raises ConfigError that names the first that can't be tried again, LedgerError.
    """
    for letter in letters:
        if letter.hindrance:
            raise ConfigError(
                f"dead letter {letter.id} can't be tried again: {letter.hindrance}",
                flow=flow,
                state_left="no letter was asked for",
                hint=f"leave it out, or give it up: penstock deadletters {flow} --drop --id {letter.id} --why ...",
            )
    given = edited or {}
    ledger.request_redrive(flow, [(letter.id, given.get(letter.id)) for letter in letters])
    _note(ledger, "letters-replayed", flow, letters, who, {"edited": sorted(given)} if given else {})


def drop_letters(ledger: Ledger, flow: str, letters: Sequence[Letter], *, who: str, why: str) -> int:
    """Give letters up; gives how many of them were open."""
    dropped = ledger.drop_dead_letters(flow, [letter.id for letter in letters], {"who": who, "why": why})
    if dropped:
        _note(ledger, "letters-dropped", flow, letters, who, {"why": why})
    return dropped


def _note(ledger: Ledger, kind: str, flow: str, letters: Sequence[Letter], who: str, more: Mapping[str, Any]) -> None:
    ids = [letter.id for letter in letters]
    body = {"letters": ids if len(ids) <= 100 else [*ids[:99], ids[-1]], "count": len(ids), **more}  # noqa: PLR2004
    ledger.operations.note(Event(kind, flow, body, who))


def try_letters(
    prepared: PreparedRun, ledger: Ledger, letters: Sequence[Letter], edited: Mapping[int, str] | None = None
) -> tuple[int, list[Tried]]:
    """Run letters one by one through the flow as it is prepared, in memory, from the state that the flow has now.

    Each sees what those before it left. Gives the epoch of that state, and what each came to. Raises what loading the
    state raises (MigrationFailed where it does not fit this version), ConnectorError, LedgerError.
    """
    clock, flow = SystemClock(), prepared.flow
    tried: list[Tried] = []
    savepoint = ledger.savepoint(flow, why="a dry run of dead letters", pinned=True)
    try:
        store = LocalStateStore(prepared.folder / "state", flow=flow, tidy=False)
        images = store.load(savepoint.segments)
        (record,) = ledger.epochs(flow, first=savepoint.epoch, last=savepoint.epoch)
        left = list(letters)
        while left:
            with _computation(prepared, clock, images, record) as computation:
                for letter in list(left):
                    left.remove(letter)
                    tried.append(_tried(computation, prepared, letter, (edited or {}).get(letter.id), clock))
                    if tried[-1].error is not None:
                        break
    finally:
        ledger.drop_savepoints(flow, [savepoint.id])
    return savepoint.epoch, tried


@contextmanager
def _computation(
    prepared: PreparedRun, clock: Clock, images: Mapping[str, TableImage], record: EpochRecord
) -> Iterator[Computation]:
    """The flow in memory with the state after `record`, made this version's where it is another's."""
    definition = prepared.loaded.definition
    patience = Patience(definition.name, clock, StopSignal(), _PATIENCE_S, lambda _: None)
    with assembled(prepared) as assembly:
        version = prepared.loaded.version or prepared.loaded.fingerprint
        computation = Computation(assembly, version, clock=clock, patience=patience, probe=lambda _point, _epoch: None)
        try:
            computation.restore(adopt(images, assembly.program).images, record)
            yield computation
        finally:
            computation.close()


def _tried(computation: Computation, prepared: PreparedRun, letter: Letter, edited: str | None, clock: Clock) -> Tried:
    payload = letter.fact.payload if edited is None else edited
    entry = {"letter": letter.id, "epoch": letter.fact.epoch, "step": letter.fact.step, "payload": payload}
    try:
        return Tried(letter, payload, rehearse(computation, entry, now_us=clock.now_us()))
    except PenstockError as error:
        locate(error, prepared.loaded.definition, prepared.loaded.code_root)
        return Tried(letter, payload, error=error.as_dict(), notes=tuple(getattr(error, "__notes__", ())))
