"""When a flow that ended badly is started again: at once, later, or never. Pure: ends in, verdict out.

A process that committed an epoch was a good one, so the next is started at once. Where nothing was committed in
between, each try waits twice as long as the one before; and where the flow's own doing is to blame, the third failure
of the same epoch holds the flow: to try for ever would not heal it, and would hide that somebody has to act.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from penstock.control.supervising.ends import End, Outcome

__all__ = ["Hold", "RestartPolicy", "Start", "Verdict", "Wait", "verdict"]

_LASTING = frozenset({"config", "definition", "schema", "corrupt-state"})
"""Codes of errors that the same start meets again: one is enough."""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """`tries`: failures of one epoch before the flow is held; `kills`: the same, of ends by somebody else's SIGKILL.

    The n-th failure in a row (n > 1) waits `first_s * 2**(n - 2)`, at most `longest_s`; where the error is one that
    heals, from `away_first_s` to `away_longest_s`, for ever. Whoever was idle for `good_s` had a good time.
    """

    tries: int = 3
    kills: int = 10
    first_s: float = 0.25
    longest_s: float = 30.0
    away_first_s: float = 1.0
    away_longest_s: float = 60.0
    good_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Start:
    """Start it now."""

    failures: int = 0


@dataclass(frozen=True, slots=True)
class Wait:
    """Start it at `until_us`. `since_us`: when it ended. `sentence` tells a person why."""

    since_us: int
    until_us: int
    failures: int
    sentence: str

    def is_over(self, now_us: int) -> bool:
        """Whether it is time. A clock that was set back to before the end tells nothing: then it is."""
        return not self.since_us <= now_us < self.until_us


@dataclass(frozen=True, slots=True)
class Hold:
    """Leave it alone until a person says otherwise."""

    sentence: str
    choices: tuple[str, ...]
    failures: int
    end: End

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, for the event."""
        return {
            "sentence": self.sentence,
            "choices": list(self.choices),
            "failures": self.failures,
            "epoch": self.end.epoch,
            "step": self.end.step,
            "error": self.end.message,
            "code": self.end.code,
            "outcome": self.end.outcome.value,
        }


Verdict: TypeAlias = Start | Wait | Hold


def verdict(flow: str, env: str, ends: Sequence[End], *, policy: RestartPolicy) -> Verdict:
    """What to do about a flow that should run and has no leader. `ends`: how its leaders ended, the newest first.

    Only ends that belong to the present wish count: saying it again (`penstock start --retry`) begins anew.
    """
    streak = _streak(ends, policy)
    if not streak:
        return Start()
    last, failures = streak[0], len(streak)
    if _is_enough(streak, policy):
        return Hold(*_told(flow, env, last, failures), failures, last)
    away = last.heals or last.outcome is Outcome.FENCED
    if failures == 1 and not away:
        return Start(failures)
    first_s, longest_s = (
        (policy.away_first_s, policy.away_longest_s) if away else (policy.first_s / 2, policy.longest_s)
    )
    wait_s = min(first_s * 2 ** min(failures - 1, 30), longest_s)
    sentence = f"{_subject(last)} {last.cause}; it is tried again"
    return Wait(last.at_us, last.at_us + round(wait_s * 1e6), failures, sentence)


def _streak(ends: Sequence[End], policy: RestartPolicy) -> list[End]:
    """The failures at the head, back to where an epoch was committed or an idle process had a good time."""
    found: list[End] = []
    for end in ends:
        if not end.is_bad or (found and end.epoch != found[0].epoch):
            break
        if found and not end.working and end.lived_us >= policy.good_s * 1e6:
            break
        found.append(end)
        if not end.working and end.lived_us >= policy.good_s * 1e6:
            break
    return found


def _is_enough(streak: Sequence[End], policy: RestartPolicy) -> bool:
    last = streak[0]
    if last.code in _LASTING:
        return True
    if last.heals or last.outcome in (Outcome.LOST, Outcome.FENCED):
        return False
    if last.outcome is Outcome.KILLED:
        return len(streak) >= policy.kills
    own = [end for end in streak if not end.heals and end.outcome not in (Outcome.KILLED, Outcome.LOST, Outcome.FENCED)]
    return len(own) >= policy.tries


def _subject(end: End) -> str:
    return (
        f"epoch {end.epoch}"
        if end.working or end.outcome is Outcome.FAILED
        else f"the flow, after epoch {end.epoch - 1},"
    )


def _told(flow: str, env: str, end: End, failures: int) -> tuple[str, tuple[str, ...]]:
    """The sentence for a person, and the commands that there are to choose from."""
    option = "" if env == "dev" else f" --env {env}"
    deploy = f"correct the code, then: penstock deploy {flow}{option}"
    retry = f"try the same again: penstock start {flow}{option} --retry"
    letters = f"look at the rows that were set aside: penstock deadletters {flow}{option}"
    choices: Mapping[str, tuple[str, ...]] = {
        "corrupt-state": (f"go back to a savepoint: penstock undo {flow}{option}", retry),
        "memory": (f"give it more memory: penstock start {flow}{option} --memory 4GB", deploy, retry),
        "killed": (f"find out who kills it, then: penstock start {flow}{option} --retry",),
    }
    kind = {Outcome.MEMORY: "memory", Outcome.KILLED: "killed"}.get(end.outcome, end.code)
    chosen = choices.get(kind, (deploy, letters, retry))
    if end.code in _LASTING:
        chosen = choices.get(end.code, (deploy, retry))
        where = f" (step {end.step})" if end.step else ""
        what = f"{flow} can't start{where}: {end.message}"
    else:
        times = f"{failures} times" if failures > 1 else "once"
        verb, _, rest = end.cause.partition(" ")
        by_signal = end.outcome in (Outcome.KILLED, Outcome.CRASHED)
        what = f"{end.cause}, {times}" if by_signal else f"{verb} {times} {rest}"
        what = f"{_subject(end)} {what}"
    return f"{what}; the flow is held; nothing is lost", chosen
