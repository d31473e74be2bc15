"""NATS JetStream, against a real server: ranges by sequence, the chain, the fence, and a server that crashes."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats as nats_client
import polars as pl
import pytest

from penstock.clock import SystemClock, new_id
from penstock.connect import Budget, Change, Context
from penstock.connect.nats import NatsSink, NatsSource
from penstock.connect.nats_sink import as_lines, covers
from penstock.connect.nats_stream import Stream
from penstock.errors import ConfigError, ConnectorError, Fenced, SchemaError
from penstock.flow import Dataset
from penstock.testing import servers

ROWS = pl.Schema({"n": pl.Int64()})


OPENED: list[NatsSink | NatsSource | Stream] = []


@pytest.fixture(autouse=True)
def closed_at_the_end() -> Iterator[None]:
    """Whatever a test opened is closed after it."""
    yield
    while OPENED:
        OPENED.pop().close()


def context_at(folder: Path, schema: pl.Schema | None = ROWS) -> Context:
    """What a connector gets that works in `folder`."""
    return Context("orders", "write", folder, folder, SystemClock(), schema)


def sink_at(url: str, stream: str, folder: Path, **options: str) -> NatsSink:
    """A sink on a stream, not opened."""
    sink = NatsSink(Dataset("nats", stream, options={"url": url, **options}), context_at(folder))
    OPENED.append(sink)
    return sink


def source_at(url: str, stream: str, folder: Path, **options: str) -> NatsSource:
    """A source on a stream."""
    source = NatsSource(Dataset("nats", stream, options={"url": url, **options}), context_at(folder))
    OPENED.append(source)
    return source


def admin_of(url: str, stream: str) -> Stream:
    """A stream to look into and delete from."""
    OPENED.append(Stream(url, stream, SystemClock()))
    assert isinstance(OPENED[-1], Stream)
    return OPENED[-1]


def change(*numbers: int) -> Change:
    """An epoch that appends these numbers."""
    return Change(pl.DataFrame({"n": numbers}, schema=ROWS))


def publish(url: str, stream: str, payloads: list[bytes], **config: Any) -> None:
    """Publish with the NATS project's own client; makes the stream, which takes `<stream>` and below."""

    async def work() -> None:
        client = await nats_client.connect(url)
        jet = client.jetstream()
        await jet.add_stream(name=stream, subjects=[stream, f"{stream}.>"], **config)
        for payload in payloads:
            await jet.publish(stream, payload)
        await client.close()

    asyncio.run(work())


def numbers_in(url: str, stream: str, folder: Path) -> list[int]:
    """All rows of a stream, in order."""
    source = source_at(url, stream, folder)
    start = source.initial()
    parts = source.read(start, source.offer(start, Budget()))
    assert not any(part.rejects for part in parts)
    return [n for part in parts for n in part.frame["n"].to_list()]


def test_source_reads_ranges_that_repeat(nats_url: str, tmp_path: Path) -> None:
    """Ranges cut by the budget give every message once, in order, and the same when another source reads them."""
    stream = new_id()
    publish(nats_url, stream, [json.dumps({"n": n}).encode() for n in range(25)])
    source = source_at(nats_url, stream, tmp_path)
    at = source.initial()
    assert source.backlog(at).rows == 25
    seen: list[int] = []
    while (end := source.offer(at, Budget(rows=10))) != at:
        (part,) = source.read(at, end)
        (again,) = source_at(nats_url, stream, tmp_path).read(at, end)
        assert part.frame.equals(again.frame)
        seen += part.frame["n"].to_list()
        at = end

    assert seen == list(range(25))
    assert source.backlog(at).rows == 0


def test_consumer_that_the_server_forgot_is_made_anew(nats_url: str, tmp_path: Path) -> None:
    """A source that has not read for a while, so that its consumer is gone, goes on where it was."""
    stream = new_id()
    publish(nats_url, stream, [json.dumps({"n": n}).encode() for n in range(9)])
    source = source_at(nats_url, stream, tmp_path)
    source.read({"stream": 1}, {"stream": 4})
    cursor = source._reading._cursor
    assert cursor is not None
    cursor.used_s -= 60.0
    cursor.beyond.clear()
    admin_of(nats_url, stream).wire.call(f"CONSUMER.DELETE.{stream}.{cursor.name}")
    (part,) = source.read({"stream": 4}, {"stream": 10})

    assert part.frame["n"].to_list() == [3, 4, 5, 6, 7, 8]


