"""The Nexmark generator: proportions, references, time; the same on every machine."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from penstock.clock import ManualClock
from penstock.connect import Budget, Context, Source, open_source
from penstock.errors import ConfigError
from penstock.flow import Dataset

EVENTS = 50_000


def nexmark(folder: Path, entity: str, clock: ManualClock | None = None, **options: Any) -> Source:
    """A generator with a clock that stands still."""
    context = Context("flow", "read", folder / "own", folder, clock or ManualClock())
    return open_source(Dataset("nexmark", entity, None, (), {"entity": entity, **options}), context)


def rows(source: Source, first: int = 0, last: int = EVENTS) -> pl.DataFrame:
    """The rows among these events."""
    return pl.concat([source.schema().to_frame(), *(r.frame for r in source.read({"events": first}, {"events": last}))])


def test_the_mix_is_that_of_the_benchmark(tmp_path: Path) -> None:
    """Of 50 events 1 is a person, 3 are auctions, 46 are bids, and every reference points to something made before."""
    person, auction, bid = (rows(nexmark(tmp_path, entity)) for entity in ("person", "auction", "bid"))
    assert (person.height, auction.height, bid.height) == (EVENTS // 50, EVENTS * 3 // 50, EVENTS * 46 // 50)
    for frame, column, owner in ((bid, "auction", auction), (bid, "bidder", person), (auction, "seller", person)):
        made = frame.join(owner.select("id", made="date_time"), left_on=column, right_on="id", how="left")
        assert made.filter(pl.col("made").is_null() | (pl.col("made") > pl.col("date_time"))).is_empty()
    hot = bid.filter(pl.col("auction") % 100 == 0).height / bid.height
    assert 0.45 < hot < 0.6
    assert 160 < len(bid.head(1000).write_ndjson()) / 1000 < 190


def test_the_rows_are_the_same_everywhere(tmp_path: Path) -> None:
    """The digest of the first rows is fixed: it changes only when someone changes the generator."""
    digests = {
        entity: hashlib.sha256(rows(nexmark(tmp_path, entity, seed=1), 0, 5_000).write_csv().encode()).hexdigest()[:16]
        for entity in ("person", "auction", "bid")
    }
    assert digests == DIGESTS


DIGESTS = {"person": "369e4eb116bcc7bd", "auction": "fa55e3e54eec7e6a", "bid": "ced382dc7200af44"}


def test_another_seed_gives_other_rows(tmp_path: Path) -> None:
    """The seed is part of every value that is drawn."""
    one, two = (rows(nexmark(tmp_path, "bid", seed=seed), 0, 1_000) for seed in (1, 2))
    assert (one["price"] == two["price"]).mean() < 0.1  # type: ignore[operator]
    assert_frame_equal(rows(nexmark(tmp_path, "bid", seed=1), 0, 1_000), one)


def test_event_times_are_early_by_no_more_than_was_asked(tmp_path: Path) -> None:
    """Out-of-order times differ from the even ones by at most the bound, and some do."""
    even = rows(nexmark(tmp_path, "bid"))["date_time"]
    early = (even - rows(nexmark(tmp_path, "bid", out_of_order_ms=20))["date_time"]).dt.total_microseconds()
    assert early.is_between(0, 20_000).all()
    assert early.n_unique() > 1_000


def test_a_rate_holds_events_back_also_after_a_restart(tmp_path: Path) -> None:
    """Event n is there at the first start + n/rate; the first start is kept."""
    clock = ManualClock()
    source = nexmark(tmp_path, "bid", clock, rate_per_s=1_000)
    start = source.initial()
    assert source.offer(start, Budget()) == {"events": 1}
    clock.sleep(2)
    assert source.offer(start, Budget()) == {"events": 2_001}
    clock.sleep(1)
    again = nexmark(tmp_path, "bid", clock, rate_per_s=1_000)
    end = again.offer(start, Budget())
    assert end == {"events": 3_001}
    again.wait(end, 60)
    assert again.offer(end, Budget()) == {"events": 3_002}


def test_live_times_are_those_at_which_events_are_there(tmp_path: Path) -> None:
    """With `live` the event time is the planned wall-clock time, so latency can be measured from it."""
    clock = ManualClock()
    source = nexmark(tmp_path, "bid", clock, rate_per_s=1_000, live=True)
    begun_us = clock.now_us()
    source.offer(source.initial(), Budget())
    clock.sleep(1)
    times = rows(source, 0, 1_000)["date_time"].cast(pl.Int64)
    assert times.to_list()[:2] == [begun_us + 4_000, begun_us + 5_000]
    assert (times <= clock.now_us()).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"entity": "bids"}, r"not 'bids'\. ?Did you mean 'bid'"),
        ({"event": 5}, "no option 'event'.*Did you mean 'events'"),
        ({"events": -1}, "events is a number from 0 on"),
        ({"rate_per_s": 0}, "a rate is above 0"),
        ({"live": True}, "live=True needs a rate_per_s"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    """An option that does not exist or has no meaning is an error at once."""
    with pytest.raises(ConfigError, match=message):
        nexmark(tmp_path, **{"entity": "bid", **options})
