"""Beginning: a process that leads at once, or one that follows from a savepoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from penstock.engine.branch import Branch
from penstock.engine.computing import Computation
from penstock.engine.following import Follower, catch_up
from penstock.engine.handover import finish_rewrite
from penstock.engine.leading import Leader, Post
from penstock.engine.migrating import adopt
from penstock.engine.spill import Spill
from penstock.engine.telling import LOG
from penstock.errors import CorruptState, FlowBusy, LedgerError
from penstock.ledger import BEGINNING, EpochRecord, Ledger, Resume, Rewrite, Savepoint, SegmentRef, TableImage

__all__ = ["claim", "follow", "stand_by"]


def claim(post: Post, computation: Computation, *, holder: str, spill_folder: Path, after: int | None = None) -> Leader:
    """Become the newest generation and lead from where the ledger stands: a start, or the recovery from a crash.

    `spill_folder`: for what an unfinished undo computes. `after`: see `Ledger.claim`. Raises as `run_flow`, and
    FlowBusy where another version has taken over since.
    """
    before = post.ledger.standing(post.flow)
    if before is not None:
        computation.learn(before.version)
    resume = post.ledger.claim(post.flow, version=post.version, holder=holder, after=after)
    post.probe("claimed", 0)
    if resume.rewrite is not None:
        return _finish_undo(post, computation, resume, resume.rewrite, spill_folder)
    last = resume.last
    state_epoch = 0 if last is None else min(resume.state_epoch, last.epoch)
    behind = last is not None and state_epoch < last.epoch
    stands = _record(post.ledger, post.flow, state_epoch) if behind else last
    leader = Leader(post, computation, resume)
    _adopt(leader, resume, stands)
    if behind and last is not None:
        done = catch_up(post, computation, last.epoch)
        leader.unsaved = [(epoch, list(computed.state)) for epoch, computed in done if computed.state]
    leader.open()
    LOG.info("leads as generation %d, behind epoch %d", leader.generation, computation.epoch)
    post.probe("loaded", computation.epoch)
    return leader


def _adopt(leader: Leader, resume: Resume, stands: EpochRecord | None) -> None:
    """Load the state, made this version's own where another one wrote it. Raises MigrationFailed where it can't be."""
    post, computation = leader.post, leader.computation
    adopted = adopt(_loaded(post, resume.segments, leader.check_fence), computation.assembly.program)
    computation.restore(adopted.images, stands)
    if adopted.is_same or not resume.segments:
        return
    tables = [image.as_change() for image in adopted.images.values()]
    whole = post.store.write(0, resume.segments[-1].last, tables, whole=True)
    post.ledger.replace_segments(post.flow, leader.generation, resume.segments, whole)
    leader.compactor.segments = [whole]


def follow(
    post: Post,
    computation: Computation,
    savepoint: Savepoint,
    *,
    spill: Spill,
    record_from: int | None = None,
    migrated: Callable[[Mapping[str, int]], None] = lambda _: None,
) -> Follower:
    """Follow from a savepoint, with a line of state of one's own.

    Where the state is another version's, it is made this one's on a copy; `migrated` is told how many rows of which
    tables. `record_from`: see `Follower`. Raises as `run_flow`, and MigrationFailed.
    """
    standing = post.ledger.standing(post.flow)
    _check_savepoint(post, savepoint)
    images = _loaded(post, savepoint.segments, lambda: _check_savepoint(post, savepoint))
    adopted = adopt(images, computation.assembly.program)
    segments: list[SegmentRef] = list(savepoint.segments)
    if not adopted.is_same:
        tables = [image.as_change() for image in adopted.images.values()]
        segments = [post.store.write(0, savepoint.epoch, tables, whole=True)] if tables else []
        migrated(adopted.rows)
    computation.restore(adopted.images, _record(post.ledger, post.flow, savepoint.epoch))
    branch = Branch(post.store, segments, savepoint.epoch)
    LOG.info("follows from epoch %d, with a state of its own", savepoint.epoch)
    return Follower(
        post,
        computation,
        branch=branch,
        spill=spill,
        record_from=record_from,
        strips_from=record_from,
        undos=None if standing is None else standing.undos,
    )


def _loaded(post: Post, segments: Sequence[SegmentRef], check: Callable[[], None]) -> Mapping[str, TableImage]:
    """The state in files. Raises CorruptState; what `check` raises where they went because nobody needs them."""
    try:
        return post.store.load(segments)
    except CorruptState:
        check()
        raise


def _check_savepoint(post: Post, savepoint: Savepoint) -> None:
    """Raise LedgerError where the savepoint is gone: its files may go, and an undo may have ended its history."""
    if savepoint.id == BEGINNING.id or any(one.id == savepoint.id for one in post.ledger.savepoints(post.flow)):
        return
    error = LedgerError(
        f"the savepoint {savepoint.id} of epoch {savepoint.epoch} is gone",
        flow=post.flow,
        state_left="the flow goes on as it is",
        hint="plan again, from one that is there",
    )
    error.heals = False
    raise error


def stand_by(post: Post, computation: Computation) -> Follower:
    """Follow from where the ledger's own state stands, to lead when the leader dies. Makes a savepoint to load from."""
    standing = post.ledger.standing(post.flow)
    savepoint = post.ledger.savepoint(post.flow, why="a standby loads")  # not pinned: it may be killed here
    try:
        _check_version(post, savepoint)
        images = _loaded(post, savepoint.segments, lambda: _check_savepoint(post, savepoint))
        computation.restore(images, _record(post.ledger, post.flow, savepoint.epoch))
    finally:
        post.ledger.drop_savepoints(post.flow, [savepoint.id])
    LOG.info("stands by, behind epoch %d", computation.epoch)
    undos, line = (None, None) if standing is None else (standing.undos, standing.branch)
    return Follower(post, computation, branch=None, spill=None, undos=undos, line=line)


