"""Peers are changed and killed by one driver; here the peer is a small program of the tests. No figure is judged."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from benchmarks import places
from benchmarks.handovers import change_peers, peers, recover_peers
from benchmarks.peers import KNOWN, Peer, PeerMissing, Sums
from benchmarks.peers.turns import Turn


def made(name: str, module: str) -> Peer:
    """A peer with nothing but a program for the running count."""
    return Peer(name, (f"{name}==1",), "", "", exactly_once=True, queries=(), sums=Sums(module, ""))


BY_HAND = made("hand", "tests.benchmarks.sums_by_hand")
BROKEN = made("broken", "tests.benchmarks.nothing")


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "OUT", tmp_path)
    for peer in (BY_HAND, BROKEN):
        monkeypatch.setitem(KNOWN, peer.name, peer)
    monkeypatch.setattr(peers, "environment", lambda _: (Path(sys.executable), dict(os.environ)))
    monkeypatch.setattr(peers, "LOADED_S", 0.2)
    monkeypatch.setattr(peers, "SETTLE_S", 0.5)
    monkeypatch.setattr(peers, "QUIET_S", (0.3, 0.6))


@pytest.mark.crash
def test_a_peer_is_changed() -> None:
    """Each change gives a pause, and nothing stays of the peer's folder."""
    told = change_peers(["hand"], times=2, keys=1_000, rate_per_s=1_000)["hand"]

    assert (told["changes"], told["version"]) == (2, "1")
    assert 0 <= told["pause_ms_p50"] <= told["pause_ms_p99"]
    assert told["usual_gap_ms"] > 0
    assert list(places.OUT.iterdir()) == []


@pytest.mark.crash
def test_a_peer_is_killed() -> None:
    """Each kill gives the time to the first output of the process that was started then."""
    told = recover_peers(["hand"], kills=2, keys=1_000, rate_per_s=1_000)["hand"]

    assert told["kills"] == 2
    assert 0 < told["to_first_output_ms_p50"] <= told["to_first_output_ms_p99"]


def test_a_peer_that_fails_is_missing() -> None:
    """The figures say why a peer has none, by the last lines of its log, and the others are measured."""
    told = recover_peers(["broken", "hand"], kills=1, keys=100, rate_per_s=100)

    assert "No module named tests.benchmarks.nothing" in told["broken"]["missing"]
    assert told["hand"]["kills"] == 1


def test_a_peer_that_cannot_be_installed_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment lacks is told as it is for throughput."""

    def nothing(peer: Peer) -> tuple[Path, dict[str, str]]:
        raise PeerMissing(f"{peer.name} can't be installed")

    monkeypatch.setattr(peers, "environment", nothing)

    assert change_peers(["hand"], times=1, keys=10, rate_per_s=10)["hand"]["missing"] == "hand can't be installed"
    assert "no program" in change_peers(["pathway"], times=1, keys=10, rate_per_s=10)["pathway"]["missing"]


def test_a_line_that_a_kill_cut_off_is_left_out(tmp_path: Path) -> None:
    """Only whole moments count as visible output."""
    turn = Turn(tmp_path, 1)
    assert turn.visible_s() == []

    turn.tell_visible()
    with turn.visible.open("a") as out:
        out.write("17")

    assert len(turn.visible_s()) == 1
