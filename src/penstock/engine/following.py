"""Following a flow: the same epochs, by the plans that its leader made durable, written nowhere.

A follower may be a standby of the same version, a new version in the shadow, an old one kept warm, or a replay of the
past: the difference is where it began, whether it has a line of state of its own, and what others do with its spill.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from penstock.engine.branch import Branch
from penstock.engine.computing import Computation, Computed
from penstock.engine.leading import Post
from penstock.engine.spill import Spill
from penstock.errors import LedgerError
from penstock.ledger import EpochPlan, EpochRecord, Rewrite, Standing, without_undone

__all__ = ["Follower", "catch_up"]

_FETCHED = 64


def catch_up(post: Post, computation: Computation, last: int) -> list[tuple[int, Computed]]:
    """Run the committed epochs after the computation's own, up to `last`, for their state alone."""
    done: list[tuple[int, Computed]] = []
    while computation.epoch < last:
        upto = min(last, computation.epoch + _FETCHED)
        records = post.ledger.epochs(post.flow, first=computation.epoch + 1, last=upto)
        for record in records:
            computation.learn(record.version)
            done.append((record.epoch, computation.run(record.plan)))
    return done


class Follower:
    """One process that follows.

    `branch`: its own line of state; None for a standby, whose state is the ledger's. `record_from`: epochs from here on
    are remembered with their results' facts, for an undo. `undos`, `line`: as the flow stood (`Standing`, its `branch`)
    before the state was loaded; where it stands otherwise, what this process has is the state of nothing.
    """

    def __init__(
        self,
        post: Post,
        computation: Computation,
        *,
        branch: Branch | None,
        spill: Spill | None,
        held: Computed | None = None,
        record_from: int | None = None,
        strips_from: int | None = None,
        undos: int | None = None,
        line: int | None = None,
    ) -> None:
        self.post = post
        self.computation = computation
        computation.follows = True
        self.branch = branch
        self.spill = spill
        self.held = held
        """The last epoch that was run, which the ledger may not have committed yet."""
        self.until: int | None = None
        self.record_from = record_from
        self.strips_from = strips_from
        """For an undo: from this epoch on dead letters get no other try; their rows are processed where they fell."""
        self.has_stripped = False
        """Whether it ran an epoch without such letters: then its state is of use for an undo only."""
        self.records: list[EpochRecord] = []
        self.letters: list[Computed] = []
        self.start_epoch = computation.epoch
        self.standing = self._look()
        self.undos = self.standing.undos if undos is None else undos
        self.line = line
        self._plans: deque[EpochPlan] = deque()

    @property
    def epoch(self) -> int:
        """The last epoch that it ran."""
        return self.computation.epoch

    @property
    def lag(self) -> int:
        """How many committed epochs it has not run yet, as of the last look."""
        return max(0, self.standing.last_epoch - self.epoch)

    @property
    def is_done(self) -> bool:
        """Whether it ran all that it was asked to."""
        return self.until is not None and self.epoch >= self.until

    def look(self) -> int:
        """How many committed epochs it has not run yet, now. Raises LedgerError as `step`."""
        self.standing = self._checked(self._look())
        return self.lag

    def step(self) -> bool:
        """Run the next epoch that is committed or planned; False where there is none. Raises what epochs raise."""
        if self.is_done:
            return False
        plan = self._next_plan()
        if plan is None:
            return False
        self.run(plan)
        return True

    def run(self, plan: EpochPlan) -> Computed:
        """Run one epoch and keep what it came to."""
        if self.strips_from is not None and plan.epoch >= self.strips_from:
            whole, plan = plan, without_undone(plan, self.strips_from)
            self.has_stripped = self.has_stripped or plan != whole
        computed = self.computation.run(plan)
        self.keep(computed)
        self._show(computed)
        return computed

    def keep(self, computed: Computed) -> None:
        """Take in what an epoch came to."""
        plan = computed.plan
        self.held = computed
        if self.spill is not None:
            self.spill.put(computed)
        if self.branch is not None:
            self.branch.add(plan.epoch, computed.state)
            if self.branch.is_full:
                self.branch.flush(min(plan.epoch, self.standing.last_epoch))
        record = computed.record(
            self.standing.generation, self.post.version, receipts={}, segment=None, now_us=self.post.clock.now_us()
        )
        if self.record_from is not None and plan.epoch >= self.record_from:
            self.records.append(record)
            if computed.dead:
                self.letters.append(computed)
        self.post.tally.count(record)

    def _next_plan(self) -> EpochPlan | None:
        following = self.epoch + 1
        while self._plans and self._plans[0].epoch < following:
            self._plans.popleft()
        if self._plans:
            return self._plans.popleft()
        self.look()
        if self.standing.last_epoch >= following:
            last = min(self.standing.last_epoch, self.epoch + _FETCHED)
            records: Sequence[EpochRecord] = self.post.ledger.epochs(self.post.flow, first=following, last=last)
            for record in records:
                self.computation.learn(record.version)
                self._plans.append(record.plan)
            return self._plans.popleft() if self._plans else None
        planned = self.standing.planned
        self.computation.learn(self.standing.version)
        return planned if planned is not None and planned.epoch == following else None

    def _look(self) -> Standing:
        standing = self.post.ledger.standing(self.post.flow)
        if standing is None:
            error = LedgerError("nobody ever ran the flow, so there is nothing to follow", flow=self.post.flow)
            error.heals = False
            raise error
        return standing

    def _checked(self, standing: Standing) -> Standing:
        """Raise where what was followed is being taken back: the state of this process is that of another history."""
        gone = None
        if standing.undos != self.undos or not self._outlives(standing.rewrite):
            gone = "the epochs that this process followed are taken back by an undo"
        elif self.branch is None and standing.branch != self.line:
            gone = f"version {standing.version} leads with a state of its own, and no more with the one of this standby"
        if gone is not None:
            error = LedgerError(
                gone,
                flow=self.post.flow,
                epoch=self.epoch,
                state_left="the ledger is whole; this process wrote nothing",
                hint="start the process again: it begins from the state that holds now",
            )
            error.heals = False
            raise error
        return standing

    def _outlives(self, rewrite: Rewrite | None) -> bool:
        """Whether what this process follows is none of what an undo takes back, or it is there to take that back too.

        An undo whose version can't take its input is ended by another one that begins no later.
        """
        return rewrite is None or (self.strips_from is not None and self.strips_from <= rewrite.first)

    def _show(self, computed: Computed) -> None:
        if self.post.tally.is_due("following"):
            self.post.tally.show(
                "following",
                epoch=self.epoch,
                watermark_us=computed.watermark_us,
                epoch_ms=computed.watch.total_s * 1000,
            )
