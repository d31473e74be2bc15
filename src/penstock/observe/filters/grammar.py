"""The grammar of a filter, by recursive descent; OR binds tighter than AND, and two things side by side are an AND.

    filter     = [ all ]
    all        = any { ["AND"] any }
    any        = one { "OR" one }
    one        = ("NOT" | "-") one | "(" all ")" | leaf
    leaf       = name operator value | word | quoted | SEARCH(...) | sample(...) | ip_in_net(...)
    value      = word | quoted | "*" | "(" all ")", whose leaves are values of the same name and operator

After the language reference of Cloud Logging and AIP-160 (Google's rules for filters of an API).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from penstock.errors import QueryError, did_you_mean
from penstock.observe.filters.faults import fault
from penstock.observe.filters.tokens import Kind, Token, tokens_of
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

__all__ = ["DEPTH_MAX", "LEAVES_MAX", "parse"]

DEPTH_MAX = 50
LEAVES_MAX = 500
"""A filter is nested at most so deep and has at most so many comparisons: the database has to be able to follow."""

_KEYWORDS = ("AND", "OR", "NOT")
_FUNCTIONS = ("SEARCH", "sample", "ip_in_net")
_QUOTE_HINT = 'put a value with special characters in double quotes: field="a:b"'


def parse(text: str) -> Node:
    """The filter as a tree; an empty one is `And(())`. Raises QueryError that shows the place."""
    return _Parser(text).filter()


class _Parser:
    """Reads the tokens of one filter from left to right, looking one ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens_of(text)
        self._at = 0
        self._depth = 0
        self._leaves = 0

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._peek()
        self._at += token.kind is not Kind.END
        return token

    def _fault(self, token: Token, message: str, hint: str | None = None) -> QueryError:
        return fault(self._text, token.start, token.end, message, hint=hint)

    def _is_keyword(self, *words: str) -> bool:
        return self._peek().kind is Kind.WORD and self._peek().text in words

    def _touches(self, token: Token) -> bool:
        """Whether the next token begins where this one ends."""
        return self._peek().start == token.end

    def filter(self) -> Node:
        """The whole text."""
        if self._peek().kind is Kind.END:
            return And(())
        found = self._all(self._leaf)
        if self._peek().kind is not Kind.END:
            raise self._unexpected()
        return found

    def _unexpected(self) -> QueryError:
        token = self._peek()
        if token.kind is Kind.CLOSE:
            return self._fault(token, "this ')' closes nothing", "leave it out, or open it before")
        if token.kind is Kind.OPERATOR:
            return self._fault(token, f"no field stands before {token.text!r}", _QUOTE_HINT)
        if token.kind is Kind.END:
            return self._fault(token, "something is missing at the end", "a comparison: field=value")
        what = f"{token.text!r}" if token.kind is Kind.WORD else str(token.kind)
        return self._fault(
            token, f"{what} can't stand here", "a comparison is field=value, a search a word or quoted text"
        )

    def _all(self, leaf: Callable[[], Node]) -> Node:
        parts = [self._any(leaf)]
        while True:
            if self._is_keyword("AND"):
                self._take()
            elif self._peek().kind in (Kind.CLOSE, Kind.COMMA, Kind.END, Kind.OPERATOR):
                return parts[0] if len(parts) == 1 else And(tuple(parts))
            parts.append(self._any(leaf))

    def _any(self, leaf: Callable[[], Node]) -> Node:
        parts = [self._one(leaf)]
        while self._is_keyword("OR"):
            self._take()
            parts.append(self._one(leaf))
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _one(self, leaf: Callable[[], Node]) -> Node:
        token = self._peek()
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise self._fault(token, f"it is nested deeper than {DEPTH_MAX}", "write it without some parentheses")
        found = self._one_of(token, leaf)
        self._depth -= 1
        return found

    def _one_of(self, token: Token, leaf: Callable[[], Node]) -> Node:
        if self._is_keyword("NOT") or (token.kind is Kind.MINUS and not self._is_negative_value(leaf)):
            self._take()
            return Not(self._one(leaf))
        if token.kind is Kind.OPEN:
            self._take()
            if self._peek().kind is Kind.CLOSE:
                raise self._fault(token, "there is nothing in these parentheses")
            found = self._all(leaf)
            self._close(token)
            return found
        self._leaves += 1
        if self._leaves > LEAVES_MAX:
            raise self._fault(token, f"it has more than {LEAVES_MAX} comparisons", "use a regular expression, or SQL")
        return leaf()

    def _is_negative_value(self, leaf: Callable[[], Node]) -> bool:
        """Whether a '-' in a list of values is the sign of a number; elsewhere it is a NOT."""
        sign, number = self._peek(), self._tokens[self._at + 1 : self._at + 2]
        return leaf != self._leaf and bool(number) and number[0].start == sign.end and number[0].text[:1].isdecimal()

    def _close(self, opened: Token) -> None:
        if self._peek().kind is Kind.END:
            raise self._fault(opened, "this '(' is never closed", "end it with ')'")
        if self._peek().kind is not Kind.CLOSE:
            raise self._unexpected()
        self._take()

    def _leaf(self) -> Node:
        if self._is_keyword(*_KEYWORDS):
            raise self._fault(
                self._peek(), f"{self._peek().text} lacks what it joins", f'to search for it: "{self._peek().text}"'
            )
        if self._peek().kind not in (Kind.WORD, Kind.STRING):
            raise self._unexpected()
        token = self._take()
        if token.kind is Kind.WORD and self._peek().kind is Kind.OPEN and self._touches(token):
            return self._function(token)
        if self._peek().kind is Kind.OPERATOR:
            return self._comparison(token)
        if token.kind is Kind.WORD and token.quoted:
            raise self._fault(token, "a name on its own says nothing", f"has it any value: {token.text}:*")
        return Anywhere(self._literal(token))

    def _comparison(self, token: Token) -> Node:
        name = self._name(token)
        operator = self._take()
        values = partial(self._value, name, operator)
        found = self._one(values) if self._peek().kind is Kind.OPEN else values()
        if self._peek().kind is Kind.OPERATOR:
            raise self._fault(self._peek(), f"{self._peek().text!r} can't stand after a value", _QUOTE_HINT)
        return found

    def _name(self, token: Token) -> Name:
        if token.kind is not Kind.WORD:
            raise self._fault(
                token, f"a name was expected, not {token.kind}", 'a name is a.b or a."b c", a value is "..."'
            )
        if not all(token.parts):
            raise self._fault(token, f"a segment of the name {token.text} is empty")
        return Name(token.parts, token.start, token.end)

    def _value(self, name: Name, operator: Token) -> Node:
        if self._peek().kind is Kind.STAR:
            star = self._take()
            if operator.text != ":":
                raise self._fault(
                    star, f"'*' can't stand after {operator.text!r}", 'presence is field:*, the letter is "*"'
                )
            return Present(name)
        if self._is_keyword(*_KEYWORDS) or self._peek().kind not in (Kind.WORD, Kind.STRING, Kind.MINUS):
            raise self._fault(self._peek(), f"the value after {operator.text!r} is missing", 'no value is ""')
        token = self._take()
        if token.kind is Kind.MINUS:
            if self._peek().kind is not Kind.WORD or not self._touches(token):
                raise self._fault(token, f"the value after {operator.text!r} is missing", 'quote it: "-"')
            number = self._take()
            literal = Literal(f"-{number.text}", quoted=False, start=token.start, end=number.end)
            return Comparison(name, operator.text, literal)
        return Comparison(name, operator.text, self._literal(token))

    def _literal(self, token: Token) -> Literal:
        if token.kind is Kind.WORD and token.quoted:
            raise self._fault(token, "a value is quoted as a whole or not at all", _QUOTE_HINT)
        return Literal(token.text, quoted=token.kind is Kind.STRING, start=token.start, end=token.end)

    def _function(self, token: Token) -> Node:
        by_name = {name.lower(): name for name in _FUNCTIONS}
        called = by_name.get(token.text.lower())
        if called is None:
            message = f"{token.text} is no function.{did_you_mean(token.text, _FUNCTIONS)}"
            raise self._fault(token, message, f"there are {', '.join(_FUNCTIONS)}")
        opened = self._take()
        found: Node
        if called == "SEARCH":
            found = self._search(token)
        elif called == "sample":
            found = Sample(*self._field_and_value(token, "a share", "sample(insertId, 0.25)"))
        else:
            found = InNetwork(*self._field_and_value(token, "a network", 'ip_in_net(jsonPayload.ip, "10.0.0.0/8")'))
        self._close(opened)
        return found

    def _search(self, token: Token) -> Node:
        name = None
        if self._tokens[min(self._at + 1, len(self._tokens) - 1)].kind is Kind.COMMA:
            name = self._name(self._take())
            self._take()
        return Search(name, self._argument(token, 'SEARCH("words") or SEARCH(field, "words")'))

    def _field_and_value(self, token: Token, value: str, usage: str) -> tuple[Name, Literal]:
        name = self._name(self._take())
        if self._peek().kind is not Kind.COMMA:
            raise self._fault(token, f"{token.text} takes a field and {value}", usage)
        self._take()
        return name, self._argument(token, usage)

    def _argument(self, token: Token, usage: str) -> Literal:
        if self._peek().kind not in (Kind.WORD, Kind.STRING):
            raise self._fault(token, f"{token.text} lacks a value", usage)
        return self._literal(self._take())
