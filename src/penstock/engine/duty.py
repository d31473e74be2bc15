"""The life of one supervised process of a flow: it leads or follows as it is wished, and tells what it does.

Wishes and facts are rows of the ledger (`Ledger.wish_of`, `Ledger.tell`): nobody calls into this process. Wishes are
looked at between two epochs; facts are told by a thread of their own, so that a hanging step shows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

from penstock.engine.computing import Computation
from penstock.engine.following import Follower
from penstock.engine.handover import Times, step_down, take_over
from penstock.engine.leading import Leader, Outcome, Post
from penstock.engine.spill import Spill, SpillReader
from penstock.engine.starting import claim, follow, stand_by
from penstock.engine.telling import LOG
from penstock.engine.trials import Trials
from penstock.engine.usage import cpu_seconds, memory_bytes
from penstock.errors import Fenced, FlowBusy, LedgerError, PenstockError
from penstock.ledger import Rewrite, Savepoint

__all__ = ["Duty", "Orders"]

_WISH_EVERY_S = 0.01
_TELL_EVERY_S = 0.25
_FOLLOW_PAUSE_S = 0.002
_NEAR_EPOCHS = 2
_BORROW_S = 1_200.0
_SPEEDS = 50
_REWRITE = frozenset(field.name for field in fields(Rewrite))


@dataclass(frozen=True, slots=True)
class Orders:
    """How a process begins. `savepoint`: where a follower with a state of its own begins; None: it is a standby.

    `folder`: the process's own, for its spill.
    """

    member: str
    holder: str
    role: str
    folder: Path
    savepoint: Savepoint | None = None
    record_from: int | None = None
    first_wish: Mapping[str, Any] | None = None
    weigh: Callable[[bool], bool] = lambda _: True
    """Told whether somebody waits for this process now, because it leads or is to; else it leaves the cores to who
    leads. Where it gives False, it is told again in a moment."""
    names_of: Callable[[str], Mapping[str, str]] = lambda _: {}
    """From another version to what its author says was renamed, old name -> new name."""


class Duty:
    """One process's service."""

    def __init__(self, post: Post, computation: Computation, orders: Orders) -> None:
        self._post = post
        self._computation = computation
        computation.names_of = orders.names_of
        self._orders = orders
        self._leader: Leader | None = None
        self._follower: Follower | None = None
        self._wish: Mapping[str, Any] = dict(orders.first_wish or {"role": orders.role})
        self._looked_s = -1e9
        self._role = "starting"
        self._state = "loading"
        self._is_ready = False
        self._is_standby = orders.role == "follow" and orders.savepoint is None
        self._is_ahead = orders.role == "lead"
        """Whether somebody waits for it."""
        self._is_weighed = False
        """Whether the system knows that."""
        self._weighing = threading.Lock()
        self._times: Times | None = None
        self._refused: Mapping[str, Any] | None = None
        self._error: Mapping[str, Any] | None = None
        self._speeds_ms: list[float] = []
        self._followed_s = post.clock.stopwatch_s()
        self._migrated: Mapping[str, int] = {}
        self._start_epoch = 0
        self._led = 0
        """The last generation that this process led as."""
        self._ended = threading.Event()
        self._news = threading.Event()
        self._spill: Spill | None = None

    def serve(self) -> str:
        """Serve until told to stop, or until the input ends. Gives why it ended. Raises what runs raise."""
        teller = threading.Thread(target=self._tell_often, name="penstock-tell", daemon=True)
        teller.start()
        try:
            self.begin()
            while True:
                ended = self.step()
                if ended is not None:
                    return ended
        except PenstockError as error:
            self.fail(error)
            raise
        finally:
            self._ended.set()
            self._news.set()
            teller.join()
            self.close()

    # --- roles --------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Lead or follow as ordered. With `step` and `tell` this is `serve` for one thread, in a test."""
        orders, post, computation = self._orders, self._post, self._computation
        if orders.role == "lead":
            after = self._wish.get("after")
            spill_folder = orders.folder / "spill"
            self._lead(claim(post, computation, holder=orders.holder, spill_folder=spill_folder, after=after))
            return
        if orders.savepoint is None:
            self._follower = stand_by(post, computation)
        else:
            self._spill = Spill(orders.folder / "spill")
            if orders.record_from is None and self._wish.get("until") is None:  # no undo, no replay: a new version
                assembly = computation.assembly
                computation.trials = Trials(assembly.definition, assembly.analysis, post.version)
            self._enter("following", "migrating" if orders.savepoint.version != post.version else "loading")
            self._follower = follow(
                post,
                computation,
                orders.savepoint,
                spill=self._spill,
                migrated=self._note_migrated,
                record_from=orders.record_from,
            )
        self._start_epoch = self._follower.start_epoch
        self._enter("following", "catching-up")

    def _note_migrated(self, rows: Mapping[str, int]) -> None:
        self._migrated = rows

    def _lead(self, leader: Leader) -> None:
        self._leader, self._follower, self._computation.trials = leader, None, None
        self._obey()
        self._enter("leading", "paused" if leader.paused else "leading")

    def step(self) -> str | None:
        """Look what is wished, then lead or follow for an epoch at most; gives why the service ended, once it has."""
        self._look()
        if self._wish.get("role") == "stop" or self._post.stop.requested:
            return self._stopped()
        return self._lead_on(self._leader) if self._leader is not None else self._follow_on()

    def close(self) -> None:
        """Let go of what the roles had open."""
        if self._leader is not None:
            self._leader.compactor.close()
        if self._spill is not None:
            self._spill.close()

    def _stopped(self) -> str:
        LOG.info("stops, as asked, behind epoch %d", self._computation.epoch)
        self._enter("stopped", "stopped")
        return "stopped as asked"

    def _lead_on(self, leader: Leader) -> str | None:
        try:
            before = leader.epochs
            outcome = leader.step()
        except Fenced as fenced:
            self._step_down(leader, fenced)
            return None
        if leader.uncopied is not None and self._spill is not None:
            self._spill = None
            self._news.set()
        if leader.epochs > before:
            self._note_speed(leader.run_ms)
            if self._times is not None and not self._times.first_commit_us:
                self._times.first_commit_us = self._post.clock.now_us()
                self._news.set()
        if outcome is Outcome.OVER:
            self._enter("stopped", "done")
            return "the input has ended" if not self._post.stop.requested else "stopped as asked"
        return None

    def _step_down(self, leader: Leader, fenced: Fenced) -> None:
        """Follow who leads now, unless what this process did is being taken back, or nobody wants it to."""
        standing = self._post.ledger.standing(self._post.flow)
        if self._wish.get("when_fenced", "follow") != "follow" or standing is None:
            raise fenced
        if standing.rewrite is not None or standing.undos != leader.undos:
            raise fenced
        self._leader = None
        LOG.warning("was fenced as generation %d and follows now: %s", leader.generation, fenced.message)
        if leader.spill is None:
            self._spill = Spill(self._orders.folder / "spill")
        assert self._spill is not None
        self._follower = step_down(leader, self._spill)
        self._start_epoch = self._follower.start_epoch
        self._is_ready, self._times, self._followed_s = False, None, self._post.clock.stopwatch_s()
        self._led = leader.generation
        self._weigh(ahead=False)
        self._enter("following", "catching-up")

    def _follow_on(self) -> str | None:
        follower = self._follower
        assert follower is not None
        follower.until = self._wish.get("until")
        ran = follower.step()
        if ran:
            self._note_speed(0.0 if follower.held is None else follower.held.run_ms)
        self._say_how_near(follower)
        is_to_lead = self._is_wished_to_lead()
        self._weigh(ahead=is_to_lead or (self._is_standby and self._is_ready))
        if is_to_lead and self._is_near(follower):
            self._take_over(follower)
        elif not ran:
            self._keep_own_state(follower)
            self._post.clock.sleep(_FOLLOW_PAUSE_S)
        return None

    def _is_near(self, follower: Follower) -> bool:
        """Whether it can take over now; it runs the last few epochs first, while the others lead on.

        Being ready was true a while ago. What it lacks when it has fenced the others, it has to read again, and the
        sources may have let go of it.
        """
        for _ in range(_NEAR_EPOCHS + 1):
            lag = follower.look()
            if not 0 < lag <= _NEAR_EPOCHS:
                break
            follower.step()
        return follower.lag <= _NEAR_EPOCHS

    def _keep_own_state(self, follower: Follower) -> None:
        """Follow for long only on files of one's own: those it began from are kept for a while, not for ever."""
        branch, now_s = follower.branch, self._post.clock.stopwatch_s()
        if branch is not None and now_s - self._followed_s >= _BORROW_S:
            self._followed_s = now_s
            branch.flush(min(follower.epoch, follower.standing.last_epoch))
            branch.make_own()

    def _say_how_near(self, follower: Follower) -> None:
        if follower.is_done:
            self._enter("following", "done")
        elif follower.lag > _NEAR_EPOCHS:
            self._enter("following", "catching-up")
        elif not self._is_ready:
            self._computation.assembly.prepare()
            self._is_ready = True
            self._is_weighed = False  # the server may have given it more meanwhile
            self._enter("following", "ready")
        else:
            self._enter("following", "ready")

    def _is_wished_to_lead(self) -> bool:
        """Whether a wish to lead is for the generation that leads now, not for one that this process has led itself."""
        expected = self._wish.get("expected")
        return (
            self._wish.get("role") == "lead" and expected is not None and expected > self._led and self._refused is None
        )

    def _take_over(self, follower: Follower) -> None:
        rewrite = self._wish.get("rewrite")
        wrong = self._wish.get("wrong")
        self._state = "rewriting" if rewrite else "taking-over"

        def begun(leader: Leader) -> None:
            leader.spill = self._spill
            self._leader, self._follower = leader, None

        try:
            leader, self._times = take_over(
                follower,
                holder=self._orders.holder,
                expected=self._wish["expected"],
                rewrite=None if rewrite is None else Rewrite(**{k: v for k, v in rewrite.items() if k in _REWRITE}),
                wrong=SpillReader(Path(wrong)) if wrong else None,
                begun=begun,
            )
        except FlowBusy as busy:
            self._refused = busy.as_dict()
            self._enter("following", "ready")
            return
        except Fenced as fenced:
            if self._leader is None:
                raise
            self._step_down(self._leader, fenced)
            return
        self._lead(leader)

    # --- wishes -------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        now_s = self._post.clock.stopwatch_s()
        if now_s - self._looked_s < _WISH_EVERY_S:
            return
        self._looked_s = now_s
        try:
            found = self._post.ledger.wish_of(self._post.flow, self._orders.member)
        except LedgerError as error:
            if not error.heals:
                raise
            return
        if found and found != self._wish:
            self._wish = found
            self._refused = None
            self._obey()

    def _obey(self) -> None:
        wish, leader = self._wish, self._leader
        if leader is not None:
            was_paused, leader.paused = leader.paused, bool(wish.get("paused"))
            leader.drain = bool(wish.get("drain")) or self._post.options.until_drained
            leader.forgetting.hold_from = wish.get("hold_from")
            self._copy(leader, wanted=bool(wish.get("spill")))
            if was_paused != leader.paused:
                LOG.info("pauses, as asked" if leader.paused else "goes on, as asked")
                self._enter("leading", "paused" if leader.paused else "leading")
        if self._spill is not None and wish.get("spill_from") is not None:
            self._spill.drop_before(wish["spill_from"])

    def _copy(self, leader: Leader, *, wanted: bool) -> None:
        """Let the leader keep a copy of what it writes, or not any more. Where there was no room, it is tried anew only
        for the next one who wants it.
        """
        if wanted and leader.spill is None and leader.uncopied is None:
            try:
                self._spill = self._spill or Spill(self._orders.folder / "spill")
            except LedgerError as full:
                leader.uncopied = full.message
            leader.spill = self._spill
        elif not wanted:
            if leader.spill is not None:
                leader.spill.close()
            leader.spill = self._spill = leader.uncopied = None

    # --- facts --------------------------------------------------------------------------------------------------------

    def _enter(self, role: str, state: str) -> None:
        if (role, state) != (self._role, self._state):
            self._role, self._state = role, state
            self._news.set()

    def _weigh(self, *, ahead: bool | None = None) -> None:
        """Be as quick as can be from now on, or leave the cores to others; None: as was said last, where it failed."""
        with self._weighing:  # the thread that tells facts must not put an older word in the place of a newer one
            if ahead is not None and ahead != self._is_ahead:
                self._is_ahead, self._is_weighed = ahead, False
            if not self._is_weighed:
                self._is_weighed = self._orders.weigh(self._is_ahead)

    def _note_speed(self, run_ms: float) -> None:
        self._speeds_ms = [*self._speeds_ms[1 - _SPEEDS :], run_ms]

    def fail(self, error: PenstockError) -> None:
        """Note the error that ended the service."""
        self._error = error.as_dict()
        self._enter("fenced" if isinstance(error, Fenced) else "failed", "failed")

    def _tell_often(self) -> None:
        """Tell the facts in a thread of its own: who leads must never wait for others that tell theirs."""
        while not self._ended.is_set():
            self.tell()
            self._weigh()
            self._news.wait(_TELL_EVERY_S)
            self._news.clear()
        self.tell()

    def tell(self) -> None:
        """Tell the facts. A ledger that is away hears them later: nothing depends on their being there."""
        with suppress(LedgerError):
            self._post.ledger.tell(self._post.flow, self._orders.member, self.facts())

    def facts(self) -> dict[str, Any]:
        """What this process is and does, as JSON values."""
        leader, follower, progress = self._leader, self._follower, self._post.tally.progress
        computation, trials = self._computation, self._computation.trials
        return {
            "role": self._role,
            "state": self._state,
            "generation": None if leader is None else leader.generation,
            "epoch": computation.epoch,
            "lag": 0 if follower is None else follower.lag,
            "start_epoch": self._start_epoch,
            "at_step": computation.at_step,
            "epoch_since_us": computation.began_us,
            "beat_us": self._post.clock.now_us(),
            "counted_epoch": progress.counted_epoch,
            "rows_in": progress.rows_in,
            "rows_out": progress.rows_out,
            "rows_late": progress.rows_late,
            "rows_dead": progress.rows_dead,
            "epoch_ms": progress.epoch_ms,
            "run_ms_p50": median(self._speeds_ms) if self._speeds_ms else None,
            "backlog_rows": progress.backlog_rows,
            "backlog_bytes": progress.backlog_bytes,
            "backlogs": {read: asdict(one) for read, one in progress.backlogs.items()},
            "catch_up_s": progress.catch_up_s,
            "caught_up_us": None if leader is None else leader.caught_up_us,
            "waits": None if leader is None else leader.waits,
            "savepoint_ms": None if leader is None else leader.savepoint_ms,
            "freshness_us": computation.assembly.definition.freshness_us,
            "owner": computation.assembly.definition.owner,
            "cpu_s": cpu_seconds(),
            "memory_bytes": memory_bytes(),
            "watermark_us": progress.watermark_us,
            "checks_failed": dict(progress.checks_failed),
            "message": progress.message,
            "state_rows": computation.assembly.program.state_rows,
            "migrated": dict(self._migrated),
            "spill": None if self._spill is None else str(self._spill.folder),
            "spill_failed": None if leader is None else leader.uncopied,
            "takeover": None if self._times is None else asdict(self._times),
            "refused": self._refused,
            "determinism": None if trials is None else trials.facts(),
            "uncorrected": {} if leader is None else dict(leader.uncorrected),
            "error": self._error,
        }