def test_messages_that_are_no_rows_become_rejects(nats_url: str, tmp_path: Path) -> None:
    """Broken, empty and mistyped messages are told with their sequence; a pretty-printed one is a row."""
    stream = new_id()
    payloads = [b'{"n": 1}', b"nonsense", b"", b'{\n "n": 2\r\n}', b'{"n": "x"}', b"[1]", b'{"n": 3}', b"\xff\xfe"]
    publish(nats_url, stream, payloads)
    source = source_at(nats_url, stream, tmp_path)
    start = source.initial()
    (part,) = source.read(start, source.offer(start, Budget()))

    assert part.frame["n"].to_list() == [1, 2, 3]
    assert [reject.offset for reject in part.rejects] == [2, 3, 5, 6, 8]
    assert part.rejects[0].raw == "nonsense"


def test_deleted_messages_are_passed_over(nats_url: str, tmp_path: Path) -> None:
    """A message deleted inside a range, or at its end, is no error."""
    stream = new_id()
    publish(nats_url, stream, [json.dumps({"n": n}).encode() for n in range(1, 6)])
    admin = admin_of(nats_url, stream)
    admin.delete(2)
    admin.delete(5)
    admin.delete(5)
    source = source_at(nats_url, stream, tmp_path)
    (part,) = source.read({"stream": 1}, {"stream": 6})

    assert part.frame["n"].to_list() == [1, 3, 4]


def test_range_that_ran_out_of_limits_is_told(nats_url: str, tmp_path: Path) -> None:
    """A range that the stream's limits have dropped is a ConnectorError that names the oldest sequence left."""
    stream = new_id()
    publish(nats_url, stream, [json.dumps({"n": n}).encode() for n in range(10)], max_msgs=4)
    source = source_at(nats_url, stream, tmp_path)

    with pytest.raises(ConnectorError, match="before sequence 7 any more; the flow stands at 3"):
        source.read({"stream": 3}, {"stream": 9})
    assert source.initial() == {"stream": 7}


def test_source_can_keep_to_one_subject(nats_url: str, tmp_path: Path) -> None:
    """With a subject, messages to others of the stream are not read."""
    stream = new_id()
    publish(nats_url, stream, [b'{"n": 1}', b'{"n": 2}'])

    async def other() -> None:
        client = await nats_client.connect(nats_url)
        await client.jetstream().publish(f"{stream}.other", b"not for us")
        await client.close()

    asyncio.run(other())
    source = source_at(nats_url, stream, tmp_path, subject=stream)
    start = source.initial()
    (part,) = source.read(start, source.offer(start, Budget()))

    assert (part.frame["n"].to_list(), list(part.rejects)) == ([1, 2], [])


def test_missing_things_are_told(nats_url: str, tmp_path: Path) -> None:
    """No stream, no schema, no server, no such address: each a clear error."""
    with pytest.raises(ConnectorError, match="there is no stream"):
        source_at(nats_url, new_id(), tmp_path).initial()
    with pytest.raises(SchemaError, match="columns only you know"):
        NatsSource(Dataset("nats", "s", options={"url": nats_url}), context_at(tmp_path, None)).schema()
    with pytest.raises(ConnectorError, match="is away"):
        source_at(f"nats://127.0.0.1:{servers.free_port()}", "s", tmp_path).initial()
    with pytest.raises(ConfigError, match="no such address"):
        source_at("http://x", "s", tmp_path).initial()


def test_sink_publishes_each_epoch_once(nats_url: str, tmp_path: Path) -> None:
    """Epochs written again by another process, whole or begun, publish only what is missing."""
    stream = new_id()
    sink = sink_at(nats_url, stream, tmp_path)
    sink.open(1)
    sink.write(1, 1, change(1, 2))
    sink.write(2, 1, change(3, 4, 5))
    admin_of(nats_url, stream).delete(6)  # the fence was 1, so this is row 5: as if never sent
    again = sink_at(nats_url, stream, tmp_path)
    again.open(2)
    receipt = again.write(2, 2, change(3, 4, 5))
    more = again.write(2, 2, change(3, 4, 5))

    assert (receipt["published"], more["published"]) == (1, 0)
    assert numbers_in(nats_url, stream, tmp_path) == [1, 2, 3, 4, 5]
    assert again.last_epoch() == 2


