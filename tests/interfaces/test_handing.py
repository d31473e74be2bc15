"""Plan, deploy, rollback, undo, replay, approve and deployments, typed: what they say, and what they note."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from penstock.clock import SystemClock
from penstock.control import opened_ledger, project_for
from penstock.interfaces.cli.rollout_screen import is_asking
from penstock.ledger import Deployment, DeploymentStatus, Ledger
from tests.interfaces.user import Answer, penstock, typed

FLOW = '''
"""Numbers that are kept."""
import polars as pl
import penstock as ps

flow = ps.Flow("kept", epoch_rows=10)
numbers = flow.read(ps.files("numbers.jsonl", schema={"n": int}))
some = numbers.filter(pl.col("n") >= 0)
some.write(ps.parquet("out/kept"))
'''


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A project whose flow ran over 50 rows in 5 epochs, with one version kept."""
    (tmp_path / "penstock.toml").write_text("")
    (tmp_path / "kept.py").write_text(FLOW)
    (tmp_path / "numbers.jsonl").write_text("".join(json.dumps({"n": n}) + "\n" for n in range(50)))
    assert typed(tmp_path, "run", "kept", "--until-drained").code == 0
    return tmp_path


@contextmanager
def ledger_of(folder: Path) -> Iterator[Ledger]:
    """The ledger of `dev`."""
    with opened_ledger(project_for(folder).environment("dev"), SystemClock()) as ledger:
        yield ledger


def told(answer: Answer) -> Any:
    """The JSON that a command printed."""
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def changed(folder: Path) -> None:
    """Another version of the flow."""
    (folder / "kept.py").write_text(FLOW.replace(">= 0", ">= 5"))


def detached(folder: Path) -> Mapping[str, Any]:
    """A deploy that nobody waits for, and no server carries out."""
    changed(folder)
    found: Mapping[str, Any] = told(typed(folder, "deploy", "kept", "--detach", "--why", "fewer", "--json"))
    return found


def test_a_plan_is_printed_and_changes_nothing(kept: Path) -> None:
    """Each stage has a line; no deployment is noted."""
    changed(kept)
    answer = typed(kept, "plan", "kept")

    assert answer.code == 0, answer.err
    lines = [line.split()[1] for line in answer.out.splitlines() if line[:4].strip().isdigit()]
    assert lines == [
        "check",
        "verdict",
        "savepoint",
        "follow",
        "catch-up",
        "gate",
        "approve",
        "cut",
        "retire",
        "receipt",
    ]
    with ledger_of(kept) as ledger:
        assert ledger.operations.deployments() == []


def test_a_plan_is_the_same_as_json(kept: Path) -> None:
    """Stages with what they do, and the difference of the versions."""
    changed(kept)
    plan = told(typed(kept, "plan", "kept", "--json", "--shadow", "100 epochs", "--watch", "5s"))

    assert [stage["stage"] for stage in plan["plan"]][:2] == ["check", "verdict"]
    assert plan["new"] != plan["old"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shadow", "soon"], "--shadow"),
        (["--watch", "soon"], "--watch"),
        (["--force"], "a gate is forced only with a reason"),
        (["--version", "nosuch"], "has no version 'nosuch'"),
    ],
)
def test_a_wrong_option_is_told_before_anything(kept: Path, options: list[str], message: str) -> None:
    """Nothing is noted."""
    answer = typed(kept, "plan", "kept", *options)

    assert answer.code == 2
    assert message in answer.err


def test_a_deploy_without_a_server_is_refused(kept: Path) -> None:
    """It says how to start one, and notes nothing."""
    changed(kept)
    answer = typed(kept, "deploy", "kept")

    assert answer.code == 2
    assert "no server runs in dev" in answer.err
    with ledger_of(kept) as ledger:
        assert ledger.operations.deployments() == []


def test_a_deploy_may_be_left_to_a_server_that_comes_later(kept: Path) -> None:
    """It is in the ledger with its plan and its reason; a second one is refused, naming it."""
    made = detached(kept)

    assert (made["status"], made["why"], made["plan"][0]["stage"]) == ("running", "fewer", "check")
    again = typed(kept, "deploy", "kept", "--detach")
    assert again.code == 4
    assert made["who"] in again.err


def test_a_flow_whose_version_leads_has_nothing_to_deploy(kept: Path) -> None:
    """It says so, and ends well."""
    version = told(typed(kept, "plan", "kept", "--json"))["new"]
    with ledger_of(kept) as ledger:
        ledger.claim("kept", version=version, holder="test")
    answer = typed(kept, "deploy", "kept")

    assert (answer.code, answer.out.strip()) == (0, f"kept in dev: nothing to do, version {version} leads")


def test_somebody_approves_or_refuses(kept: Path) -> None:
    """The answer is in the ledger, with its reason; a gate that did not pass wants one."""
    made = detached(kept)
    with ledger_of(kept) as ledger:
        ledger.operations.advance_deployment(
            made["id"], stage="approve", facts={"gate": {"passed": False, "reasons": ["5 rows changed"]}}
        )
    refused = typed(kept, "approve", made["id"])
    assert refused.code == 2
    assert "the gate did not pass: 5 rows changed" in refused.err

    answer = told(typed(kept, "approve", made["id"][:6], "--why", "they were wrong", "--json"))["facts"]["approval"]
    assert (answer["yes"], answer["why"]) == (True, "they were wrong")
    answer = told(typed(kept, "approve", made["id"], "--reject", "--json"))["facts"]["approval"]
    assert answer["yes"] is False


