"""Corrections in a NATS stream: only what differs, each once, whatever happens in the middle, and what comes after."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from penstock.clock import SystemClock, new_id, seeded
from penstock.connect import Budget, Change, Context
from penstock.connect.nats import NatsSink, NatsSource
from penstock.connect.nats_stream import Stream
from penstock.connect.nats_wire import headers_of
from penstock.errors import Fenced, StepFailed
from penstock.flow import Dataset

ROWS = pl.Schema({"n": pl.Int64()})


class Target:
    """A stream of its own, its sinks, and what is in it."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.stream = new_id()
        self.folder = folder
        self.sinks: list[NatsSink] = []
        self.admin = Stream(url, self.stream, SystemClock())

    @property
    def context(self) -> Context:
        """What a connector gets."""
        return Context("orders", "write", self.folder, self.folder, SystemClock(), ROWS)

    def opened(self, generation: int) -> NatsSink:
        """A sink on the stream, opened."""
        self.sinks.append(NatsSink(Dataset("nats", self.stream, options={"url": self.url}), self.context))
        self.sinks[-1].open(generation)
        return self.sinks[-1]

    def messages(self) -> list[tuple[str, int, str]]:
        """(add, retract or "", epoch, payload) of each message to the rows' subject."""
        state = self.admin.state()
        assert state is not None
        found = []
        for message in self.admin.read(state.first, state.last + 1, self.stream):
            headers = headers_of(message.headers)
            kind = headers.get("Penstock-Correction", "")
            found.append((kind, int(headers["Penstock-Epoch"]), message.payload.decode()[5:-1]))
        return found

    def corrections(self) -> list[tuple[str, int, str]]:
        """The messages that are corrections."""
        return [message for message in self.messages() if message[0]]


@pytest.fixture
def target(nats_url: str, tmp_path: Path) -> Iterator[Target]:
    """A stream that does not exist yet."""
    made = Target(nats_url, tmp_path)
    yield made
    for sink in made.sinks:
        sink.close()
    made.admin.close()


def change(*numbers: int) -> Change:
    """An epoch that appends these numbers."""
    return Change(pl.DataFrame({"n": numbers}, schema=ROWS))


WRONG = {2: (1, 1, 2), 3: (3, 4), 4: (5,), 5: (6, 7)}
RIGHT = {2: (2, 1, 9), 3: (4, 3), 4: (), 5: (7, 6, 6)}
EXPECTED = [("retract", 2, "1"), ("add", 2, "9"), ("retract", 4, "5"), ("add", 5, "6")]


def all_changes() -> Iterator[tuple[int, Change, Change]]:
    """What an undo of epochs 2 to 5 corrects."""
    for epoch, wrong in WRONG.items():
        yield epoch, change(*wrong), change(*RIGHT[epoch])


def written(target: Target, generation: int = 1) -> NatsSink:
    """A stream with the epochs 1 to 5 in it."""
    sink = target.opened(generation)
    sink.write(1, generation, change(0))
    for epoch, wrong in WRONG.items():
        sink.write(epoch, generation, change(*wrong))
    return sink


def test_only_what_differs_is_published(target: Target) -> None:
    """Rows only in the wrong change are retracted, those only in the right one added, with the epoch they belong to."""
    sink = written(target)
    receipt = sink.correct(2, 1, all_changes())
    assert target.corrections() == EXPECTED
    assert (receipt["retracted"], receipt["added"], receipt["published"]) == (2, 2, 4)
    assert sink.last_epoch() == 5
    assert target.opened(2).last_epoch() == 5


def test_corrections_again_publish_nothing(target: Target) -> None:
    """The same call, by this process or a newer one, finds all of them there."""
    sink = written(target)
    sink.correct(2, 1, all_changes())
    assert sink.correct(2, 1, all_changes())["published"] == 0
    assert target.opened(2).correct(2, 2, all_changes())["published"] == 0
    assert target.corrections() == EXPECTED


@pytest.mark.parametrize("kept", range(5))
def test_an_interrupted_call_goes_on_where_it_stood(target: Target, kept: int) -> None:
    """Whatever part of the corrections was published, a newer process publishes the rest."""
    sink = written(target)
    sink.correct(2, 1, all_changes())
    state = target.admin.state()
    assert state is not None
    for sequence in range(state.last, state.last - len(EXPECTED) + kept, -1):
        target.admin.delete(sequence)
    assert target.opened(2).correct(2, 2, all_changes())["published"] == len(EXPECTED) - kept
    assert target.corrections() == EXPECTED


def test_changes_that_fail_in_the_middle(target: Target) -> None:
    """What was corrected before stays, and the next call goes on behind it."""
    sink = written(target)

    def failing() -> Iterator[tuple[int, Change, Change]]:
        for epoch, wrong, right in all_changes():
            if epoch == 4:
                raise StepFailed("no more")
            yield epoch, wrong, right

    with pytest.raises(StepFailed):
        sink.correct(2, 1, failing())
    assert sink.correct(2, 1, all_changes())["published"] == 2
    assert target.corrections() == EXPECTED