def test_other_rows_take_the_place_of_those_published(nats_url: str, tmp_path: Path) -> None:
    """An epoch that comes again with other rows, or none, leaves only the second call's rows in the stream."""
    stream = new_id()
    sink = sink_at(nats_url, stream, tmp_path)
    sink.open(1)
    sink.write(1, 1, change(1))
    sink.write(2, 1, change(2, 3, 4))
    assert sink.write(2, 1, change(2, 30))["published"] == 1
    assert numbers_in(nats_url, stream, tmp_path) == [1, 2, 30]
    sink.write(2, 1, change(2, 3, 4))
    assert numbers_in(nats_url, stream, tmp_path) == [1, 2, 3, 4]
    sink.write(2, 1, change())
    assert numbers_in(nats_url, stream, tmp_path) == [1]
    sink.write(3, 1, change(5))
    sink.write(4, 1, change(6))
    sink.write(1, 1, change(10))

    assert numbers_in(nats_url, stream, tmp_path) == [10]


def test_large_epoch_goes_in_windows(nats_url: str, tmp_path: Path) -> None:
    """An epoch of many windows arrives whole and in order, and is read in ranges."""
    stream = new_id()
    sink = sink_at(nats_url, stream, tmp_path)
    sink.open(1)
    sink.write(1, 1, change(*range(12_345)))
    sink.write(2, 1, change(*range(12_345, 20_000)))

    assert numbers_in(nats_url, stream, tmp_path) == list(range(20_000))


def test_older_generation_is_fenced(nats_url: str, tmp_path: Path) -> None:
    """After a newer generation opened, the older one can neither write nor open."""
    stream = new_id()
    old, new = sink_at(nats_url, stream, tmp_path), sink_at(nats_url, stream, tmp_path)
    old.open(7)
    old.write(1, 7, change(1))
    new.open(8)
    with pytest.raises(Fenced, match="generation 8"):
        old.write(2, 7, change(2))
    with pytest.raises(Fenced):
        sink_at(nats_url, stream, tmp_path).open(7)
    new.write(2, 8, change(20))

    assert numbers_in(nats_url, stream, tmp_path) == [1, 20]


def test_process_frozen_inside_an_epoch_does_no_harm(nats_url: str, tmp_path: Path) -> None:
    """A writer that stops between two windows and wakes up when it was replaced can't add a message."""
    stream = new_id()
    old, new = sink_at(nats_url, stream, tmp_path), sink_at(nats_url, stream, tmp_path)
    old.open(1)
    answered = old._answered

    def freeze(inbox: str) -> int | None:
        found = answered(inbox)
        new.open(2)
        new.write(1, 2, change(*range(6000)))
        old._answered = answered  # type: ignore[method-assign]
        return found

    old._answered = freeze  # type: ignore[method-assign]
    with pytest.raises(Fenced):
        old.write(1, 1, change(*range(6000, 18_000)))

    assert numbers_in(nats_url, stream, tmp_path) == list(range(6000))


def test_stream_of_others_is_refused(nats_url: str, tmp_path: Path) -> None:
    """A stream that drops what was read, does not take our subjects, or holds another sink's rows is refused."""
    work_queue, narrow, taken = new_id(), new_id(), new_id()
    publish(nats_url, work_queue, [], retention="workqueue")
    with pytest.raises(ConnectorError, match="drops messages"):
        sink_at(nats_url, work_queue, tmp_path).open(1)
    publish(nats_url, narrow, [])
    with pytest.raises(ConnectorError, match="does not take messages to elsewhere"):
        sink_at(nats_url, narrow, tmp_path, subject="elsewhere").open(1)
    publish(nats_url, taken, [b'{"n": 1}'])
    with pytest.raises(ConnectorError, match="holds rows of others"):
        sink_at(nats_url, taken, tmp_path).open(1)
    with pytest.raises(ConfigError, match="no subject"):
        sink_at(nats_url, narrow, tmp_path, subject="a.*")


def test_row_larger_than_a_message_stops_before_anything_is_sent(nats_url: str, tmp_path: Path) -> None:
    """A row that the server would not take is told by its number, and nothing of the epoch is published."""
    stream = new_id()
    context = context_at(tmp_path, pl.Schema({"s": pl.String()}))
    sink = NatsSink(Dataset("nats", stream, options={"url": nats_url}), context)
    OPENED.append(sink)
    sink.open(1)

    with pytest.raises(ConnectorError, match="row 1 is a message of"):
        sink.write(1, 1, Change(pl.DataFrame({"s": ["small", "x" * 2_000_000]})))
    assert sink.last_epoch() is None


