"""A second, simple reading of the filter language: asks one entry in plain Python, and writes a tree as text.

It shares the tree's values with the package, and no rule of how they are compared.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network
from typing import Any, assert_never

from penstock.observe import SEVERITIES
from penstock.observe.filters.tree import (
    And,
    Anywhere,
    Comparison,
    InNetwork,
    Literal,
    Name,
    Node,
    Not,
    Or,
    Present,
    Sample,
    Search,
)

MISSING = object()

ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda left, right: left == right,
    ":": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}

COLUMNS = {
    "insertId": "insert_id",
    "trace": "trace_id",
    "textPayload": "message",
    **{f"resource.labels.{name}": name for name in ("flow", "step", "version", "generation", "epoch")},
}


def matches(entry: dict[str, Any], node: Node) -> bool:
    """Whether an entry is one that the filter means."""
    match node:
        case And(parts):
            return all(matches(entry, part) for part in parts)
        case Or(parts):
            return any(matches(entry, part) for part in parts)
        case Not(part):
            return not matches(entry, part)
        case Present(name):
            return value_of(entry, name) is not MISSING
        case Comparison(name, operator, literal):
            value = value_of(entry, name)
            return value is not MISSING and compared(name, value, operator, literal)
        case Anywhere(literal):
            escaped = json.dumps(literal.text, ensure_ascii=False)[1:-1]
            return has(entry["message"], literal.text) or has(entry["attrs"] or "", escaped)
        case Search(name, literal):
            places = [entry["message"], entry["attrs"]] if name is None else [text_of(value_of(entry, name))]
            return all(any(word in words(place or "") for place in places) for word in words(literal.text))
        case InNetwork(name, network):
            return in_network(text_of(value_of(entry, name)), network.text)
        case Sample(name, share):
            value = text_of(value_of(entry, name))
            digest = hashlib.md5((value or "").encode(), usedforsecurity=False).digest()
            left = int.from_bytes(digest, "little") % 1_000_000
            return value is not None and left < float(share.text) * 1_000_000
        case _:
            assert_never(node)


def value_of(entry: dict[str, Any], name: Name) -> Any:
    """What an entry has under a name; MISSING where it has nothing."""
    if name.parts[0] in ("jsonPayload", "labels"):
        value: Any = json.loads(entry["attrs"]) if entry["attrs"] else MISSING
        for part in name.parts[1:]:
            value = value.get(part, MISSING) if isinstance(value, dict) else MISSING
        return value
    written = ".".join(name.parts)
    if written == "resource.type":
        return "flow" if entry["step"] is None else "flow_step"
    value = entry[COLUMNS.get(written, written)]
    return MISSING if value is None else value


def compared(name: Name, value: Any, operator: str, literal: Literal) -> bool:
    """A comparison with a value that is there."""
    if name.parts[0] in ("jsonPayload", "labels"):
        elements = value if isinstance(value, list) else [value]
        if operator in ("!=", "!~"):
            return not any(leaf(element, "=" if operator == "!=" else "=~", literal) for element in elements)
        return any(leaf(element, operator, literal) for element in elements)
    if isinstance(value, str):
        return text(value, operator, literal.text)
    if isinstance(value, datetime):
        return ORDER[operator](value, datetime.fromisoformat(literal.text))
    if name.parts == ("severity",):
        return ORDER[operator](value, SEVERITIES[literal.text.upper()])
    return ORDER[operator](value, float(literal.text))


def leaf(value: Any, operator: str, literal: Literal) -> bool:
    """A comparison with one value of JSON."""
    if literal.text == "NULL_VALUE" and not literal.quoted:
        return value is None
    if isinstance(value, str):
        return text(value, operator, literal.text)
    if isinstance(value, bool):
        return operator in ("=", ":") and literal.text.lower() == str(value).lower()
    if isinstance(value, int | float) and operator != "=~":
        try:
            return ORDER[operator](value, float(literal.text))
        except ValueError:
            return False
    written = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return isinstance(value, dict) and operator == ":" and has(written, literal.text)


def text(value: str, operator: str, given: str) -> bool:
    """A comparison of text."""
    if operator in ("=~", "!~"):
        return (re.search(given, value) is not None) == (operator == "=~")
    if operator == ":":
        return has(value, given)
    return ORDER[operator](value.lower().encode(), given.lower().encode())


def has(value: str, part: str) -> bool:
    """Whether a text has a part, in letters of either case."""
    return part.lower() in value.lower()


def in_network(address: str | None, network: str) -> bool:
    """Whether a text is an address of a network."""
    try:
        return IPv4Address(address or "") in IPv4Network(network, strict=False)
    except ValueError:
        return False


def words(value: str) -> list[str]:
    """The words of a text, in small letters."""
    return re.findall(r"[^\W_]+", value.lower())


def text_of(value: Any) -> str | None:
    """A value as SEARCH and sample see it; None for what is missing."""
    if value is MISSING or value is None:
        return None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def written(node: Node) -> str:
    """A filter that says what the tree says, in as few parentheses as the grammar needs."""
    match node:
        case And(parts):
            return " AND ".join(grouped(part, And) for part in parts)
        case Or(parts):
            return " OR ".join(grouped(part, And, Or) for part in parts)
        case Not(part):
            return f"NOT {grouped(part, And, Or)}"
        case Present(name):
            return f"{name_text(name)}:*"
        case Comparison(name, operator, literal):
            return f"{name_text(name)}{operator}{literal_text(literal)}"
        case Anywhere(literal):
            return literal_text(literal)
        case Search(name, literal):
            return f"SEARCH({literal_text(literal) if name is None else f'{name_text(name)}, {literal_text(literal)}'})"
        case Sample(name, share):
            return f"sample({name_text(name)}, {share.text})"
        case InNetwork(name, network):
            return f"ip_in_net({name_text(name)}, {literal_text(network)})"
        case _:
            assert_never(node)


def grouped(node: Node, *kinds: type) -> str:
    """The text of a part, in parentheses where it is one of these kinds."""
    return f"({written(node)})" if isinstance(node, kinds) else written(node)


def name_text(name: Name) -> str:
    """A name, segments after the first in quotes where they need them."""
    return ".".join(part if re.fullmatch(r"\w+", part) else f'"{part}"' for part in name.parts)


def literal_text(literal: Literal) -> str:
    """A value as it stands in a filter."""
    return json.dumps(literal.text, ensure_ascii=False) if literal.quoted else literal.text
