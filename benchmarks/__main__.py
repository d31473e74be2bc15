"""`python -m benchmarks`: the figures of Penstock, measured on this machine.

Progress goes to stderr. With `--json` stdout has the figures as one JSON value and nothing else. Without a verb all
benchmarks run whole and `docs/benchmarks.md` is written anew.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.handovers import (
    CHANGE_RATE_PER_S,
    KEYS,
    KILLS,
    RECOVERY_KEYS,
    RECOVERY_RATE_PER_S,
    TIMES,
    change,
    change_peers,
    recover_peers,
    recovery,
)
from benchmarks.latency import RATE_PER_S, latency
from benchmarks.logs import logs
from benchmarks.mapping import mapping
from benchmarks.overhead import overhead
from benchmarks.page import page
from benchmarks.peers import KNOWN
from benchmarks.places import say
from benchmarks.report import write_report
from benchmarks.state import state
from benchmarks.throughput import FULL, QUICK, throughput

__all__ = ["main"]

Figures = dict[str, Any]


def _throughput(options: argparse.Namespace) -> Figures:
    size = QUICK if options.quick else FULL
    size = replace(size, rows=options.rows or size.rows, pairs=options.pairs or size.pairs)
    return throughput(size, queries=options.queries, peers=options.peers)


def _latency(options: argparse.Namespace) -> Figures:
    return latency(seconds=options.seconds or (10 if options.quick else 60), rate_per_s=options.rate)


def _state(options: argparse.Namespace) -> Figures:
    if options.rows:
        return state(small=options.rows // 10, large=options.rows, epochs=5)
    return state(epochs=100 if options.quick else 400)


def _map(options: argparse.Namespace) -> Figures:
    return mapping(rows=options.rows or (100_000 if options.quick else 500_000), pairs=options.pairs or 5)


def _overhead(options: argparse.Namespace) -> Figures:
    return overhead(rows=options.rows or (30_000_000 if options.quick else 60_000_000), pairs=options.pairs or 7)


def _change(options: argparse.Namespace) -> Figures:
    size = {"keys": options.rows or KEYS, "rate_per_s": CHANGE_RATE_PER_S}
    figures = change(times=options.pairs or TIMES, **size)
    return {**figures, "peers": change_peers(options.peers, times=_peer_times(options), **size)}


def _recovery(options: argparse.Namespace) -> Figures:
    size = {"keys": options.rows or RECOVERY_KEYS, "rate_per_s": RECOVERY_RATE_PER_S}
    figures = recovery(kills=options.pairs or KILLS, **size)
    return {**figures, "peers": recover_peers(options.peers, kills=_peer_times(options), **size)}


def _logs(options: argparse.Namespace) -> Figures:
    return logs(lines=options.rows or (1_000_000 if options.quick else 10_000_000))


def _page(options: argparse.Namespace) -> Figures:
    size = {"steps": 500, "epochs": 10_000, "log_lines": 1_000_000 if options.quick else 10_000_000}
    if options.rows:
        size = {"steps": 20, "epochs": 50, "log_lines": options.rows}
    return page(**size, times=options.pairs or 5)


def _peer_times(options: argparse.Namespace) -> int:
    """How many changes or kills a peer gets: fewer than Penstock, because each takes it many seconds."""
    return options.pairs or (3 if options.quick else 5)


VERBS: Mapping[str, Callable[[argparse.Namespace], Figures]] = {
    "throughput": _throughput,
    "latency": _latency,
    "state": _state,
    "map": _map,
    "overhead": _overhead,
    "change": _change,
    "recovery": _recovery,
    "logs": _logs,
    "page": _page,
}


PEERS_HELP = (
    f"of {','.join(KNOWN)}: run them beside (throughput); "
    f"of {','.join(name for name, peer in KNOWN.items() if peer.sums)}: change them, kill them (change, recovery)"
)


ROWS_HELP = "so many rows (throughput, map, overhead), lines (logs, page) or keys (others) instead"


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("verb", nargs="?", choices=[*VERBS, "all"], default="all", help="which one; default: all")
    parser.add_argument("--quick", action="store_true", help="less data, one epoch budget: a minute or two")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--peers", type=_words, default=[], help=PEERS_HELP)
    parser.add_argument("--queries", type=_words, default=[], help="only these (throughput), e.g. q1,q5")
    parser.add_argument("--rows", type=int, help=ROWS_HELP)
    parser.add_argument("--pairs", type=int, help="so many runs of both sides, handovers, kills or visits")
    parser.add_argument("--seconds", type=float, help="how long (latency)")
    parser.add_argument("--rate", type=int, default=RATE_PER_S, help="rows a second (latency)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked; 1 where a result was wrong or a row was lost, 2 for a wrong command line."""
    parser = _parser()
    options = parser.parse_args(arguments)
    unknown = [name for name in options.peers if name not in KNOWN]
    if unknown:
        parser.error(f"no peer is called {unknown[0]}; there are {', '.join(KNOWN)}")
    unable = [name for name in options.peers if KNOWN[name].sums is None]
    if unable and options.verb in ("change", "recovery"):
        able = ", ".join(name for name, peer in KNOWN.items() if peer.sums)
        parser.error(f"{unable[0]} has no program for {options.verb}; there are {able}")
    names = list(VERBS) if options.verb == "all" else [options.verb]
    figures = {}
    for name in names:
        say(f"== {name}")
        figures[name] = VERBS[name](options)
    if options.verb == "all" and not options.quick and not options.rows:
        say(f"wrote {write_report(figures)}")
    told = figures if options.verb == "all" else figures[options.verb]
    print(json.dumps(told) if options.json else json.dumps(told, indent=2))
    return 0 if _is_right(figures) else 1


def _is_right(figures: Mapping[str, Figures]) -> bool:
    """Whether all answers were equal to the limit's and no row was lost or doubled."""
    equal: bool = figures.get("throughput", {}).get("all_equal", True)
    counted = [figures.get(name, {}) for name in ("latency", "change", "recovery", "logs")]
    return equal and not any(figure.get("lost") or figure.get("duplicated") for figure in counted)


if __name__ == "__main__":
    sys.exit(main())
