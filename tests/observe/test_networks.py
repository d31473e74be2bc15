"""`ip_in_net` against the addresses and networks of Python's standard library."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.observe import compile_filter
from tests.observe.corpus import NOW_US

networks = st.builds(
    lambda number, length: IPv4Network((number, length), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection without anything in it."""
    with duckdb.connect() as found:
        yield found


def found(database: duckdb.DuckDBPyConnection, value: object, network: str) -> bool:
    """Whether an entry with this value is in the network by the filter."""
    condition = compile_filter(f'ip_in_net(jsonPayload.peer, "{network}")', now_us=NOW_US)
    text = f"select {condition.sql} from (select ? as attrs)"
    # The entry's own value stands last in the text, and so comes after those of the condition.
    row = database.execute(text, [*condition.parameters, json.dumps({"peer": value})]).fetchone()
    assert row is not None
    assert isinstance(row[0], bool)
    return row[0]


@given(network=networks, number=st.integers(0, 2**32 - 1), data=st.data())
def test_addresses_are_in_the_networks_that_have_them(
    database: duckdb.DuckDBPyConnection, network: IPv4Network, number: int, data: st.DataObject
) -> None:
    """Any address; one from within; the first and last, and their neighbours outside."""
    first, last = int(network.network_address), int(network.broadcast_address)
    inside = data.draw(st.integers(first, last))
    for one in {number, inside, first, last, max(first - 1, 0), min(last + 1, 2**32 - 1)}:
        address = IPv4Address(one)
        assert found(database, str(address), str(network)) is (address in network), (address, network)


@pytest.mark.parametrize(
    "value", ["", "10.0.0", "10.0.0.1.", "10.0.0.1 ", "10.0.0.01", "10.0.0.256", "10.0.0.1/8", "::1", "a", 10, None, {}]
)
def test_what_is_no_address_is_in_no_network(database: duckdb.DuckDBPyConnection, value: object) -> None:
    """Nor is what only has one in it."""
    assert not found(database, value, "0.0.0.0/0")


def test_an_address_stands_for_its_network(database: duckdb.DuckDBPyConnection) -> None:
    """With a length the bits behind it do not count; without one it is the only one."""
    assert found(database, "10.9.9.9", "10.1.2.3/8")
    assert found(database, "10.1.2.3", "10.1.2.3")
    assert not found(database, "10.1.2.4", "10.1.2.3")
