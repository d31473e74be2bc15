"""The peers' side of change and recovery: the same job on other engines, each by its own documented way.

Every key is put in first, then rows come at the same steady rate, as small files that are renamed into a folder. What a
peer's output is and when it is visible stands in its program (`benchmarks.peers.sums_on_...`), which notes each moment.

Change: the process is asked to stop in its engine's orderly way; when the job has stopped, a process with other code
goes on from what it left. The pause is what it is for Penstock: the longest gap between visible outputs from the asking
until a second after the new process's first output, less the usual (median) gap.

What a process needs to start (a Java, a session, a cluster of its own) is in the pause: it starts when the old one has
stopped, as an operator who follows the documents does it.

Recovery: the process and all that it started are killed with `kill -9`, and in the same moment the next one is started.
So nothing is counted for noticing the death, and output that is computed again counts as new: both in the peer's favor.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.handovers.change import AFTER_S
from benchmarks.handovers.gaps import percentile, usual_ms, worst_ms
from benchmarks.handovers.stage import SEED, SETTLE_S, end
from benchmarks.peers import KNOWN, Peer, PeerMissing, environment
from benchmarks.peers.turns import Turn, put_rows
from benchmarks.places import ROOT, say, work_folder
from benchmarks.running import CLOCK
from penstock.clock import seeded

__all__ = ["change_peers", "recover_peers"]

PATIENCE_S = 180.0
POLL_S = 0.005
LOADED_S = 4.0
"""So long without output, and all keys are in: engines have no common way to ask them."""
QUIET_S = (4.0, 5.0)
"""A process with a Java in it gets warm, and what piled up is worked off, before the next stop or kill."""
PIECE_ROWS = 50_000


def change_peers(names: Sequence[str], *, times: int, keys: int, rate_per_s: int) -> dict[str, dict[str, Any]]:
    """Change each peer's code so often; give its pauses in ms, or under `missing` why there are none."""
    return _each(names, lambda job: _changed(job, times), keys=keys, rate_per_s=rate_per_s)


def recover_peers(names: Sequence[str], *, kills: int, keys: int, rate_per_s: int) -> dict[str, dict[str, Any]]:
    """Kill each peer so often; give the times to its first output in ms, or under `missing` why there are none."""
    return _each(names, lambda job: _killed(job, kills), keys=keys, rate_per_s=rate_per_s)


def _each(
    names: Sequence[str], measure: Callable[[_Job], dict[str, Any]], *, keys: int, rate_per_s: int
) -> dict[str, dict[str, Any]]:
    told: dict[str, dict[str, Any]] = {}
    for name in names:
        peer = KNOWN[name]
        told[name] = {"version": peer.version, "setting": peer.sums.setting if peer.sums else ""}
        try:
            with _running(peer, keys=keys, rate_per_s=rate_per_s) as job:
                told[name] |= measure(job)
        except PeerMissing as missing:
            told[name]["missing"] = str(missing)
            say(str(missing))
    return told


def _changed(job: _Job, times: int) -> dict[str, Any]:
    began_s, cuts = _now_s(), []
    for number in range(1, times + 1):
        CLOCK.sleep(QUIET_S[0])
        asked_s = _now_s()
        job.stop()
        stopped_s = _now_s()
        first_s = job.start()
        CLOCK.sleep(AFTER_S)
        cuts.append((asked_s, first_s + AFTER_S))
        said = f"stopped after {stopped_s - asked_s:.1f} s, first output after {first_s - asked_s:.1f} s"
        say(f"{job.peer.name}: change {number} of {times}: {said}")
    outputs_s = job.outputs_s()
    usual = usual_ms(outputs_s, began_s, cuts[-1][1])
    pauses = [max(0.0, worst_ms(outputs_s, asked_s, until_s) - usual) for asked_s, until_s in cuts]
    return {
        "changes": times,
        "usual_gap_ms": round(usual, 1),
        "pause_ms_p50": percentile(pauses, 0.5),
        "pause_ms_p99": percentile(pauses, 0.99),
    }


