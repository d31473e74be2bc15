"""One process of a flow in a run: the real engine, stepped; and what may happen to it on the way."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from penstock.connect import Context, Sink, Source
from penstock.engine import (
    HANDOVER_POINTS,
    Computation,
    Duty,
    Orders,
    Patience,
    Post,
    RunOptions,
    StopSignal,
    Tally,
    lookup_tables,
)
from penstock.errors import PenstockError
from penstock.flow import Dataset
from penstock.ledger import Savepoint
from penstock.testing.simulation.chance import HANDOVER_TIMES, Killed
from penstock.testing.simulation.clocks import ProcessClock
from penstock.testing.simulation.disk import FaultyStore
from penstock.testing.simulation.inputs import Input, SimulatedSource
from penstock.testing.simulation.jobs import Jobs
from penstock.testing.simulation.ledgers import busy, watched
from penstock.testing.simulation.lines import Line
from penstock.testing.simulation.sinks import Target, Written, away, opened
from penstock.testing.simulation.versions import Version

if TYPE_CHECKING:
    from penstock.testing.simulation.world import World

__all__ = ["Process"]

_FROZEN_STEPS = 12
_SMALL = frozenset({"standing", "wish_of", "tell", "waiting_redrives", "epochs", "savepoints"})
"""Calls that are made again and again, and change nothing: less happens in them."""


class Process:
    """One process. `role`: "lead" or "follow"; `savepoint`: where a follower begins, None for a standby."""

    def __init__(
        self,
        world: World,
        name: str,
        version: Version,
        role: str,
        *,
        savepoint: Savepoint | None = None,
        record_from: int | None = None,
        wish: Mapping[str, Any] | None = None,
    ) -> None:
        self.world = world
        self.name = name
        self.version = version
        self.role = role
        self.savepoint = savepoint
        self.record_from = record_from
        self.wish: dict[str, Any] = {"role": role, **(wish or {})}
        self.line: Line | None = None
        self.has_led = False
        self.facts: Mapping[str, Any] = {"role": "starting", "state": "loading"}
        self.is_alive = True
        self.is_running = False
        """Whether it is in the middle of a step; then others run while it is frozen."""
        self.frozen_until = 0
        self.looked_s = 0.0
        """When the last step began that it came to the end of: it has looked at its wishes then."""
        self.ended = ""
        self._duty: Duty | None = None
        self._computation: Computation | None = None
        self._shown = ""

    def __str__(self) -> str:
        return f"{self.name}({self.version})"

    # --- its life -----------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Begin, or do what its duty is for an epoch at most."""
        self.is_running = True
        began_s = self.world.clock.stopwatch_s()
        try:
            if self._duty is None:
                self._duty = self._begun()
                self._duty.begin()
            else:
                why = self._duty.step()
                if why is not None:
                    self._end(why)
            if self.is_alive:
                self.looked_s = began_s
                self._show()
        except Killed:
            self._end("killed")
        except PenstockError as error:
            if self.is_alive:
                self.world.judge_error(self, error)
                if self._duty is not None:
                    self._duty.fail(error)
                    self.facts = self._duty.facts()
                self._end(f"{type(error).__name__}: {error.message}")
        except Exception:
            self.world.problems.append(f"{self} ended with a bug:\n{traceback.format_exc()}")
            self._end("a bug")
        finally:
            self.is_running = False

    def kill(self, why: str) -> None:
        """End it from outside, at once."""
        if self.is_alive:
            self.world.note(f"{self} is killed {why}")
            self.is_alive = False
            if not self.is_running:
                self._end("killed")

    def _end(self, why: str) -> None:
        self.is_alive = False
        self.ended = why
        if why != "killed":
            self.world.note(f"{self} ends: {why}")
        if self._duty is not None:
            self._duty.close()
        if self._computation is not None:
            self._computation.close()
            self._computation.assembly.close()
        self._duty = self._computation = None
        self.world.ended(self)

    def tell(self) -> None:
        """Tell its facts, as the thread beside the epoch loop does."""
        if self._duty is not None and self.is_alive:
            self.facts = self._duty.facts()

    @property
    def is_leading(self) -> bool:
        """Whether it leads now, or will as soon as it has begun."""
        if self._duty is None:
            return self.is_alive and self.role == "lead"
        return self.is_alive and self._duty.facts()["role"] in ("leading", "starting")

    @property
    def is_hidden(self) -> bool:
        """Whether it led, and follows now."""
        return self.is_alive and self.has_led and self.facts["role"] == "following"

    def _show(self) -> None:
        assert self._duty is not None
        facts = self._duty.facts()
        shown = f"{facts['role']} {facts['state']}"
        if shown != self._shown:
            self._shown = shown
            generation = f" as {facts['generation']}" if facts["generation"] else ""
            self.world.note(f"{self}: {shown}{generation} at epoch {facts['epoch']}")
        if self.world.chance.happens(0.5):
            self.facts = facts
            self.world.told(self)

    def _begun(self) -> Duty:
        world, version = self.world, self.version
        definition = version.definition
        clock, stop = ProcessClock(world.clock, self._sleep), StopSignal()
        ledger = watched(world.ledger, self)
        options: RunOptions = world.options
        patience = Patience(definition.name, clock, stop, options.patience_s, lambda _: None)
        tally = Tally(definition.name, lookup_tables(definition), clock, lambda _: None)
        store = FaultyStore(world.state_folder, self, flow=definition.name)
        background = Jobs(lambda: world.chance.random.randint(0, 3))
        post = Post(
            definition.name,
            version.name,
            ledger,
            store,
            options,
            clock,
            patience,
            self.point,
            stop,
            tally,
            lambda _: background,
        )
        assembly = world.versions.assembled(
            version, clock=clock, patience=patience, source=self._source, sink=self._sink
        )
        self._computation = Computation(
            assembly,
            version.name,
            clock=clock,
            patience=patience,
            probe=self.point,
            background=lambda _: background,
        )
        if self.savepoint is not None:
            parent = world.line_of(self.savepoint)
            self.line = world.new_line(version, parent, self.savepoint.epoch)
        orders = Orders(
            member=self.name,
            holder=self.name,
            role=self.role,
            folder=world.folder / "members" / self.name,
            savepoint=self.savepoint,
            record_from=self.record_from,
            first_wish=self.wish,
            names_of=world.versions.renames,
        )
        return Duty(post, self._computation, orders)

    def _source(self, given: Input, dataset: Dataset, context: Context) -> Source:
        return SimulatedSource(dataset, context, given, self)

    def _sink(self, target: Target, context: Context, table: str) -> Sink:
        return opened(target, context, table, self)

    # --- what may happen on the way -----------------------------------------------------------------------------------

    def point(self, name: str, epoch: int = 0, *, times: float = 1.0) -> None:
        """Come to a point of the engine or of its surroundings: here it may die, or stand still while others go on."""
        if not self.is_alive:
            raise Killed
        chance = self.world.chance
        times *= HANDOVER_TIMES if name in HANDOVER_POINTS else 1.0
        if chance.happens(chance.rates.kill, times):
            raise self.die(f"at {name}{f' of {epoch}' if epoch else ''}")
        if chance.happens(chance.rates.freeze, times):
            self._freeze(f"at {name}{f' of {epoch}' if epoch else ''}")

    def die(self, why: str) -> Killed:
        """The end of the process, to be raised."""
        self.world.note(f"{self} is killed {why}")
        self.is_alive = False
        return Killed()

    def fails(self, kind: str) -> bool:
        """Whether the disk fails now."""
        rates = self.world.chance.rates
        found = self.world.chance.happens(rates.full if kind == "full" else rates.torn)
        if found and kind == "full":
            self.world.note(f"{self}: the disk is full")
        return found

    def _freeze(self, where: str) -> None:
        steps = self.world.chance.random.randint(1, _FROZEN_STEPS)
        if self.world.run_others(steps, f"{self} is frozen {where}"):
            self.world.note(f"{self} thaws")
        if not self.is_alive:
            raise Killed

    def _sleep(self, seconds: float) -> None:
        if not self.is_alive:
            raise Killed
        self.world.clock.sleep(seconds)
        if seconds >= 0.1:  # noqa: PLR2004 - it waits for a system that is away
            self.world.run_others(self.world.chance.random.randint(0, 3), f"{self} waits")
            if not self.is_alive:
                raise Killed

    # --- the ledger ---------------------------------------------------------------------------------------------------

    def asks(self, call: str) -> None:
        """Come to a call of the ledger."""
        times = 0.1 if call in _SMALL else 1.0
        self.point(f"before {call}", times=times)
        if self.world.chance.happens(self.world.chance.rates.refusal, times):
            self.world.note(f"{self}: the ledger refuses {call} for a moment")
            raise busy(f"the ledger is busy: {call}")

    def done(self, call: str, arguments: tuple[Any, ...], named: dict[str, Any], answer: Any) -> None:
        """Note what a call of the ledger did, before anything else can happen."""
        self.world.ledger_did(self, call, arguments, named, answer)

    def answered(self, call: str) -> None:
        """The answer comes, or it is lost."""
        self.point(f"after {call}")
        if self.world.chance.happens(self.world.chance.rates.answer):
            self.world.note(f"{self}: the ledger's answer to {call} is lost")
            raise busy(f"the answer to {call} is lost")

    # --- the sinks ----------------------------------------------------------------------------------------------------

    def before(self, what: str, table: str) -> None:
        """Come to a call of a sink."""
        self.point(f"before {what} {table}")
        if self.world.is_away(table):
            raise away(table)

    def after(self, what: str, table: str) -> None:
        """A sink has done it."""
        self.point(f"after {what} {table}")
        if self.world.chance.happens(self.world.chance.rates.answer):
            self.world.note(f"{self}: the answer to {what} {table} is lost")
            raise away(table)

    def wrote(self, written: Written) -> None:
        """Note what a sink took."""
        self.world.sink_took(self, written)
