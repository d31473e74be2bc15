"""From the text of a filter to a condition of SQL."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import assert_never

from penstock.observe.filters.columns import column_condition, text_sql
from penstock.observe.filters.condition import Condition, all_of, any_of, negated, never_null
from penstock.observe.filters.fields import Column, field_of
from penstock.observe.filters.grammar import parse
from penstock.observe.filters.literals import Source, words_of
from penstock.observe.filters.patterns import check_patterns
from penstock.observe.filters.payload import found_in_json, payload_condition, payload_present
from penstock.observe.filters.tree import (
    And,
    Anywhere,
    Comparison,
    InNetwork,
    Name,
    Node,
    Not,
    Or,
    Present,
    Sample,
    Search,
)

__all__ = ["SAMPLE_STEPS", "WORDS_MAX", "compile_filter"]

SAMPLE_STEPS = 1_000_000
"""A sample's share is kept to so many steps."""

WORDS_MAX = 50
"""A SEARCH has at most so many words, because each of them is a pass over the text."""

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_BETWEEN = r"[^\pL\pN]"
_BETWEEN_IN_JSON = r"(?:[^\pL\pN]|\\[bfnrt])"
"""What stands between two words; in the text of JSON the letter of an escape is no letter of a word."""


def compile_filter(text: str, *, now_us: int) -> Condition:
    """A filter of the Cloud Logging language as a condition of DuckDB over the columns of `LOG_COLUMNS`.

    An empty filter is true of every entry. `now_us`, microseconds since 1970 UTC, is what relative times start from.
    Raises QueryError that shows the place, for whatever text is no filter.
    """
    source, node = Source(text, now_us), parse(text)
    check_patterns(source, node)
    return _condition(source, node)


def _condition(source: Source, node: Node) -> Condition:
    match node:
        case And(parts):
            return all_of(_condition(source, part) for part in parts)
        case Or(parts):
            return any_of(_condition(source, part) for part in parts)
        case Not(part):
            return negated(_condition(source, part))
        case Comparison(name):
            field = field_of(source.text, name)
            if isinstance(field, Column):
                return column_condition(source, field, node)
            return payload_condition(source, field, node)
        case Present(name):
            field = field_of(source.text, name)
            return Condition(f"({field.sql} is not null)") if isinstance(field, Column) else payload_present(field)
        case Anywhere(literal):
            in_json, value = found_in_json("attrs", literal.text)
            return any_of((Condition(text_sql(":", "message"), (literal.text,)), never_null(in_json, value)))
        case Search():
            return _search(source, node)
        case Sample():
            return _sample(source, node)
        case InNetwork(name, network):
            place, pattern = _text_of(source, name), _addresses_of(source.network(network))
            return never_null(f"regexp_full_match({place.sql}, ?)", *place.parameters, pattern)
        case _:
            assert_never(node)


def _text_of(source: Source, name: Name) -> Condition:
    """A field as text, whatever its type: null where it is missing."""
    field = field_of(source.text, name)
    if isinstance(field, Column):
        return Condition(f"cast({field.sql} as varchar)")
    return Condition("json_extract_string(attrs, ?)", (field.pointer,))


def _search(source: Source, search: Search) -> Condition:
    """Each word or phrase is there as a whole, regardless of case and order.

    After the function of Cloud Logging with the analyser LOG_ANALYZER, but that words are what letters and digits make.
    """
    phrases = words_of(search.literal.text)
    if not phrases:
        raise source.fault(search.literal, "there is no word to search for", 'SEARCH("out of memory")')
    if len(phrases) > WORDS_MAX:
        raise source.fault(search.literal, f"these are more than {WORDS_MAX} words", "search for the rarest of them")
    if search.name is None:
        places = [(Condition("message"), _BETWEEN), (Condition("attrs"), _BETWEEN_IN_JSON)]
    else:
        places = [(_text_of(source, search.name), _BETWEEN)]
    return all_of(any_of(_has_phrase(place, words, between) for place, between in places) for words in phrases)


def _has_phrase(place: Condition, words: tuple[str, ...], between: str) -> Condition:
    # The words are letters and digits only, so nothing in them means something to RE2.
    pattern = f"(?i)(?:^|{between}){f'{between}+'.join(words)}(?:{between}|$)"
    return never_null(f"regexp_matches({place.sql}, ?)", *place.parameters, pattern)


def _sample(source: Source, sample: Sample) -> Condition:
    """The same values of a field each time, on every machine: by the remainder of their MD5."""
    share = source.share(sample.share)
    place = _text_of(source, sample.name)
    return never_null(f"md5_number({place.sql}) % {SAMPLE_STEPS} < ?", *place.parameters, round(share * SAMPLE_STEPS))


def _addresses_of(network: IPv4Network) -> str:
    """A pattern of the addresses of a network, in decimals. DuckDB has a type for them, but fetches it by network."""
    whole, bits = divmod(network.prefixlen, 8)
    octets = network.network_address.packed
    parts = [str(octet) for octet in octets[:whole]]
    if bits:
        parts.append(f"(?:{'|'.join(str(octets[whole] + number) for number in range(1 << 8 - bits))})")
    return r"\.".join(parts + [_OCTET] * (4 - len(parts)))