@pytest.mark.parametrize(
    ("by", "gate", "asks"),
    [
        ("policy", {"passed": False}, False),
        ("policy", {"passed": True}, False),
        ("differences", {"passed": False}, True),
        ("differences", {"passed": True}, False),
        ("differences", {"passed": False, "forced": True}, False),
        ("differences", {"passed": False, "details": [{"final": True}]}, False),
        ("person", {"passed": True}, True),
    ],
)
def test_a_person_is_asked_only_where_a_person_decides(*, by: str, gate: Mapping[str, Any], asks: bool) -> None:
    """Between the gate and its consequence a deploy is at `approve` for a moment, whoever decides."""
    facts = {"gate": gate, "approve": {"began_us": 1}}
    made = Deployment("1", "kept", "deploy", "a", "b", [{"stage": "approve", "by": by}], stage="approve", facts=facts)

    assert is_asking(made) is asks


def test_an_approval_of_nothing_names_what_there_is(kept: Path) -> None:
    """A wrong id comes with the newest ones."""
    made = detached(kept)
    answer = typed(kept, "approve", "zzz")

    assert answer.code == 2
    assert made["id"] in answer.err


def test_a_rollback_takes_back_what_is_under_way(kept: Path) -> None:
    """It is said to the running deployment; no second one begins."""
    made = detached(kept)
    answer = typed(kept, "rollback", "kept", "--detach", "--why", "not now")

    assert answer.code == 0, answer.err
    with ledger_of(kept) as ledger:
        found = ledger.operations.deployments()
        assert [one.id for one in found] == [made["id"]]
        assert found[0].facts["rollback_asked"]["why"] == "not now"


def test_a_rollback_without_a_version_before_is_refused(kept: Path) -> None:
    """Nothing led before."""
    answer = typed(kept, "rollback", "kept")

    assert answer.code == 2
    assert "no version that is kept here led before this one" in answer.err


def test_a_dry_undo_lists_what_would_be_taken_back(kept: Path) -> None:
    """Sink by sink, asked of the version itself; nothing is noted."""
    found = told(typed(kept, "undo", "kept", "--to", "2", "--dry-run", "--json"))

    assert (found["to_epoch"], found["possible"], found["starts_from_epoch"]) == (2, True, 0)
    assert (found["taken_back"]["first"], found["taken_back"]["last"]) == (3, 5)
    sink = found["sinks"]["write_out_kept"]
    assert (sink["kind"], sink["undoable"]) == ("parquet", True)
    assert found["taken_back"]["sinks"] == {"write_out_kept": {"epochs": 3, "rows": 30}}
    assert found["input"]["numbers"]["there"]


def test_a_dry_undo_is_told_in_words(kept: Path) -> None:
    """With the plan."""
    answer = typed(kept, "undo", "kept", "--to", "2", "--dry-run")

    assert answer.code == 0, answer.err
    assert "taken back: epochs 3..5" in answer.out
    assert "from nothing: 5 epochs are run again" in answer.out
    assert "written anew" in answer.out


def test_an_undo_asks_where_there_is_nobody_to_ask(kept: Path) -> None:
    """Without a terminal it wants --yes."""
    answer = typed(kept, "undo", "kept", "--to", "2")

    assert answer.code == 2
    assert "there is nobody to ask" in answer.err


def test_a_replay_of_epochs_that_are_not_there_is_refused(kept: Path) -> None:
    """It says which there are; and shows the form of a range."""
    answer = typed(kept, "replay", "kept", "--epochs", "4..9", "--detach")
    assert answer.code == 2
    assert "the flow has 1..5" in answer.err
    assert typed(kept, "replay", "kept", "--epochs", "last").code == 2


def test_deployments_are_listed_and_one_is_shown(kept: Path) -> None:
    """Newest first; one with its stages and what it came to; the same as JSON."""
    assert "nothing was handed over in dev yet" in typed(kept, "deployments").out
    made = detached(kept)
    with ledger_of(kept) as ledger:
        ledger.operations.advance_deployment(
            made["id"],
            stage="release",
            status=DeploymentStatus.REFUSED,
            facts={"ending": {"at": "verdict"}, "verdict": {"began_us": 1, "compatible": False, "reasons": ["keys"]}},
            receipt={"why": "the state does not fit", "leads": made["old_version"], "generation": 1},
        )
    listed = typed(kept, "deployments", "kept")
    assert made["id"] in listed.out
    assert "refused" in listed.out
    shown = typed(kept, "deployments", made["id"][:5])
    assert "the state does not fit" in shown.out
    assert "verdict" in shown.out
    assert told(typed(kept, "deployments", made["id"], "--json"))["status"] == "refused"
    assert [one["id"] for one in told(typed(kept, "deployments", "--json"))["deployments"]] == [made["id"]]


def test_following_what_is_over_shows_it(kept: Path) -> None:
    """There is nothing to wait for."""
    made = detached(kept)
    with ledger_of(kept) as ledger:
        ledger.operations.advance_deployment(
            made["id"], status=DeploymentStatus.REFUSED, receipt={"why": "no", "leads": "x"}
        )
    answer = penstock(kept, "deployments", made["id"], "--follow")
    assert answer.code == 0
    assert "refused" in answer.out
