"""The handover in one thread: takeover, stepping down, rollback, undo, and what a kill at each point of them leaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

import penstock as ps
from penstock.connect.postgres import PostgresSink
from penstock.engine import HANDOVER_POINTS, Follower, Leader, Outcome, follow, step_down, take_over
from penstock.errors import CorruptState, Fenced, FlowBusy, LedgerError
from penstock.ledger import BEGINNING, Member, Rewrite, Savepoint
from tests.engine.serving import Place, write_rows

ROWS = [(number % 7, number) for number in range(200)]


class Killed(BaseException):
    """Stands for `kill -9` at a point: nothing catches it."""


@pytest.fixture
def place(tmp_path: Path, postgres_dsn: str) -> Iterator[Place]:
    """A flow into PostgreSQL, with fifty rows waiting."""
    made = Place(tmp_path, replace(ps.postgres(postgres_dsn, "out"), key=("key",)))
    write_rows(made.input, ROWS[:50])
    with closing(made):
        yield made


def run(leader: Leader) -> None:
    """Lead until nothing waits."""
    while leader.step() is Outcome.RAN:
        pass


def catch(follower: Follower) -> None:
    """Follow until nothing is left to follow."""
    while follower.step():
        pass


def totals(count: int, factor: int = 1) -> dict[int, int]:
    """What the table holds after so many rows."""
    found: dict[int, int] = {}
    for key, amount in ROWS[:count]:
        found[key] = found.get(key, 0) + amount
    return {key: total * factor for key, total in found.items()}


def table(place: Place) -> dict[int, int]:
    """What a reader of the table sees."""
    with psycopg.connect(place.sink.options["dsn"]) as session:
        found = session.execute("select key, total from out").fetchall()
    assert len({key for key, _ in found}) == len(found)
    return dict(found)


def pinned(leader: Leader) -> Savepoint:
    """A savepoint for a follower."""
    return leader.post.ledger.savepoint(leader.post.flow, why="test", pinned=True)


def rewrite_to(savepoint: Savepoint, version: str) -> Rewrite:
    """An undo of all epochs after a savepoint."""
    return Rewrite("undo-1", savepoint.epoch + 1, 0, version, savepoint.id, "it was wrong")


def test_a_new_version_takes_over_with_its_state(place: Place) -> None:
    """The new version goes on where the old one was, from a state of its own that a later process finds."""
    old = place.lead(1)
    run(old)
    new = place.follow(2, pinned(old).id)
    write_rows(place.input, ROWS[50:80])
    run(old)
    catch(new)
    leader = place.take_over(new)
    write_rows(place.input, ROWS[80:120])
    run(leader)

    assert table(place) == totals(120, 2)
    write_rows(place.input, ROWS[120:130])
    with pytest.raises(Fenced):
        run(old)
    later = place.lead(2)
    write_rows(place.input, ROWS[130:150])
    run(later)
    assert table(place) == totals(150, 2)


def test_a_follower_brings_the_epoch_that_the_leader_could_not_commit(place: Place) -> None:
    """The old leader dies before its commit; the follower has computed the same plan, and writes and commits it."""
    armed = False

    def probe(point: str, _epoch: int) -> None:
        if armed and point == "before-commit":
            raise Killed

    old = place.lead(1, probe)
    run(old)
    new = place.follow(2, pinned(old).id)
    armed = True
    write_rows(place.input, ROWS[50:60])
    with pytest.raises(Killed):
        old.step()
    catch(new)
    leader = place.take_over(new)
    assert leader.running is not None
    run(leader)

    assert table(place) == totals(60, 2) | {key: total for key, total in totals(50).items() if key not in _keys(50, 60)}


def _keys(first: int, last: int) -> set[int]:
    return {key for key, _ in ROWS[first:last]}


def test_a_follower_says_up_to_which_epoch_it_has_counted(place: Place) -> None:
    """The rows that it tells are those of the epochs from its savepoint to the one that it names, so that both versions
    can be held to the same epochs.
    """
    old = place.lead(1)
    run(old)
    savepoint = pinned(old)
    new = place.follow(2, savepoint.id)
    write_rows(place.input, ROWS[50:120])
    run(old)
    catch(new)

    told = new.post.tally.progress
    counted = old.post.ledger.epochs(old.post.flow, first=savepoint.epoch + 1, last=told.counted_epoch)
    assert told.counted_epoch > savepoint.epoch
    assert told.rows_in == sum(record.rows_in["rows"] for record in counted)


def test_the_old_version_rolls_back_from_its_own_warm_state(place: Place) -> None:
    """Fenced in the middle of an epoch, the old leader follows, and takes over again without a gap."""
    old = place.lead(1)
    run(old)
    new = place.follow(2, pinned(old).id)
    catch(new)
    leader = place.take_over(new)
    write_rows(place.input, ROWS[50:90])
    with pytest.raises(Fenced):
        run(old)
    hidden = step_down(old, place.spill())
    run(leader)
    catch(hidden)
    assert table(place) == totals(90, 2)

    back = place.take_over(hidden)
    write_rows(place.input, ROWS[90:200])
    run(back)
    assert table(place) == totals(200)
    with pytest.raises(Fenced):
        leader.step()


def test_a_standby_takes_over_without_loading(place: Place) -> None:
    """A follower of the same version has the state of the ledger and leads on from it."""
    old = place.lead(1)
    run(old)
    standby = place.stand_by(1)
    write_rows(place.input, ROWS[50:100])
    run(old)
    catch(standby)
    leader = place.take_over(standby)
    write_rows(place.input, ROWS[100:130])
    run(leader)
    run(place.lead(1))
    assert table(place) == totals(130)


@pytest.mark.parametrize("standby", [False, True])
def test_who_is_fenced_in_its_own_takeover_keeps_its_state(place: Place, *, standby: bool) -> None:
    """Another process claims the flow between the takeover and the sinks: what was in memory only is there still."""
    between: list[Leader] = []

    def probe(here: str, _epoch: int) -> None:
        if here == "taken-over" and not between:
            between.append(place.lead(1))
            run(between[0])

    old = place.lead(1)
    run(old)
    new = place.stand_by(1, probe) if standby else place.follow(1, pinned(old).id, probe)
    write_rows(place.input, ROWS[50:70])
    run(old)
    if not standby:  # which is behind, while the other one is ahead by an epoch
        catch(new)
        write_rows(place.input, [(0, 1000)])
        planned = old.planner.plan(old.computation.last, {})
        assert planned is not None
        old.post.ledger.plan("sums", old.generation, planned)
        catch(new)
    begun: list[Leader] = []
    with pytest.raises(Fenced):
        take_over(new, holder="new", expected=old.generation, begun=begun.append)
    hidden = step_down(begun[0], place.spill())
    catch(hidden)
    leader = place.take_over(hidden)
    write_rows(place.input, [(1, 2000)])
    run(leader)
    write_rows(place.input, ROWS[70:200])
    run(place.lead(1))
    right = totals(200)
    assert table(place) == right | {0: right[0] + (0 if standby else 1000), 1: right[1] + 2000}


def test_a_standby_ends_where_another_version_takes_over(place: Place) -> None:
    """Its state is the flow's no more: it may neither go on following nor take over, whichever it tries first."""
    old = place.lead(1)
    run(old)
    standby, other = place.stand_by(1), place.stand_by(1)
    new = place.take_over(place.follow(2, pinned(old).id))
    write_rows(place.input, ROWS[50:60])
    run(new)
    with pytest.raises(FlowBusy, match="a takeover by version v2"):
        take_over(standby, holder="standby", expected=new.generation)
    with pytest.raises(LedgerError, match="version v2 leads with a state of its own"):
        catch(other)
    write_rows(place.input, ROWS[60:70])
    run(new)
    assert new.post.ledger.standing("sums") is not None
    later = place.stand_by(2)
    run(place.take_over(later))