def _killed(job: _Job, kills: int) -> dict[str, Any]:
    chance, found_ms = seeded(SEED), []
    for number in range(1, kills + 1):
        CLOCK.sleep(chance.uniform(*QUIET_S))
        killed_s = _now_s()
        job.kill()
        found_ms.append((job.start() - killed_s) * 1_000)
        say(f"{job.peer.name}: kill {number} of {kills}: first output after {found_ms[-1]:.0f} ms")
    return {
        "kills": kills,
        "to_first_output_ms_p50": percentile(found_ms, 0.5),
        "to_first_output_ms_p99": percentile(found_ms, 0.99),
    }


def _now_s() -> float:
    return CLOCK.now_us() / 1e6


@dataclass
class _Job:
    """A peer's job in its folder, and the process that runs it now."""

    peer: Peer
    module: str
    folder: Path
    python: Path
    variables: dict[str, str]
    turns: list[Turn] = field(default_factory=list)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> float:
        """Start the next process; gives when its first output was visible, in seconds since 1970."""
        turn = Turn(self.folder, len(self.turns) + 1)
        command = [str(self.python), "-m", self.module, "--folder", str(self.folder), "--number", str(turn.number)]
        self.turns.append(turn)
        with self._log.open("ab") as log:
            # In a group of its own: the engine's other processes die with it, and nothing else does.
            self.processes.append(
                subprocess.Popen(command, stdout=log, stderr=log, env=self.variables, cwd=ROOT, start_new_session=True)
            )
        self._wait("the first output", lambda: bool(turn.visible_s()))
        for old in self.processes[:-1]:
            _end_group(old)
        return turn.visible_s()[0]

    def stop(self) -> None:
        """Ask the process to stop and wait until the job has."""
        turn = self.turns[-1]
        turn.ask_to_stop()
        self._wait("the end of the job", turn.has_stopped)

    def kill(self) -> None:
        """`kill -9` for the process and all that it started."""
        _end_group(self.processes[-1])

    def load(self) -> None:
        """Start the first process and wait until it has nothing to do."""
        self.start()
        visible = self.turns[-1].visible
        self._wait("all keys", lambda: visible.stat().st_mtime < _now_s() - LOADED_S)

    def outputs_s(self) -> NDArray[np.float64]:
        """When output became visible, of all processes, in seconds since 1970, in order."""
        return np.sort(np.concatenate([np.array(turn.visible_s()) for turn in self.turns]))

    def end(self) -> None:
        """Nothing that was started here may stay."""
        for process in self.processes:
            _end_group(process)

    @property
    def _log(self) -> Path:
        return self.folder / "log.txt"

    def _wait(self, what: str, found: Callable[[], bool]) -> None:
        """Raises PeerMissing where it does not come."""
        until_s = CLOCK.stopwatch_s() + PATIENCE_S
        ended = False
        while not found():
            if ended or CLOCK.stopwatch_s() > until_s:
                tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
                raise PeerMissing(f"{self.peer.name}: waited in vain for {what}\n{tail}")
            ended = _has_ended(self.processes[-1])
            CLOCK.sleep(POLL_S)


@contextmanager
def _running(peer: Peer, *, keys: int, rate_per_s: int) -> Iterator[_Job]:
    """The job with every key in and rows coming. Raises PeerMissing where it can't be."""
    if peer.sums is None:
        raise PeerMissing(f"{peer.name} has no program for changes and kills")
    python, variables = environment(peer)
    with ExitStack() as held:
        job = _Job(peer, peer.sums.module, held.enter_context(work_folder(peer.name)), python, variables)
        rows = Turn(job.folder, 0).rows
        rows.mkdir()
        everything = pl.DataFrame({"key": np.random.default_rng(SEED).permutation(keys), "amount": 1})
        pieces = list(everything.iter_slices(PIECE_ROWS))
        for number, piece in enumerate(pieces):
            put_rows(rows, number, piece.write_ndjson())
        held.callback(job.end)
        say(f"{peer.name}, {keys:,} keys: putting them in")
        job.load()
        words = [str(rows), *map(str, (len(pieces), keys, rate_per_s, SEED))]
        feed = subprocess.Popen([sys.executable, "-m", "benchmarks.peers.feed", *words], cwd=ROOT)
        held.callback(end, feed)
        CLOCK.sleep(SETTLE_S)
        yield job


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has; not waited for, so that its id stays its own until its group is ended."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