def test_server_crash_costs_a_retry_and_no_row(tmp_path: Path) -> None:
    """A server that is killed and comes back: the epoch fails with a healing error, and goes through when repeated."""
    with servers.nats() as server:
        sink = sink_at(server.url, "s", tmp_path)
        sink.open(1)
        sink.write(1, 1, change(1, 2))
        server.crash()
        with pytest.raises(ConnectorError, match="is away") as caught:
            sink.write(2, 1, change(3))
        assert caught.value.heals
        server.start()
        sink.write(2, 1, change(3))
        source = source_at(server.url, "s", tmp_path)
        start = source.initial()
        end = source.offer(start, Budget())
        server.crash()
        server.start()
        source.read(start, end)
        server.crash()
        server.start()
        with pytest.raises(ConnectorError):
            source.read(end, {"stream": 6})
        (part,) = source.read(start, end)

        assert part.frame["n"].to_list() == [1, 2, 3]


def test_prepared_sink_whose_connection_ended(tmp_path: Path) -> None:
    """A server that let go of a connection that nobody used costs a new one; opening does not fail."""
    with servers.nats() as server:
        sink_at(server.url, "s", tmp_path).open(1)
        sink = sink_at(server.url, "s", tmp_path)
        sink.prepare()
        server.stop()
        server.start()
        sink.open(2)
        sink.write(1, 2, change(1))
        assert numbers_in(server.url, "s", tmp_path) == [1]


WRITER = """
import sys
from pathlib import Path
import polars as pl
from penstock.clock import SystemClock
from penstock.connect import Change, Context
from penstock.connect.nats import NatsSink
from penstock.flow import Dataset

url, stream, folder, generation = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
schema = pl.Schema({"n": pl.Int64()})
context = Context("orders", "write", folder, folder, SystemClock(), schema)
sink = NatsSink(Dataset("nats", stream, options={"url": url}), context)
sink.open(generation)
epoch = sink.last_epoch() or 1
print("ready", flush=True)
while True:
    numbers = range(epoch * 10_000, epoch * 10_000 + 10_000)
    sink.write(epoch, generation, Change(pl.DataFrame({"n": numbers}, schema=schema)))
    epoch += 1
"""


@pytest.mark.crash
def test_killed_writers_leave_each_row_once(nats_url: str, tmp_path: Path) -> None:
    """Eight processes, each killed while it publishes, leave every row of the epochs exactly once and in order."""
    stream = new_id()
    for generation in range(1, 9):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, nats_url, stream, str(tmp_path), str(generation)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        SystemClock().sleep(0.03 + 0.023 * generation)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    last = sink_at(nats_url, stream, tmp_path)
    last.open(9)
    epoch = last.last_epoch()
    assert epoch is not None
    last.write(epoch, 9, change(*range(epoch * 10_000, epoch * 10_000 + 10_000)))
    source = source_at(nats_url, stream, tmp_path)
    at, found = source.initial(), list[int]()
    while (end := source.offer(at, Budget(rows=50_000))) != at:
        found += [n for part in source.read(at, end) for n in part.frame["n"].to_list()]
        at = end

    assert found == list(range(10_000, (epoch + 1) * 10_000))


def test_rows_as_json() -> None:
    """Each row is one JSON object; durations are microseconds, a line end in a text stays inside its row."""
    frame = pl.DataFrame({"took": [1_500], "text": ["a\nb\r"]}, schema={"took": pl.Duration("us"), "text": pl.String})

    assert [json.loads(line) for line in as_lines(frame)] == [{"took": 1500, "text": "a\nb\r"}]
    with pytest.raises(ConnectorError, match="'b': JSON can't carry Binary"):
        as_lines(pl.DataFrame({"b": [b"x"]}))


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [("a.b", "a.b", True), ("a.*", "a.b", True), ("a.>", "a.b.c", True), ("a.>", "a", False), ("a.b", "a.b.c", False)],
)
def test_subject_patterns(pattern: str, subject: str, *, expected: bool) -> None:
    """`*` stands for one word, `>` for one or more."""
    assert covers(pattern, subject) is expected
