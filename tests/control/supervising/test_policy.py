"""When a flow that ended badly is started again: at once, later, or not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.control.supervising.ends import End, Outcome, end_of, read_end
from penstock.control.supervising.policy import Hold, RestartPolicy, Start, Verdict, Wait, verdict
from penstock.ledger import Member

NOW = 1_700_000_000_000_000
POISON = End(
    Outcome.FAILED, "ZeroDivisionError: division by zero", 12, working=True, step="clean", code="step", at_us=NOW
)
AWAY = End(Outcome.FAILED, "the server is away", 12, working=True, code="connector", heals=True, at_us=NOW)
KILLED = End(Outcome.KILLED, "SIGKILL", 12, working=True, at_us=NOW)


def judged(*ends: End) -> Verdict:
    """The verdict on ends, newest first."""
    return verdict("orders", "dev", ends, policy=RestartPolicy())


def test_a_flow_that_never_failed_is_started() -> None:
    """Nothing ended, or it ended as asked."""
    assert judged() == Start()
    assert judged(replace(POISON, outcome=Outcome.STOPPED)) == Start()


def test_the_third_failure_of_an_epoch_holds_the_flow() -> None:
    """At once, then after a pause, then not: with a sentence that names epoch, step, error, and real commands."""
    assert judged(POISON) == Start(1)
    waits = judged(POISON, POISON)
    assert isinstance(waits, Wait)
    assert waits.until_us == NOW + 250_000
    held = judged(POISON, POISON, POISON)

    assert isinstance(held, Hold)
    assert held.sentence == (
        "epoch 12 failed 3 times in step clean with ZeroDivisionError: division by zero; "
        "the flow is held; nothing is lost"
    )
    assert held.choices == (
        "correct the code, then: penstock deploy orders",
        "look at the rows that were set aside: penstock deadletters orders",
        "try the same again: penstock start orders --retry",
    )


def test_a_commit_in_between_begins_anew() -> None:
    """Where each process got an epoch further, the next one starts at once, however often."""
    ends = [replace(POISON, epoch=epoch) for epoch in range(50, 0, -1)]

    assert judged(*ends) == Start(1)
    assert judged(POISON, POISON, replace(POISON, epoch=11)) == judged(POISON, POISON)


def test_what_heals_is_tried_for_ever() -> None:
    """A system that is away does not hold the flow; the pauses grow to a minute."""
    waits = [judged(*[AWAY] * count) for count in (1, 2, 3, 100)]

    assert [wait.until_us - NOW for wait in waits if isinstance(wait, Wait)] == [1e6, 2e6, 4e6, 60e6]


def test_a_clock_that_was_set_back_keeps_nobody_waiting() -> None:
    """The pause counts from the end of the process; a clock from before that is no measure."""
    waits = judged(POISON, POISON)

    assert isinstance(waits, Wait)
    assert [waits.is_over(NOW + after) for after in (-1, 0, 249_999, 250_000)] == [True, False, False, True]


def test_kills_by_others_are_borne_longer() -> None:
    """The flow is not to blame for SIGKILL; only a long row of them holds it."""
    assert isinstance(judged(*[KILLED] * 9), Wait)
    held = judged(*[KILLED] * 10)

    assert isinstance(held, Hold)
    assert held.sentence.startswith("epoch 12 was ended by SIGKILL, 10 times")
    assert isinstance(judged(POISON, KILLED, POISON, KILLED, POISON), Hold)


def test_a_good_time_begins_anew() -> None:
    """An idle process that was killed after hours is not on its way into a loop."""
    idle = replace(KILLED, working=False, lived_us=3_600_000_000)

    assert judged(*[idle] * 20) == Start(1)
    assert isinstance(judged(replace(POISON, lived_us=3_600_000_000), *[POISON] * 2), Hold)


@pytest.mark.parametrize("code", ["config", "definition", "corrupt-state"])
def test_what_lasts_is_tried_once(code: str) -> None:
    """A flow that can't be loaded, or whose state is damaged, is held at its first failure."""
    held = judged(replace(POISON, code=code, step=None, message="no module named 'x'", working=True))

    assert isinstance(held, Hold)
    assert held.sentence == "orders can't start: no module named 'x'; the flow is held; nothing is lost"


