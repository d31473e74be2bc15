"""`penstock logs`: the real command over flows that ran, in their words."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from penstock.clock import SystemClock
from penstock.observe import Identity, JournalWriter
from tests.interfaces.user import penstock, started, typed
from tests.observe.logs.lines import put

TALKING = '''
"""Says things."""
import logging
import warnings

import penstock as ps

log = logging.getLogger("author")
flow = ps.Flow("talking", epoch_rows=3)


def talk(row):
    print("printed", row["n"])
    log.info("mapping %d", row["n"], extra={"n": row["n"]})
    if row["n"] == 4:
        log.warning("four is even")
    if row["n"] == 5:
        raise ValueError("bad row 5")
    return row


numbers = flow.read(ps.files("numbers.jsonl", schema={"n": int}))
told = numbers.map(talk, schema={"n": int})
told.write(ps.table("numbers"))
'''


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """A project whose flow ran to its end."""
    (tmp_path / "penstock.toml").write_text(
        '[project]\nname = "shop"\n[logs.metric.mapped]\nfilter = "message:mapping"\nvalue = "mapping (\\\\d+)"\n'
    )
    (tmp_path / "talking.py").write_text(TALKING)
    (tmp_path / "numbers.jsonl").write_text("".join(f'{{"n": {number}}}\n' for number in range(1, 7)))
    answer = penstock(tmp_path, "run", "talking")
    assert answer.code == 0, answer.err
    assert "printed 6" in answer.out
    assert "four is even" in answer.err
    return tmp_path


def test_everything_that_was_said_is_shown(ran: Path) -> None:
    """Prints, records and what the engine did, in their order, with step and severity."""
    answer = typed(ran, "logs", "talking")

    lines = [line[24:] for line in answer.out.splitlines()]
    assert lines[0] == "INFO     leads as generation 1, behind epoch 0"
    assert lines[1:3] == ["INFO     told printed 1", "INFO     told mapping 1"]
    assert "WARNING  told four is even" in lines
    assert "ERROR    told 1 row became dead letters: ValueError: bad row 5" in lines
    assert not [line for line in lines if "rows/s" in line]  # what is shown to a person is no entry


def test_entries_are_filtered(ran: Path) -> None:
    """By a filter, with or without a flow, by severity, as JSON, with what stood around."""
    errors = typed(ran, "logs", "talking", "--severity", "error", "--json")
    found = json.loads(errors.out)
    everywhere = typed(ran, "logs", 'jsonPayload.n=4 OR "even"', "--json")
    around = typed(ran, "logs", "talking", "message:even", "--context", "1")

    assert (found["project"], found["severity"], found["step"], found["epoch"]) == ("shop", "ERROR", "told", 2)
    assert found["attrs"]["offset"]["source"] == "numbers"
    assert next(json.loads(line)["message"] for line in everywhere.out.splitlines()) == "mapping 4"
    texts = [line[33:] for line in around.out.splitlines()]
    assert texts[:2] == ["told mapping 4", "told four is even"]


def test_new_entries_are_followed_until_ctrl_c(ran: Path) -> None:
    """After the newest come those that are logged meanwhile, in their order; Ctrl-C ends it well."""
    journal = JournalWriter(ran / ".penstock/dev/logs/talking", Identity("shop", "talking", "dev", "v9", "w9"))
    with started(ran, "logs", "talking", "--follow", terminal=True) as running:
        running.wait_for_text("mapping 6")
        for number in range(5):
            put(journal, f"followed {number}", time_us=SystemClock().now_us())
            running.wait_for_text(f"followed {number}")
        running.interrupt()
        answer = running.end()
    journal.close()

    places = [answer.out.index(f"followed {number}") for number in range(5)]
    assert answer.code == 0
    assert places == sorted(places)
    assert answer.out.count("followed") == 5


def test_sql_is_shown_and_works(ran: Path) -> None:
    """What `--show-sql` prints is a query that `penstock sql` answers with the same entries."""
    shown = typed(ran, "logs", "talking", "severity>=WARNING", "--since", "1d", "--show-sql").out.strip()

    rows = [json.loads(line) for line in typed(ran, "sql", shown, "--format", "json").out.splitlines()]

    direct = typed(ran, "logs", "talking", "severity>=WARNING", "--json").out.splitlines()
    assert [row["message"] for row in reversed(rows)] == [json.loads(line)["message"] for line in direct]


def test_a_question_mark_is_a_value_like_others(ran: Path) -> None:
    """The SQL that is shown has each value in its own place, whatever is in the one before it."""
    shown = typed(ran, "logs", "talking", 'message:"why?" AND message:"it\'s"', "--show-sql").out

    assert "'why?'" in shown
    assert "'it''s'" in shown


def test_kinds_metrics_and_exports(ran: Path) -> None:
    """Signatures, a metric of penstock.toml, and both kinds of files."""
    kinds = json.loads(typed(ran, "logs", "--signatures", "--severity", "ERROR", "--json").out)["signatures"]
    values = json.loads(typed(ran, "logs", "--metric", "mapped", "--since", "1d", "--json").out)["values"]
    written = typed(ran, "logs", "talking", "--export", "out.parquet")

    assert kinds[0]["signature"] == "# row became dead letters: ValueError: bad row #"
    assert kinds[0]["count"] == 1
    assert sum(row["count"] for row in values) >= 6
    assert max(row["max"] for row in values) == 6
    assert written.code == 0
    assert pq.read_metadata(ran / "out.parquet").num_rows > 12


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], "the flow 'nothing' has no logs"),
        (["talking", "severity>=WARN"], "'WARN' is no severity. Did you mean 'WARNING'?"),
        (["talking", "--since", "noon"], "--since 'noon' is no time"),
        (["talking", "--severity", "LOUD"], "'LOUD' is no severity"),
        (["talking", "--metric", "no"], "there is no log metric 'no'"),
        (["talking", "--export", "out.csv"], "out.csv is no kind of file"),
        (["talking", "--loki", "localhost"], "is no address to push to"),
    ],
)
def test_mistakes_are_explained(arguments: list[str], words: str, ran: Path) -> None:
    """What is wrong is said in a sentence, and ends with a code that is not 0."""
    answer = typed(ran, "logs", *arguments)

    assert words in answer.err.replace("\n", " ")
    assert answer.code in (1, 2)


def test_secrets_of_a_flow_stay_out_of_its_log(tmp_path: Path) -> None:
    """What a reference in penstock.toml stood for is `***` where the author logs or prints it, on the terminal too."""
    (tmp_path / "penstock.toml").write_text('[env.dev]\nledger = "file:secret"\n')
    (tmp_path / "secret").write_text("c4n4ry-l3dg3r")
    (tmp_path / "numbers.jsonl").write_text("".join(f'{{"n": {number}}}\n' for number in range(1, 7)))
    author = TALKING.replace('    if row["n"] == 4:', '    log.info("uses %s", SECRET)\n    if row["n"] == 4:')
    author = author.replace("log = ", 'from pathlib import Path\nSECRET = Path("secret").read_text()\n\nlog = ')
    author = author.replace('print("printed", row["n"])', 'print("printed", SECRET)')
    (tmp_path / "talking.py").write_text(author.replace("bad row 5", "bad {SECRET}").replace('("bad', '(f"bad'))

    said = penstock(tmp_path, "run", "talking")

    raw = b"".join(path.read_bytes() for path in (tmp_path / ".penstock/dev/logs/talking/journals").iterdir())
    shown = typed(tmp_path, "logs", "talking").out
    assert said.code == 0
    assert "printed ***" in shown
    assert "uses ***" in shown
    assert "ValueError: bad ***" in shown
    assert b"c4n4ry" not in raw
    assert "printed ***" in said.out
    assert "c4n4ry" not in shown + said.err
