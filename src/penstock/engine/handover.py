"""The handover: a follower becomes the leader, a leader that was fenced becomes a follower, both between two epochs.

Deploy, rollback, failover and undo are this and nothing else. The order of a takeover:

1. what the follower's state has in memory goes to files (the old leader works on);
2. one transaction of the ledger fences the old leader and makes the follower's files the state of the flow;
3. every sink is opened: its fence rises too. An undo puts the right rows in the place of the wrong ones here;
4. epochs that the ledger has and the follower has not yet run are run for their state;
5. the epoch that was planned goes on: the follower has often computed it already, and only writes and commits it.

A process that dies after 2 leaves what a crash of any leader leaves; the next one claims the flow and goes on. What the
old leader was about to write never happens, or is replaced by the same epoch of the new leader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import polars as pl

from penstock.connect import Change
from penstock.engine.branch import Branch
from penstock.engine.following import Follower, catch_up
from penstock.engine.leading import Leader
from penstock.engine.spill import Spill, SpillReader
from penstock.engine.telling import LOG
from penstock.errors import ConnectorError, LedgerError
from penstock.ledger import Resume, Rewrite, Takeover, without_undone

__all__ = ["Times", "finish_rewrite", "step_down", "take_over"]


@dataclass(slots=True)
class Times:
    """When the steps of a takeover were done, in microseconds since 1970; for its receipt."""

    asked_us: int
    fenced_us: int = 0
    opened_us: int = 0
    first_commit_us: int = 0
    epoch: int = 0


def take_over(
    follower: Follower,
    *,
    holder: str,
    expected: int,
    rewrite: Rewrite | None = None,
    wrong: SpillReader | None = None,
    begun: Callable[[Leader], None] = lambda _: None,
) -> tuple[Leader, Times]:
    """Make a follower the leader.

    `expected`: the generation that leads now. `rewrite`: this is an undo; `wrong` then has what was written, for sinks
    that can only be corrected. `begun` is told the leader once the old one is fenced, before anything is written.
    Raises FlowBusy where another generation leads; then nothing has changed and the follower may go on following.
    """
    post, computation = follower.post, follower.computation
    times = Times(post.clock.now_us())
    if rewrite is not None:
        check_rewrite(follower, rewrite)
    elif follower.has_stripped:
        raise _refused(follower, "this process left out letters that were tried again, for an undo, and this is none")
    branch = follower.branch
    state_epoch = follower.epoch
    if branch is not None:
        branch.check()
        branch.flush(min(follower.epoch, follower.standing.last_epoch))
        state_epoch = branch.epoch
    post.probe("flushed", follower.epoch)
    resume = post.ledger.take_over(
        post.flow,
        version=post.version,
        holder=holder,
        takeover=Takeover(
            expected,
            follower.epoch,
            state_epoch,
            None if branch is None else tuple(branch.segments),
            rewrite,
            follower.undos,
            follower.line,
        ),
    )
    times.fenced_us = post.clock.now_us()
    leader = Leader(post, computation, resume)
    last = 0 if resume.last is None else resume.last.epoch
    _bring(follower, leader, last)
    begun(leader)
    post.probe("taken-over", last)
    if resume.rewrite is not None:
        finish_rewrite(follower, leader, resume.rewrite, wrong)
    else:
        leader.open()
        _catch_up(follower, leader, resume)
    times.opened_us = post.clock.now_us()
    post.probe("sinks-open", last)
    times.epoch = last + 1
    LOG.info("took over as generation %d, before epoch %d", leader.generation, last + 1)
    return leader, times


def _bring(follower: Follower, leader: Leader, last: int) -> None:
    """What the follower has in memory is the leader's from its first moment on: it may be fenced at the next."""
    held = follower.held
    if held is not None and held.plan.epoch == last + 1:
        leader.running, leader.plan, leader.repeating = held, held.plan, True
    if follower.branch is not None:
        waiting = follower.branch.waiting
        leader.unsaved = [(epoch, list(changes)) for epoch, changes in waiting if epoch <= last]


def _catch_up(follower: Follower, leader: Leader, resume: Resume) -> None:
    """Bring the state to the last committed epoch; changes that are in no file yet go with the next commit."""
    last = 0 if resume.last is None else resume.last.epoch
    if follower.branch is None and resume.state_epoch < last:
        error = LedgerError(
            f"the state files end at epoch {resume.state_epoch}, because a takeover was interrupted",
            flow=follower.post.flow,
            epoch=last,
            state_left="nothing was written",
            hint="a process that starts from the files completes them",
        )
        error.heals = True
        raise error
    for epoch, done in catch_up(follower.post, follower.computation, last):
        if follower.spill is not None:
            follower.spill.put(done)
        if follower.branch is not None and done.state:
            leader.unsaved.append((epoch, list(done.state)))