def test_who_opens_a_sink_that_a_newer_process_writes_is_fenced(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was frozen after it raised its fence: what the sink holds more than it knows is no sign of a lost ledger."""
    old = place.lead(1)
    run(old)
    asked = PostgresSink.last_epoch

    def late(sink: PostgresSink) -> int | None:
        monkeypatch.setattr(PostgresSink, "last_epoch", asked)
        write_rows(place.input, ROWS[50:80])
        run(place.lead(1))
        return asked(sink)

    monkeypatch.setattr(PostgresSink, "last_epoch", late)
    with pytest.raises(Fenced, match="leads as generation 3"):
        place.lead(1)
    assert table(place) == totals(80)


def join(follower: Follower) -> None:
    """Note the process in the ledger, as its server does."""
    post = follower.post
    post.ledger.join(Member(post.store.owner, "sums", post.version, 1, "here", "s"))


def test_state_files_of_processes_that_are_gone_are_swept(place: Place) -> None:
    """Those of a process that follows still, and those that a savepoint names, stay."""
    old = place.lead(1)
    run(old)
    alive, gone = (place.follow(2, pinned(old).id) for _ in range(2))
    join(alive)
    write_rows(place.input, ROWS[50:70])
    run(old)
    for follower in (alive, gone):
        catch(follower)
        assert follower.branch is not None
        follower.branch.flush(follower.epoch)
    leader = place.lead(1)
    write_rows(place.input, ROWS[70:80])
    run(leader)
    assert alive.branch is not None
    assert gone.branch is not None
    assert leader.post.store.missing(alive.branch.segments) == []
    assert leader.post.store.missing(gone.branch.segments) == [gone.branch.segments[-1]]
    with pytest.raises(LedgerError, match="are gone"):
        place.take_over(gone)
    assert place.take_over(alive).generation == leader.generation + 1


def test_who_misses_files_that_a_newer_process_let_go_of_is_fenced(place: Place) -> None:
    """A leader that was frozen before a merge does not call its state corrupt."""
    frozen = place.lead(1)
    run(frozen)
    store = frozen.post.store
    frozen.compactor.segments = [store.write(epoch, epoch, []) for epoch in range(1, 17)]
    place.lead(1)
    store.sweep([ref.file for ref in frozen.compactor.segments])
    plan = frozen.computation.last
    assert plan is not None
    frozen._care(plan, None)  # the merge begins
    frozen.compactor._pool.shutdown(wait=True)
    with pytest.raises(Fenced):
        frozen._care(plan, None)


def test_a_leader_that_meets_a_damaged_file_writes_its_state_anew(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It has all of it in memory: the flow goes on, and so does the process after it."""
    leader = place.lead(1)
    run(leader)
    monkeypatch.setattr("penstock.engine.compaction.due", list)
    kept = leader.post.ledger.savepoint(leader.post.flow, why="before the damage")
    (file,) = place.folder.rglob(leader.compactor.segments[0].file)
    file.write_bytes(file.read_bytes()[:-4])
    write_rows(place.input, ROWS[50:60])
    run(leader)  # the merge begins
    leader.compactor._pool.submit(bool).result()
    write_rows(place.input, ROWS[60:70])
    run(leader)

    whole, *since = leader.compactor.segments
    assert (whole.first, whole.last) == (0, 7)
    assert list(leader.post.ledger.segments(leader.post.flow)) == [whole, *since]
    (entry,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert file.name in entry.getMessage()
    assert f"the savepoints of the epochs {kept.epoch}" in entry.getMessage()
    later = place.lead(1)
    write_rows(place.input, ROWS[70:100])
    run(later)
    assert table(place) == totals(100)


def test_who_was_frozen_before_it_loaded_is_fenced_or_begins_anew(place: Place) -> None:
    """A newer process let go of the files meanwhile: that is no damage, and nobody is told to restore a copy."""
    between: list[Leader] = []

    def probe(here: str, _epoch: int) -> None:
        if here == "claimed" and not between:
            between.append(place.lead(1))
            store = between[0].post.store
            store.sweep(store.strays())

    old = place.lead(1)
    run(old)
    savepoint = pinned(old)
    with pytest.raises(Fenced):
        place.lead(1, probe)
    post, computation = place.process(2)
    with pytest.raises(CorruptState):
        follow(post, computation, savepoint, spill=place.spill())
    post.ledger.drop_savepoints("sums", [savepoint.id])
    with pytest.raises(LedgerError, match="is gone"):
        follow(post, computation, savepoint, spill=place.spill())


def test_a_standby_is_of_the_version_that_leads(place: Place) -> None:
    """One of another version would lead on from a state that its own code never made."""
    leader = place.lead(1)
    run(leader)
    with pytest.raises(FlowBusy, match="version v1 leads"):
        place.stand_by(2)
    assert not leader.post.ledger.savepoints("sums")


def test_a_follower_that_is_behind_takes_over_and_catches_up(place: Place) -> None:
    """Some epochs are committed that the follower has not run when it takes over: no sink holds more than is known."""
    old = place.lead(1)
    run(old)
    new = place.follow(2, pinned(old).id)
    write_rows(place.input, ROWS[50:80])
    run(old)
    assert new.epoch < old.computation.epoch
    leader = place.take_over(new)
    write_rows(place.input, ROWS[80:100])
    run(leader)
    run(place.lead(2))
    assert table(place) == totals(80, 1) | {
        key: total for key, total in totals(100, 2).items() if key in _keys(80, 100)
    }


def test_a_takeover_of_a_production_that_changed_is_refused(place: Place) -> None:
    """The generation that was expected is not the one that leads: nothing happens, and the follower may go on."""
    old = place.lead(1)
    run(old)
    new = place.follow(2, pinned(old).id)
    other = place.lead(1)
    with pytest.raises(FlowBusy, match="production has changed"):
        take_over(new, holder="new", expected=old.generation)
    write_rows(place.input, ROWS[50:70])
    run(other)
    assert table(place) == totals(70)


def undo(right: Follower, leader: Leader, savepoint: Savepoint) -> Leader:
    """Take back everything after a savepoint."""
    again, _ = take_over(
        right,
        holder="right",
        expected=leader.generation,
        rewrite=rewrite_to(savepoint, right.post.version),
    )
    return again


def test_an_undo_leaves_what_a_flow_without_the_mistake_would_have(place: Place) -> None:
    """The bad epochs are taken back, their input is processed by the good version, and the flow goes on."""
    good = place.lead(1)
    run(good)
    savepoint = pinned(good)
    bad = place.take_over(place.follow(3, savepoint.id))
    write_rows(place.input, ROWS[50:120])
    run(bad)
    assert table(place) != totals(120)
    right = place.follow(1, savepoint.id, record_from=savepoint.epoch + 1)
    catch(right)
    leader = undo(right, bad, savepoint)

    assert table(place) == totals(120)
    write_rows(place.input, ROWS[120:200])
    run(leader)
    assert table(place) == totals(200)
    ledger = leader.post.ledger
    records = ledger.epochs("sums")
    assert [record.epoch for record in records] == [*range(1, len(records) + 1)]
    assert {record.version for record in records} == {"v1"}
    assert {record.version for _, record in ledger.undone_epochs("sums")} == {"v3"}
    assert sum(sum(record.rows_in.values()) for record in records) == 200


def test_the_hidden_old_version_can_undo_at_once(place: Place) -> None:
    """The version that was fenced by the bad one has computed the right rows all along."""
    old = place.lead(1)
    run(old)
    savepoint = pinned(old)
    bad = place.take_over(place.follow(3, savepoint.id))
    write_rows(place.input, ROWS[50:90])
    with pytest.raises(Fenced):
        run(old)
    hidden = step_down(old, place.spill())
    run(bad)
    catch(hidden)
    leader = undo(hidden, bad, savepoint)
    assert table(place) == totals(90)
    write_rows(place.input, ROWS[90:100])
    run(leader)
    assert table(place) == totals(100)


def test_an_undo_that_can_not_end_is_ended_by_another(place: Place) -> None:
    """The version that was to undo dies on its input each time: another one takes it back from there, or earlier."""

    def probe(here: str, _epoch: int) -> None:
        if here == "rewritten":
            raise Killed

    good = place.lead(1)
    run(good)
    savepoint = pinned(good)
    bad = place.take_over(place.follow(3, savepoint.id))
    write_rows(place.input, ROWS[50:120])
    run(bad)
    hopeless = place.follow(2, savepoint.id, probe, record_from=savepoint.epoch + 1)
    catch(hopeless)
    with pytest.raises(Killed):
        undo(hopeless, bad, savepoint)
    standing = good.post.ledger.standing("sums")
    assert standing is not None
    assert standing.rewrite is not None
    with pytest.raises(LedgerError, match="taken back by an undo"):
        catch(place.follow(1, savepoint.id))
    right = place.follow(1, savepoint.id, record_from=savepoint.epoch + 1)
    catch(right)
    again = replace(rewrite_to(savepoint, "v1"), id="undo-2")
    leader, _ = take_over(right, holder="right", expected=standing.generation, rewrite=again)
    assert table(place) == totals(120)
    write_rows(place.input, ROWS[120:200])
    run(leader)
    assert table(place) == totals(200)
    assert {one.id for one, _ in good.post.ledger.undone_epochs("sums")} == {"undo-2"}


def test_an_undo_of_everything_begins_from_nothing(place: Place) -> None:
    """There is no savepoint before the first epoch, and none is needed, by whoever finishes the undo either."""

    def probe(here: str, _epoch: int) -> None:
        if here == "rewritten":
            raise Killed

    bad = place.lead(3)
    run(bad)
    right = place.follow(1, BEGINNING.id, probe, record_from=1)
    catch(right)
    with pytest.raises(Killed):
        undo(right, bad, BEGINNING)
    run(place.lead(1))
    assert table(place) == totals(50)
    assert {record.version for record in bad.post.ledger.epochs("sums")} == {"v1"}


@pytest.mark.parametrize("point", [point for point in HANDOVER_POINTS if not point.startswith("rewrit")])
def test_a_kill_in_a_takeover_leaves_one_that_can_go_on(place: Place, point: str) -> None:
    """Killed at any point of a takeover, the old or the new version leads, and a new process of it goes on."""

    def probe(here: str, _epoch: int) -> None:
        if here == point:
            raise Killed

    old = place.lead(1)
    run(old)
    new = place.follow(2, pinned(old).id, probe)
    write_rows(place.input, ROWS[50:75])
    run(old)
    catch(new)
    with pytest.raises(Killed):
        place.take_over(new)
    standing = old.post.ledger.standing("sums")
    assert standing is not None
    factor = int(standing.version.removeprefix("v"))
    assert factor == (1 if point == "flushed" else 2)
    write_rows(place.input, ROWS[75:200])
    run(place.lead(factor))
    assert table(place) == totals(200, factor)


@pytest.mark.parametrize("point", [point for point in HANDOVER_POINTS if point != "sinks-open"])
def test_a_kill_in_an_undo_is_finished_by_the_next_process(place: Place, point: str) -> None:
    """Killed at any point of an undo, the next process of the good version finishes it, once."""

    def probe(here: str, _epoch: int) -> None:
        if here == point:
            raise Killed

    good = place.lead(1)
    run(good)
    savepoint = pinned(good)
    bad = place.take_over(place.follow(3, savepoint.id))
    write_rows(place.input, ROWS[50:120])
    run(bad)
    right = place.follow(1, savepoint.id, probe, record_from=savepoint.epoch + 1)
    catch(right)
    with pytest.raises(Killed):
        undo(right, bad, savepoint)
    if point == "flushed":
        return
    leader = place.lead(1)
    assert table(place) == totals(120)
    write_rows(place.input, ROWS[120:200])
    run(leader)
    run(place.lead(1))
    assert table(place) == totals(200)


def test_a_follower_can_go_on_from_files_of_its_own(place: Place) -> None:
    """Its state merged into one file, it takes over as it would have from the files that it began with."""
    old = place.lead(1)
    run(old)
    new = place.follow(2, pinned(old).id)
    write_rows(place.input, ROWS[50:90])
    run(old)
    catch(new)
    assert new.branch is not None
    borrowed = {ref.file for ref in new.branch.segments}
    new.branch.flush(new.epoch)
    new.branch.make_own()
    assert len(new.branch.segments) == 1
    assert new.branch.segments[0].file not in borrowed
    run(place.take_over(new))
    write_rows(place.input, ROWS[90:120])
    run(place.lead(2))
    assert table(place) == totals(120, 2)
