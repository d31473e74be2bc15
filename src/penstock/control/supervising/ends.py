"""How a member ended, as a value: read from exit code and last facts, kept in the latter, told in a sentence."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from penstock.ledger import Member

__all__ = ["EXIT_KEY", "End", "Outcome", "end_of", "read_end"]

EXIT_KEY = "exit"
"""Where a member's last facts hold its `End`, once it has ended."""

FENCED_CODE = 3
_CODES: Mapping[int, str] = {10: "config", 11: "step", 12: "ledger", 70: "bug"}
_LONGEST = 300
_FRAME = re.compile(r'File "([^"]+)", line (\d+) in (\S+)')
_LIBRARIES = ("<frozen", "/site-packages/", "/dist-packages/", "/lib/python", str(Path(__file__).parents[2]))


class Outcome(StrEnum):
    """What an end was."""

    STOPPED = "stopped"
    """As asked."""
    FINISHED = "finished"
    """Its input was read to the end, or as far as there was any where it was to drain."""
    FENCED = "fenced"
    """Another generation leads, and it was not to follow."""
    FAILED = "failed"
    """By an error, which it told."""
    CRASHED = "crashed"
    """By a signal that a process brings on itself: SIGSEGV, SIGABRT."""
    KILLED = "killed"
    """By somebody else."""
    HUNG = "hung"
    """The watchdog killed it: one epoch took too long."""
    MEMORY = "out-of-memory"
    """It wanted more memory than there was, or than it may have."""
    LOST = "lost"
    """Nobody can say: its machine is gone, or it ended while no server was there and told nothing."""


@dataclass(frozen=True, slots=True)
class End:
    """How a member ended, and with what work on its hands.

    `epoch`: the one after the last committed, so the one that it died in. `working`: whether that one had begun, or its
    state was being loaded. `code`: the error's, of `penstock.errors`. `lived_us`: from its start. `wish_us`: which
    desired state it was to fulfil (`Desired.changed_us`), with `version`. `led`: whether it was to lead. `due_us`:
    which scheduled run it was.
    """

    outcome: Outcome
    message: str
    epoch: int
    working: bool
    step: str | None = None
    code: str = ""
    heals: bool = False
    lived_us: int = 0
    at_us: int = 0
    wish_us: int = 0
    led: bool = True
    due_us: int | None = None
    version: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether it was no end that anybody asked for."""
        return self.outcome not in (Outcome.STOPPED, Outcome.FINISHED)

    @property
    def cause(self) -> str:
        """What to call it in a sentence: `in step clean with ZeroDivisionError: division by zero`."""
        step = f" in step {self.step}" if self.step else ""
        match self.outcome:
            case Outcome.FAILED:
                return f"failed{step} with {self.message}"
            case Outcome.HUNG:
                return f"hung{step} ({self.message})"
            case Outcome.MEMORY:
                return f"ran out of memory{step} ({self.message})"
            case Outcome.CRASHED | Outcome.KILLED:
                return f"was ended by {self.message}{step}"
        return f"ended: {self.message}{step}"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "outcome": self.outcome.value}


def read_end(member: Member) -> End | None:
    """The end of a member that the supervisor saw end; None where nobody did."""
    kept = member.facts.get(EXIT_KEY)
    if not isinstance(kept, Mapping):
        return None
    known = {field.name for field in fields(End)}
    values = {name: value for name, value in kept.items() if name in known}
    return End(**{**values, "outcome": Outcome(values["outcome"])})


def end_of(
    member: Member,
    code: int | None,
    *,
    last_epoch: int,
    now_us: int,
    wish_us: int,
    killed: tuple[Outcome, str] | None = None,
    memory_killed: bool = False,
    watched: bool = False,
    log_tail: str = "",
) -> End:
    """What an ended process was, from its exit code (None: unknown) and its last facts.

    `killed`: what the supervisor itself killed it for. `memory_killed`: whether the kernel killed something for want of
    memory meanwhile. `watched`: whether a server saw it end. `log_tail`: the last lines that it wrote.
    """
    if code is None:
        code = _guessed_code(member.facts, watched=watched)
    outcome, message, error = _outcome(member, code, killed, log_tail, memory_killed=memory_killed)
    facts = member.facts
    loading = facts.get("state") in (None, "loading", "migrating", "catching-up", "taking-over", "rewriting")
    step = error.get("step") or (facts.get("at_step") if facts.get("epoch_since_us") is not None else None)
    return End(
        outcome=outcome,
        message=" ".join(message.split())[:_LONGEST],
        epoch=last_epoch + 1,
        # Facts are a moment old; a dump that ends in the author's code is not.
        working=facts.get("epoch_since_us") is not None or loading or bool(_crash_place(log_tail)),
        step=None if step is None else str(step),
        code=str(error.get("code") or ""),
        heals=bool(error.get("heals")),
        lived_us=max(now_us - member.joined_us, 0),
        at_us=now_us,
        wish_us=wish_us,
        led=member.wish.get("role") != "follow" and facts.get("role") != "following",
        due_us=member.wish.get("due_us"),
        version=member.version,
    )


def _outcome(
    member: Member,
    code: int | None,
    killed: tuple[Outcome, str] | None,
    log_tail: str,
    *,
    memory_killed: bool,
) -> tuple[Outcome, str, Mapping[str, Any]]:
    facts = member.facts
    told = facts.get("error")
    error: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
    if killed is not None and code != 0:
        return killed[0], killed[1] + _crash_place(log_tail), {}
    if code == 0:
        asked = member.wish.get("role") == "stop" if "state" not in facts else facts["state"] != "done"
        return (Outcome.STOPPED, "stopped as asked", {}) if asked else (Outcome.FINISHED, "finished", {})
    if code is None:
        return Outcome.LOST, "it ended while nobody watched, and told nothing", {}
    if code == FENCED_CODE:
        return Outcome.FENCED, "another process leads the flow", error
    said = str(error.get("message") or _last_line(log_tail) or f"exit code {code}")
    if "MemoryError" in said or "memory allocation of" in log_tail:
        return Outcome.MEMORY, said, error
    if code > 0:
        return Outcome.FAILED, said, error or {"code": _CODES.get(code, "bug")}
    name = _signal_name(-code)
    if -code == signal.SIGKILL:
        return (Outcome.MEMORY, "the kernel killed it", {}) if memory_killed else (Outcome.KILLED, name, {})
    if -code == signal.SIGTERM:
        return Outcome.KILLED, name, {}
    return Outcome.CRASHED, f"{name}{_crash_place(log_tail)}", {}


def _guessed_code(facts: Mapping[str, Any], *, watched: bool) -> int | None:
    """The exit code of a process that is not our child, from what it told last; None where nobody saw it end."""
    told = facts.get("error")
    if facts.get("role") == "stopped":
        return 0
    if facts.get("role") == "failed" or told:
        code = told.get("code") if isinstance(told, Mapping) else None
        return next((number for number, name in _CODES.items() if name == code), 1)
    # One that ends by itself says so: it was a signal, and which one only its parent learns.
    return -signal.SIGKILL if watched else None


def _last_line(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _crash_place(log: str) -> str:
    """Where Python was when the process crashed, by the dump that faulthandler wrote: the innermost line of nobody's
    library. Empty where there is no dump.
    """
    _, found, dump = log.rpartition("Fatal Python error")
    if not found:
        return ""
    _, _, current = dump.partition("Current thread")
    for text in (current.partition("\n\n")[0], dump):
        for file, line, name in _FRAME.findall(text):
            if not any(part in file for part in _LIBRARIES):
                return f" at {Path(file).name}:{line} in {name}"
    return ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