def finish_rewrite(follower: Follower, leader: Leader, rewrite: Rewrite, wrong: SpillReader | None) -> None:
    """Put the right rows of an undo into every sink, and its records into the ledger. May be done again after a crash.

    `follower`: it began at or before the epoch before `rewrite.first`, and is at most at `rewrite.upto` + 1.
    """
    post, branch, spill, computation = follower.post, follower.branch, follower.spill, follower.computation
    assert branch is not None
    assert spill is not None
    if follower.strips_from is None:  # it followed hidden, and met no letter so far
        follower.strips_from = rewrite.first
    for record in post.ledger.epochs(post.flow, first=follower.epoch + 1, last=rewrite.upto):
        computation.learn(record.version)
        follower.run(record.plan)
    right = SpillReader(spill.folder)
    assembly = leader.computation.assembly
    assembly.lead()
    for name, sink in assembly.sinks.items():
        post.patience(lambda sink=sink: sink.open(leader.generation), f"open {name}")  # type: ignore[misc]
        if sink.undoable:
            post.patience(
                lambda name=name, sink=sink: sink.replace(  # type: ignore[misc]
                    rewrite.first, leader.generation, right.changes(name, rewrite.first, rewrite.upto)
                ),
                f"take back {name}",
            )
        else:
            _correct(leader, name, rewrite, right, wrong)
        post.probe("rewritten", rewrite.upto)
    branch.flush(rewrite.upto)
    records = [
        replace(record, generation=leader.generation)
        for record in follower.records
        if rewrite.first <= record.epoch <= rewrite.upto
    ]
    dead = [
        letter
        for computed in follower.letters
        for letter in computed.dead
        if rewrite.first <= letter.epoch <= rewrite.upto
    ]
    post.ledger.finish_rewrite(post.flow, leader.generation, rewrite, records, tuple(branch.segments), dead=dead)
    leader.compactor.segments = list(branch.segments)
    if leader.plan is not None:
        leader.plan = without_undone(leader.plan, rewrite.first)  # as the ledger has it now
    leader.unsaved = []
    leader.filed = rewrite.upto
    leader.undos += 1
    post.probe("rewrite-finished", rewrite.upto)


def check_rewrite(follower: Follower, rewrite: Rewrite) -> None:
    """Raise LedgerError where this follower does not have what an undo needs."""
    lacks = None
    if follower.spill is None or follower.record_from is None or follower.record_from > rewrite.first:
        lacks = f"it began after epoch {rewrite.first}"
    elif follower.strips_from is None and any(record.plan.redrive for record in follower.records):
        lacks = "it gave dead letters another try that the undo takes back"
    if lacks is not None:
        raise _refused(follower, f"this process can't do the undo: {lacks}")


def _refused(follower: Follower, message: str) -> LedgerError:
    error = LedgerError(
        message,
        flow=follower.post.flow,
        state_left="nothing was changed",
        hint="let another process begin at a savepoint before it",
    )
    error.heals = False
    return error


def _correct(leader: Leader, name: str, rewrite: Rewrite, right: SpillReader, wrong: SpillReader | None) -> None:
    """Tell a sink that can't take rows back what was wrong. Without a record of that, or a way to say it: note so."""
    if wrong is None:
        leader.uncorrected[name] = "nobody kept what was written"
        return
    sink = leader.computation.assembly.sinks[name]
    nothing = Change((sink.context.schema or pl.Schema()).to_frame())
    try:
        leader.post.patience(
            lambda: sink.correct(rewrite.first, leader.generation, _pairs(name, rewrite, right, wrong, nothing)),
            f"correct {name}",
        )
    except ConnectorError as refused:
        if refused.heals:
            raise
        leader.uncorrected[name] = refused.message


def _pairs(
    name: str, rewrite: Rewrite, right: SpillReader, wrong: SpillReader, nothing: Change
) -> Iterator[tuple[int, Change, Change]]:
    """What was written and what should have been, by epoch, where either is anything."""
    known, bad = set(right.epochs()), set(wrong.epochs())
    for epoch in range(rewrite.first, rewrite.upto + 1):
        was = wrong.read(epoch).get(name, nothing) if epoch in bad else nothing
        should = right.read(epoch).get(name, nothing) if epoch in known else nothing
        if not (was.is_empty and should.is_empty):
            yield epoch, was, should


def step_down(leader: Leader, spill: Spill) -> Follower:
    """Make a leader that was fenced a follower: its state is of use still, and a rollback needs it warm.

    The epoch that it had computed and could not commit is one that the new leader runs too, for its plan is durable.
    """
    post, computation, running = leader.post, leader.computation, leader.running
    leader.compactor.close()
    computation.assembly.rest()
    saved = computation.epoch if running is None else running.plan.epoch - 1
    branch = Branch(post.store, leader.compactor.segments, leader.filed)
    branch.waiting = [(epoch, changes) for epoch, changes in leader.unsaved if epoch <= saved]
    follower = Follower(
        post,
        computation,
        branch=branch,
        spill=leader.spill or spill,
        record_from=saved + 1,
        undos=leader.undos,
    )
    follower.start_epoch = saved
    if running is not None:
        follower.keep(running)
    return follower