def _check_version(post: Post, savepoint: Savepoint) -> None:
    """Raise FlowBusy where the state is another version's: a standby leads on from it as it is."""
    if savepoint.version not in ("", post.version):
        error = FlowBusy(
            f"version {savepoint.version} leads, and this is to be a standby of version {post.version}",
            flow=post.flow,
            state_left="the flow goes on as it is",
            hint="start a standby of the version that leads",
        )
        error.heals = False
        raise error


def _finish_undo(post: Post, computation: Computation, resume: Resume, rewrite: Rewrite, spill_folder: Path) -> Leader:
    """Finish an undo whose process died between its fence and its end."""
    if rewrite.version != post.version:
        error = LedgerError(
            f"an undo to version {rewrite.version} is under way since epoch {rewrite.first}, and this is version "
            f"{post.version}",
            flow=post.flow,
            state_left="the wrong rows are in some sinks still; nothing is lost",
            hint=f"let version {rewrite.version} finish it: penstock start {post.flow} --version {rewrite.version}",
        )
        error.heals = False
        raise error
    found = {savepoint.id: savepoint for savepoint in (BEGINNING, *post.ledger.savepoints(post.flow))}
    if rewrite.savepoint not in found:
        error = LedgerError(
            f"the savepoint {rewrite.savepoint} of an unfinished undo is gone",
            flow=post.flow,
            state_left="the wrong rows are in some sinks still",
            hint="restore the ledger from a copy",
        )
        error.heals = False
        raise error
    leader = Leader(post, computation, resume)
    with closing(Spill(spill_folder)) as spill:
        follower = follow(post, computation, found[rewrite.savepoint], spill=spill, record_from=rewrite.first)
        finish_rewrite(follower, leader, rewrite, None)
    post.probe("loaded", computation.epoch)
    return leader


def _record(ledger: Ledger, flow: str, epoch: int) -> EpochRecord | None:
    """The record of a committed epoch; None for epoch 0, before the first."""
    if epoch == 0:
        return None
    records = ledger.epochs(flow, first=epoch, last=epoch)
    if not records:
        error = LedgerError(f"the record of epoch {epoch} is gone", flow=flow, epoch=epoch, hint="restore the ledger")
        error.heals = False
        raise error
    return records[0]
