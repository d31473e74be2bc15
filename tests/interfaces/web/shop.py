"""A project with a flow that never ends: orders come in, some of them can't be processed."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Event, Thread

FLOW = "revenue"

PROJECT = """[project]
name = "shop"

[deploy]
slower_max = 100.0
approve = "always"

[env.dev.bind.orders]
kind = "files"
path = "rows/*.ndjson"
format = "ndjson"
watch = true
tail = true

[env.dev.bind.revenue_by_country]
kind = "delta"
path = "out/revenue_by_country"
min_epoch_ms = 200

[env.dev.bind.paid_orders]
kind = "delta"
path = "out/paid_orders"
min_epoch_ms = 200
"""

TEXT = '''"""Revenue per country, and every paid order."""

import polars as pl

import penstock as ps

flow = ps.Flow("revenue", owner="payments", freshness="30s", epoch_ms=200)

orders = flow.read(ps.topic("orders", schema={"id": int, "country": str, "amount": str, "status": str}))


def to_cents(row):
    return {**row, "cents": round(float(row["amount"]) * 100)}


paid = orders.filter(pl.col("status") == "paid")
COLUMNS = {"id": int, "country": str, "amount": str, "status": str, "cents": int}
priced = paid.map(to_cents, schema=COLUMNS)
vat = priced.with_columns(vat=(pl.col("cents") * 21) // 100)
by_country = vat.group_by("country").agg(revenue=pl.col("cents").sum(), orders=pl.len())
by_country.write(ps.table("revenue_by_country", key=["country"]))
slim = vat.select("id", "country", "cents", "vat")
slim.expect(ps.not_null("country"))
slim.write(ps.table("paid_orders"))
'''

_COUNTRIES = ("NL", "DE", "FR", "BE")
_POISON_EVERY = 25


def make_shop(folder: Path) -> None:
    """Write the project and the first orders."""
    (folder / "rows").mkdir()
    (folder / "penstock.toml").write_text(PROJECT)
    (folder / "revenue.py").write_text(TEXT)
    (folder / "rows" / "a.ndjson").write_text("".join(order(number) for number in range(100)))


def order(number: int) -> str:
    """A line: an order; one in many has an amount that is none."""
    amount = "n/a" if number % _POISON_EVERY == _POISON_EVERY - 1 else f"{number % 90 + 5}.50"
    row = {"id": number, "country": _COUNTRIES[number % 4], "amount": amount, "status": "paid"}
    return json.dumps(row) + "\n"


class Customers:
    """Order something every now and then, until closed."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "rows" / "a.ndjson"
        self._over = Event()
        self._thread = Thread(target=self._order, name="customers", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Go home."""
        self._over.set()
        self._thread.join()

    def _order(self) -> None:
        number = 100
        with self._file.open("a") as file:
            while not self._over.wait(0.5):
                file.write("".join(order(one) for one in range(number, number + 5)))
                file.flush()
                number += 5