def test_the_flow_goes_on_after_corrections(target: Target) -> None:
    """The next epoch follows, is replaced and repeated as ever; an epoch that was begun before them ends after them."""
    sink = written(target)
    sink.write(6, 1, change(60, 61, 62))  # by the bad version, not committed
    sink.correct(2, 1, all_changes())
    new = target.opened(2)
    assert new.last_epoch() == 6
    new.write(6, 2, change(60, 71))
    assert new.write(6, 2, change(60, 71))["published"] == 0
    new.write(7, 2, change(80))
    rows = [payload for kind, _, payload in target.messages() if not kind]
    assert rows == ["0", "1", "1", "2", "3", "4", "5", "6", "7", "60", "71", "80"]
    assert target.corrections() == EXPECTED
    new.write(5, 2, change(6))  # further back than a flow would go
    assert [payload for kind, _, payload in target.messages() if not kind][-2:] == ["5", "6"]
    assert target.corrections() == EXPECTED


def test_an_undo_of_an_undo(target: Target) -> None:
    """A second call about the same epochs is another one, also where a row goes twice, one after the other."""
    sink = target.opened(1)
    sink.write(1, 1, change(5, 5))
    sink.correct(1, 1, [(1, change(5, 5), change(5))])
    sink.correct(1, 1, [(1, change(5), change())])
    sink.correct(1, 1, [(1, change(), change(5, 5))])
    assert sink.correct(1, 1, [(1, change(), change(5, 5))])["published"] == 0
    assert target.corrections() == [("retract", 1, "5"), ("retract", 1, "5"), ("add", 1, "5"), ("add", 1, "5")]


def test_an_epoch_that_came_out_otherwise_the_second_time(target: Target) -> None:
    """Where the flow does not do the same again, the epoch that was interrupted is corrected by what it did last."""
    sink = target.opened(1)
    sink.write(1, 1, change(1))
    sink.write(2, 1, change(2))
    sink.correct(1, 1, [(1, change(1), change(10)), (2, change(2), change(20))])
    sink.correct(1, 1, [(1, change(1), change(10)), (2, change(2), change(21, 22))])
    assert target.corrections() == [
        ("retract", 1, "1"),
        ("add", 1, "10"),
        ("retract", 2, "2"),
        ("add", 2, "21"),
        ("add", 2, "22"),
    ]


def test_an_older_generation_corrects_nothing(target: Target) -> None:
    """Corrections are fenced as rows are."""
    old = written(target)
    target.opened(2)
    with pytest.raises(Fenced):
        old.correct(2, 1, all_changes())
    assert target.corrections() == []


def test_a_reader_learns_of_what_was_taken_back(target: Target) -> None:
    """Read by a flow, an added row is a row, and one that was taken back a reject with its place."""
    sink = target.opened(1)
    sink.write(1, 1, change(1, 2))
    sink.correct(1, 1, [(1, change(1, 2), change(2, 3))])
    source = NatsSource(Dataset("nats", target.stream, options={"url": target.url}), target.context)
    start = source.initial()
    (part,) = source.read(start, source.offer(start, Budget()))
    source.close()
    assert part.frame["n"].to_list() == [1, 2, 3]
    (reject,) = part.rejects
    assert (reject.offset, reject.raw) == (4, '{"n":1}')
    assert "takes it back" in reject.error


CORRECTOR = """
import sys
from pathlib import Path
from penstock.clock import SystemClock
from penstock.connect import Context
from penstock.connect.nats import NatsSink
from penstock.flow import Dataset
from tests.connect.test_nats_corrections import ROWS, many_changes

url, stream, folder, generation = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
context = Context("orders", "write", folder, folder, SystemClock(), ROWS)
sink = NatsSink(Dataset("nats", stream, options={"url": url}), context)
sink.open(generation)
print("ready", flush=True)
sink.correct(1, generation, many_changes())
print("done", flush=True)
sys.stdin.read()
"""
EPOCHS = 30


def many_changes() -> Iterator[tuple[int, Change, Change]]:
    """Enough to be killed in the middle: of each epoch 500 rows go and 500 come."""
    for epoch in range(1, EPOCHS + 1):
        wrong = range(epoch * 10_000, epoch * 10_000 + 1000)
        yield epoch, change(*wrong), change(*(number + 500 for number in wrong))


@pytest.mark.crash
def test_killed_while_correcting(target: Target) -> None:
    """Processes that are killed while they publish corrections leave each of them once."""
    chance = seeded(20261125)
    sink = target.opened(1)
    for epoch, wrong, _ in many_changes():
        sink.write(epoch, 1, wrong)
    for generation in range(2, 6):
        process = subprocess.Popen(
            [sys.executable, "-c", CORRECTOR, target.url, target.stream, str(target.folder), str(generation)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        SystemClock().sleep(0.1 * chance.random())
        process.send_signal(signal.SIGKILL)
        process.communicate()
    target.opened(6).correct(1, 6, many_changes())
    expected = []
    for epoch in range(1, EPOCHS + 1):
        first = epoch * 10_000
        expected += [("retract", epoch, str(number)) for number in range(first, first + 500)]
        expected += [("add", epoch, str(number)) for number in range(first + 1000, first + 1500)]
    assert target.corrections() == expected
