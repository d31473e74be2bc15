"""Nexmark rows by columns: every value is a hash of seed, event number and a label, so rows don't depend on chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

__all__ = ["ENTITIES", "PER_CYCLE", "Generator", "first_event", "row_number"]

Ints: TypeAlias = npt.NDArray[np.int64]
Words: TypeAlias = npt.NDArray[np.uint64]

PERSONS, AUCTIONS, BIDS = 1, 3, 46
PER_CYCLE = PERSONS + AUCTIONS + BIDS
BEGIN = {"person": 0, "auction": PERSONS, "bid": PERSONS + AUCTIONS}
COUNT = {"person": PERSONS, "auction": AUCTIONS, "bid": BIDS}
"""Where in a cycle of 50 events the rows of an entity are, and how many."""

FIRST_ID = 1000
FIRST_CATEGORY = 10
CATEGORIES = 5
HOT_AUCTION_OF, HOT_BIDDER_OF, HOT_SELLER_OF = 2, 4, 4
"""One of so many is not hot."""
HOT_STEP = 100
"""The hot one is the latest whose number is a multiple of this."""
IN_FLIGHT_AUCTIONS, ACTIVE_PEOPLE = 100, 1000
CHANNELS = 10_000
HOT_CHANNELS = ("Google", "Facebook", "Baidu", "Apple")
STATES = ("AZ", "CA", "ID", "OR", "WA", "WY")
CITIES = (
    "Phoenix",
    "Los Angeles",
    "San Francisco",
    "Boise",
    "Portland",
    "Bend",
    "Redmond",
    "Seattle",
    "Kent",
    "Cheyenne",
)
FIRST_NAMES = ("Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter")
LAST_NAMES = ("Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris")
LETTERS = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz012345", np.uint8)
EXTRA = {"person": 40, "auction": 60, "bid": 6}
"""Length of the text that only makes a row as large as the benchmark wants it; a bid is about 170 bytes of JSON."""

TIME = pl.Datetime("us")
ENTITIES: Mapping[str, pl.Schema] = MappingProxyType(
    {
        "person": pl.Schema(
            {
                "id": pl.Int64(),
                "name": pl.String(),
                "email_address": pl.String(),
                "credit_card": pl.String(),
                "city": pl.String(),
                "state": pl.String(),
                "date_time": TIME,
                "extra": pl.String(),
            }
        ),
        "auction": pl.Schema(
            {
                "id": pl.Int64(),
                "item_name": pl.String(),
                "description": pl.String(),
                "initial_bid": pl.Int64(),
                "reserve": pl.Int64(),
                "date_time": TIME,
                "expires": TIME,
                "seller": pl.Int64(),
                "category": pl.Int64(),
                "extra": pl.String(),
            }
        ),
        "bid": pl.Schema(
            {
                "auction": pl.Int64(),
                "bidder": pl.Int64(),
                "price": pl.Int64(),
                "channel": pl.String(),
                "url": pl.String(),
                "date_time": TIME,
                "extra": pl.String(),
            }
        ),
    }
)


def row_number(entity: str, event: int) -> int:
    """How many rows of `entity` are among the events before `event`."""
    cycle, place = divmod(event, PER_CYCLE)
    return cycle * COUNT[entity] + min(max(place - BEGIN[entity], 0), COUNT[entity])


def first_event(entity: str, rows: int) -> int:
    """The first event number with `rows` rows of `entity` before it."""
    if rows <= 0:
        return 0
    cycle, place = divmod(rows - 1, COUNT[entity])
    return cycle * PER_CYCLE + BEGIN[entity] + place + 1


@dataclass(frozen=True, slots=True)
class Generator:
    """The whole site, as a function of event numbers.

    `events_per_s`: of event time. `out_of_order_us`: how much earlier than its turn an event may claim to be.
    """

    seed: int
    start_us: int
    events_per_s: float
    out_of_order_us: int = 0

    def at_rate(self, start_us: int, events_per_s: float) -> Generator:
        """The same rows at other event times."""
        return replace(self, start_us=start_us, events_per_s=events_per_s)

    def rows(self, entity: str, first: int, last: int, columns: Sequence[str]) -> pl.DataFrame:
        """The rows of `entity` among the events first..last, with these columns."""
        numbers = np.arange(row_number(entity, first), row_number(entity, last), dtype=np.int64)
        events = numbers // COUNT[entity] * PER_CYCLE + BEGIN[entity] + numbers % COUNT[entity]
        draw = _Draw(self.seed, events)
        make: dict[str, Callable[[], pl.Series]] = {
            "person": self._person,
            "auction": self._auction,
            "bid": self._bid,
        }[entity](numbers, events, draw)
        return pl.DataFrame(
            {name: make[name]() for name in columns}, schema={name: ENTITIES[entity][name] for name in columns}
        )

    def _bid(self, numbers: Ints, events: Ints, draw: _Draw) -> dict[str, Callable[[], pl.Series]]:
        channel = draw.below("channel", CHANNELS * 2)
        return {
            "auction": lambda: pl.Series(self._some_auction(events, draw)),
            "bidder": lambda: pl.Series(self._some_person(events, draw, HOT_BIDDER_OF)),
            "price": lambda: pl.Series(_price(draw, "price")),
            "channel": lambda: _pick(_words_of("channels"), channel),
            "url": lambda: _pick(_words_of("urls"), channel),
            "date_time": lambda: self._time(events, draw),
            "extra": lambda: draw.text("extra", EXTRA["bid"]),
        }

    def _auction(self, numbers: Ints, events: Ints, draw: _Draw) -> dict[str, Callable[[], pl.Series]]:
        first_bid = _price(draw, "initial_bid")
        return {
            "id": lambda: pl.Series(numbers + FIRST_ID),
            "item_name": lambda: draw.text("item_name", 20),
            "description": lambda: draw.text("description", 100),
            "initial_bid": lambda: pl.Series(first_bid),
            "reserve": lambda: pl.Series(first_bid + _price(draw, "reserve")),
            "date_time": lambda: self._time(events, draw),
            "expires": lambda: (self._time(events, draw).cast(pl.Int64) + pl.Series(self._lifetime(draw))).cast(TIME),
            "seller": lambda: pl.Series(self._some_person(events, draw, HOT_SELLER_OF)),
            "category": lambda: pl.Series(FIRST_CATEGORY + draw.below("category", CATEGORIES)),
            "extra": lambda: draw.text("extra", EXTRA["auction"]),
        }

    def _person(self, numbers: Ints, events: Ints, draw: _Draw) -> dict[str, Callable[[], pl.Series]]:
        names, cards = _words_of("names"), _words_of("cards")
        return {
            "id": lambda: pl.Series(numbers + FIRST_ID),
            "name": lambda: _pick(names, draw.below("name", len(names))),
            "email_address": lambda: draw.text("mailbox", 7) + "@" + draw.text("domain", 5) + ".com",
            "credit_card": lambda: pl.select(
                pl.concat_str([_pick(cards, draw.below(f"card{part}", len(cards))) for part in range(4)], separator=" ")
            ).to_series(),
            "city": lambda: _pick(_words_of("cities"), draw.below("city", len(CITIES))),
            "state": lambda: _pick(_words_of("states"), draw.below("state", len(STATES))),
            "date_time": lambda: self._time(events, draw),
            "extra": lambda: draw.text("extra", EXTRA["person"]),
        }

    def _time(self, events: Ints, draw: _Draw) -> pl.Series:
        """Event time: evenly spaced, some a bit earlier than their turn where that was asked for."""
        times = self.start_us + (events / self.events_per_s * 1e6).astype(np.int64)
        if self.out_of_order_us:
            times -= draw.below("early", self.out_of_order_us + 1)
        return pl.Series(times).cast(TIME)

    def _some_auction(self, events: Ints, draw: _Draw) -> Ints:
        """An auction that was opened before: a hot one, or one of the latest."""
        newest = np.maximum(_before("auction", events) - 1, 0)
        hot = newest // HOT_STEP * HOT_STEP
        cold = newest - draw.below("auction", 1 << 30) % np.minimum(newest + 1, IN_FLIGHT_AUCTIONS)
        is_hot = draw.below("hot auction", HOT_AUCTION_OF) > 0
        return np.where(is_hot, hot, cold) + FIRST_ID

    def _some_person(self, events: Ints, draw: _Draw, hot_of: int) -> Ints:
        """Somebody who joined before: a hot one, or one of the latest."""
        newest = np.maximum(_before("person", events) - 1, 0)
        hot = newest // HOT_STEP * HOT_STEP
        cold = newest - draw.below("person", 1 << 30) % np.minimum(newest + 1, ACTIVE_PEOPLE)
        is_hot = draw.below("hot person", hot_of) > 0
        return np.where(is_hot, hot, cold) + FIRST_ID

    def _lifetime(self, draw: _Draw) -> Ints:
        """How long an auction is open, in microseconds: up to twice the time in which so many auctions are opened."""
        horizon_us = max(1, int(IN_FLIGHT_AUCTIONS * PER_CYCLE / AUCTIONS / self.events_per_s * 1e6))
        return draw.below("lifetime", 2 * horizon_us) + 1


def _before(entity: str, events: Ints) -> Ints:
    """How many rows of `entity` come before each event."""
    cycle, place = np.divmod(events, PER_CYCLE)
    count: Ints = cycle * COUNT[entity] + np.clip(place - BEGIN[entity], 0, COUNT[entity])
    return count


def _price(draw: _Draw, label: str) -> Ints:
    """Log-uniform from 100 to 10,000,000 cents, by a table: powers differ in the last bit between machines."""
    return _prices()[draw.below(label, len(_prices()))]


@cache
def _prices() -> Ints:
    steps = 6 * 1024
    return np.array([round(10 ** (2 + 5 * step / steps)) for step in range(steps)], np.int64)


@cache
def _channels() -> tuple[str, ...]:
    """The first half of the draws gets one of four hot channels, the other half one of ten thousand."""
    hot = tuple(HOT_CHANNELS[number % len(HOT_CHANNELS)] for number in range(CHANNELS))
    return hot + tuple(f"channel-{number}" for number in range(CHANNELS))


@cache
def _urls() -> tuple[str, ...]:
    """An address for each channel; nine of ten name the channel's number, the rest do not."""
    words = _Draw(0, np.arange(CHANNELS * 2, dtype=np.int64))
    paths = words.text("url", 9).to_list()
    hot = {name: number for number, name in enumerate(HOT_CHANNELS)}
    urls = []
    for number, channel in enumerate(_channels()):
        path = paths[hot.get(channel, number)]
        base = f"https://nexmark.com/{path[:3]}/{path[3:6]}/{path[6:]}/item?q=1"
        urls.append(f"{base}&channel_id={number}" if channel not in hot and number % 10 else base)
    return tuple(urls)


