"""The peers: other engines on the same file, each in an environment of its own that is made when first asked for.

For throughput every peer is one module in this folder, run by the peer's own Python (see `protocol`). It is asked one
query over files of JSON lines and answers with the seconds of each repetition, the start of the job excluded. For
changes and deaths a second module runs a running count and sum that goes on through several processes (see `turns`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.places import PEERS, ROOT, say, work_folder

__all__ = ["KNOWN", "Peer", "PeerMissing", "Sums", "environment", "run_peer"]

TIMEOUT_S = 1_800


class PeerMissing(Exception):
    """A peer can't run here; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Sums:
    """A peer's program for the running count and sum, how it is set, and what counts as its visible output."""

    module: str
    setting: str


@dataclass(frozen=True, slots=True)
class Peer:
    """One other engine. `exactly_once`: whether it promises that for the files that it writes, as it is set here."""

    name: str
    packages: tuple[str, ...]
    module: str
    setting: str
    exactly_once: bool
    queries: tuple[str, ...]
    java: bool = False
    sums: Sums | None = None
    """None where it has no such program."""

    @property
    def version(self) -> str:
        """The version of its package."""
        return self.packages[0].partition("==")[2]


KNOWN = {
    peer.name: peer
    for peer in (
        Peer(
            "spark",
            ("pyspark==4.3.0",),
            "benchmarks.peers.on_spark",
            "structured streaming, local[2], all that is available now, checkpoint, Parquet files",
            exactly_once=True,
            queries=("q1", "q2", "q5", "q7", "q8"),
            java=True,
            sums=Sums(
                "benchmarks.peers.sums_on_spark",
                "query stopped between micro-batches, new process from the checkpoint; visible: a micro-batch's files",
            ),
        ),
        Peer(
            "flink",
            ("apache-flink==2.3.0",),
            "benchmarks.peers.on_flink",
            "SQL, streaming mode, 2 slots, exactly-once checkpoints every second, CSV files",
            exactly_once=True,
            queries=("q1", "q2", "q5", "q7", "q8"),
            java=True,
            sums=Sums(
                "benchmarks.peers.sums_on_flink",
                "stop with savepoint, new process from it (after a kill: from the last checkpoint, one a second); "
                "visible: rows that are printed, no commit waited for",
            ),
        ),
        Peer(
            "pathway",
            ("pathway==0.33.0",),
            "benchmarks.peers.on_pathway",
            "2 threads, persistence on disk, CSV files",
            exactly_once=False,
            queries=("q1", "q2", "q5"),
        ),
        Peer(
            "bytewax",
            ("bytewax==0.21.1",),
            "benchmarks.peers.on_bytewax",
            "one worker, recovery on disk, a file that is cut back when it resumes",
            exactly_once=True,
            queries=("q1", "q2", "q7"),
            sums=Sums(
                "benchmarks.peers.sums_on_bytewax",
                "stopped by its source, new process from the recovery store, epochs of a second; "
                "visible: lines that are flushed, no commit waited for",
            ),
        ),
    )
}


def run_peer(peer: Peer, query: str, inputs: Mapping[Any, Path], *, repeat: int = 2) -> dict[str, Any]:
    """Run one query on a peer: `{"seconds": [...], "rows_out": n, "version": "..."}`, seconds without the job's start.

    Raises PeerMissing where the peer can't be installed or ends with an error.
    """
    python, variables = environment(peer)
    with work_folder(peer.name) as work:
        command = [str(python), "-m", peer.module, "--query", query, "--work", str(work), "--repeat", str(repeat)]
        for name, path in inputs.items():
            command += ["--input", f"{name}={path}"]
        log = work / "log.txt"
        with log.open("wb") as stderr:
            try:
                done = subprocess.run(
                    command,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    env=variables,
                    cwd=ROOT,
                    timeout=TIMEOUT_S,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise PeerMissing(f"{peer.name} {query}: not done after {TIMEOUT_S} s") from None
        lines = done.stdout.decode(errors="replace").strip().splitlines()
        if done.returncode != 0 or not lines:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise PeerMissing(f"{peer.name} {query}: ended with {done.returncode}\n{tail}")
        answer: dict[str, Any] = json.loads(lines[-1])
        return answer


def environment(peer: Peer) -> tuple[Path, dict[str, str]]:
    """The Python of the peer's own environment, made where it is not there yet, and the variables of its processes.

    Raises PeerMissing where it can't be installed or there is no Java for it.
    """
    variables = dict(os.environ, PYTHONUNBUFFERED="1")
    if peer.java:
        variables["JAVA_HOME"] = str(_java_home())
    return _python(peer), variables


def _python(peer: Peer) -> Path:
    folder = PEERS / peer.name
    python = folder / "bin" / "python"
    stamp = folder / "installed.txt"
    wanted = "\n".join(peer.packages)
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    say(f"installing {', '.join(peer.packages)} into {folder}")
    shutil.rmtree(folder, ignore_errors=True)
    _install([sys.executable, "-m", "venv", str(folder)], peer)
    _install([str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", *peer.packages], peer)
    stamp.write_text(wanted)
    return python


def _install(command: Sequence[str], peer: Peer) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        tail = "\n".join(done.stderr.splitlines()[-10:])
        raise PeerMissing(f"{peer.name} can't be installed:\n{tail}")


def _java_home() -> Path:
    """A Java 17 or 21, which both Spark and Flink take."""
    found = sorted(Path("/usr/lib/jvm").glob("*/bin/java")) if Path("/usr/lib/jvm").is_dir() else []
    on_path = shutil.which("java")
    for java in ([Path(on_path).resolve()] if on_path else []) + found:
        told = subprocess.run([str(java), "-version"], capture_output=True, text=True, check=False).stderr
        if re.search(r'version "(17|21)\b', told):
            return java.parent.parent
    raise PeerMissing("no Java 17 or 21 here; on Debian: apt-get install openjdk-17-jre-headless")