def test_other_ways_to_fail_have_their_words() -> None:
    """Hangs and want of memory are told as what they are."""
    hung = replace(POISON, outcome=Outcome.HUNG, message="longer than 600 s", code="")
    memory = replace(POISON, outcome=Outcome.MEMORY, message="2.1 GB, the limit is 2.0 GB", code="")

    for end, words in (
        (hung, "epoch 12 hung 3 times in step clean (longer than 600 s)"),
        (memory, "epoch 12 ran 3 times out of memory in step clean (2.1 GB, the limit is 2.0 GB)"),
    ):
        held = judged(end, end, end)
        assert isinstance(held, Hold)
        assert held.sentence.startswith(words)
    assert isinstance(judged(hung, memory, POISON), Hold)


DUMP = """something before
Fatal Python error: Aborted

Thread 0x01 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 331 in wait
  File "shop/helpers.py", line 3 in background

Current thread 0x02 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 629 in wait
  File "shop/flows/orders.py", line 17 in clean
  File "shop/flows/orders.py", line 99 in outer

Extension modules: numpy
"""

MEMBER = Member(
    "m1",
    "orders",
    "v1",
    1,
    "host",
    "boot:1",
    wish={"role": "lead"},
    facts={"role": "leading", "state": "leading", "epoch": 11, "epoch_since_us": NOW - 5, "at_step": "clean"},
    joined_us=NOW - 1_000_000,
)


@pytest.mark.parametrize(
    ("code", "facts", "outcome"),
    [
        (0, {"role": "stopped", "state": "stopped"}, Outcome.STOPPED),
        (0, {"role": "stopped", "state": "done"}, Outcome.FINISHED),
        (3, {"role": "fenced"}, Outcome.FENCED),
        (11, {"error": {"code": "step", "message": "boom", "step": "clean"}}, Outcome.FAILED),
        (70, {}, Outcome.FAILED),
        (-9, {}, Outcome.KILLED),
        (-11, {}, Outcome.CRASHED),
        (None, {"role": "stopped", "state": "done"}, Outcome.FINISHED),
        (None, {"role": "failed", "error": {"code": "step", "message": "boom"}}, Outcome.FAILED),
        (None, {}, Outcome.LOST),
        (11, {"error": {"code": "step", "message": "MemoryError: "}}, Outcome.MEMORY),
    ],
)
def test_an_end_is_read_from_code_and_facts(code: int | None, facts: dict[str, object], outcome: Outcome) -> None:
    """Of a child the exit code counts, of an adopted process what it told last; both survive in its facts."""
    member = replace(MEMBER, facts={**MEMBER.facts, **facts})
    end = end_of(member, code, last_epoch=11, now_us=NOW, wish_us=7)

    assert end.outcome is outcome
    assert (end.epoch, end.wish_us, end.lived_us) == (12, 7, 1_000_000)
    assert read_end(replace(member, facts={"exit": end.as_dict()})) == end


def test_the_supervisors_own_kills_are_known() -> None:
    """What it killed for hanging is no kill by somebody else; what the kernel killed for memory is none either."""
    hung = end_of(MEMBER, -9, last_epoch=11, now_us=NOW, wish_us=7, killed=(Outcome.HUNG, "longer than 2 s"))
    memory = end_of(MEMBER, -9, last_epoch=11, now_us=NOW, wish_us=7, memory_killed=True)
    aborted = end_of(MEMBER, -6, last_epoch=11, now_us=NOW, wish_us=7, log_tail="memory allocation of 9 bytes failed\n")

    assert (hung.outcome, hung.step) == (Outcome.HUNG, "clean")
    assert memory.outcome is Outcome.MEMORY
    assert (aborted.outcome, aborted.message) == (Outcome.MEMORY, "memory allocation of 9 bytes failed")


def test_a_dump_says_that_an_epoch_was_under_way() -> None:
    """What was told last is up to a second old: between two epochs, when the process died in one."""
    idle = replace(MEMBER, facts={**MEMBER.facts, "epoch_since_us": None})
    crashed = end_of(idle, -6, last_epoch=11, now_us=NOW, wish_us=7, log_tail=DUMP)
    silent = end_of(idle, -6, last_epoch=11, now_us=NOW, wish_us=7)

    assert (crashed.working, silent.working) == (True, False)


def test_a_dump_tells_the_authors_line() -> None:
    """Of the thread that crashed, the innermost line that is nobody's library."""
    crashed = end_of(MEMBER, -6, last_epoch=11, now_us=NOW, wish_us=7, log_tail=DUMP)
    hung = end_of(MEMBER, -6, last_epoch=1, now_us=NOW, wish_us=7, log_tail=DUMP, killed=(Outcome.HUNG, "longer"))

    assert crashed.message == "SIGABRT at orders.py:17 in clean"
    assert hung.message == "longer at orders.py:17 in clean"