@cache
def _words_of(kind: str) -> pl.Series:
    """The texts that are chosen from, made once."""
    if kind == "channels":
        return pl.Series(_channels())
    if kind == "urls":
        return pl.Series(_urls())
    if kind == "names":
        return pl.Series([f"{first} {last}" for first in FIRST_NAMES for last in LAST_NAMES])
    if kind == "cards":
        return pl.Series([f"{number:04}" for number in range(10_000)])
    return pl.Series({"cities": CITIES, "states": STATES}[kind])


def _pick(choices: pl.Series, index: Ints) -> pl.Series:
    return choices.gather(pl.Series(index))


class _Draw:
    """Random numbers by event number and label.

    The method is splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
    """

    def __init__(self, seed: int, events: Ints) -> None:
        self._seed = seed
        self._events = events.astype(np.uint64)

    def below(self, label: str, bound: int) -> Ints:
        """Whole numbers from 0 to `bound` - 1 (at most 2^31), by the upper 32 bits."""
        return ((self._words(label) >> np.uint64(32)) * np.uint64(bound) >> np.uint64(32)).astype(np.int64)

    def text(self, label: str, length: int) -> pl.Series:
        """Texts of `length` letters out of 32."""
        count = len(self._events)
        per_word = 12
        words = np.stack([self._words(f"{label}{part}") for part in range(-(-length // per_word))], axis=1)
        shifts = (np.arange(per_word, dtype=np.uint64) * np.uint64(5)) + np.uint64(4)
        letters = LETTERS[((words[:, :, None] >> shifts) & np.uint64(31)).astype(np.uint8)]
        flat = np.ascontiguousarray(letters.reshape(count, words.shape[1] * per_word)[:, :length])
        offsets = np.arange(0, (count + 1) * length, length, dtype=np.int64)
        buffers = [None, pa.py_buffer(offsets.data), pa.py_buffer(flat.data)]
        texts = pl.from_arrow(pa.Array.from_buffers(pa.large_string(), count, buffers))
        if not isinstance(texts, pl.Series):
            raise TypeError("an Arrow array did not become a column")
        return texts

    def _words(self, label: str) -> Words:
        salt = np.uint64(_salt(self._seed, label))
        mixed: Words = (self._events + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + salt
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))


@cache
def _salt(seed: int, label: str) -> int:
    """64 bits for a seed and a label (FNV-1a)."""
    salt = 0xCBF29CE484222325
    for byte in f"{seed}/{label}".encode():
        salt = (salt ^ byte) * 0x100000001B3 % 2**64
    return salt
