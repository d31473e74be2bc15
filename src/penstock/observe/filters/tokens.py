"""The tokens of a filter: words, quoted text, operators, parentheses; comments and white space are gone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from penstock.observe.filters.faults import fault

__all__ = ["TEXT_MAX", "Kind", "Token", "tokens_of"]

TEXT_MAX = 20_000
"""A filter has at most so many characters, as in Cloud Logging."""


class Kind(StrEnum):
    """What a token is, as an error calls it."""

    WORD = "word"
    STRING = "quoted text"
    OPERATOR = "operator"
    OPEN = "'('"
    CLOSE = "')'"
    COMMA = "','"
    MINUS = "'-'"
    STAR = "'*'"
    END = "the end of the filter"


@dataclass(frozen=True, slots=True)
class Token:
    """A token and its place `[start, end)`.

    `text` is what was meant: quoted text without its quotes and escapes. `parts` are the segments of a word between
    its dots, for the case that it is a name; `quoted` says that at least one of them was in quotes.
    """

    kind: Kind
    text: str
    start: int
    end: int
    parts: tuple[str, ...] = ()
    quoted: bool = False


_SKIPPED = re.compile(r"(?:\s+|--[^\n]*)+")
_OPERATOR = re.compile(r"!=|>=|<=|=~|!~|=|>|<|:")
_RUN = re.compile(r"(?:[\w./]|-(?!-))+")
_SINGLE = {"(": Kind.OPEN, ")": Kind.CLOSE, ",": Kind.COMMA, "-": Kind.MINUS, "*": Kind.STAR}
_QUOTES = "\"'"
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "'": "'", "\\": "\\"}
_OTHER_LANGUAGES = {
    "==": "'=' compares, once",
    "&&": "write AND",
    "||": "write OR",
    "!": "write NOT, or '-' before a comparison",
    "~": "a regular expression is compared by '=~'",
}


def tokens_of(text: str) -> tuple[Token, ...]:
    """All tokens of a filter; the last is always `Kind.END`. Raises QueryError for what is no token."""
    if len(text) > TEXT_MAX:
        raise fault(text, TEXT_MAX, TEXT_MAX + 1, f"it is longer than {TEXT_MAX} characters", hint="split it")
    _refuse_surrogates(text)
    tokens: list[Token] = []
    position = 0
    while True:
        skipped = _SKIPPED.match(text, position)
        position = skipped.end() if skipped else position
        if position == len(text):
            return (*tokens, Token(Kind.END, "", position, position))
        token = _token(text, position)
        tokens.append(token)
        position = token.end


def _refuse_surrogates(text: str) -> None:
    """Half of a surrogate pair is no character and can't be given to the database."""
    for position, letter in enumerate(text):
        if "\ud800" <= letter <= "\udfff":
            raise fault(text, position, position + 1, "half of a surrogate pair is no character")


def _token(text: str, start: int) -> Token:
    letter = text[start]
    for wrong, hint in _OTHER_LANGUAGES.items():
        if text.startswith(wrong, start) and not (wrong == "!" and text[start : start + 2] in ("!=", "!~")):
            raise fault(text, start, start + len(wrong), f"{wrong!r} is no operator here", hint=hint)
    if letter in _SINGLE:
        return Token(_SINGLE[letter], letter, start, start + 1)
    operator = _OPERATOR.match(text, start)
    if operator:
        return Token(Kind.OPERATOR, operator.group(), start, operator.end())
    if letter in _QUOTES:
        value, end = _string(text, start)
        return Token(Kind.STRING, value, start, end, quoted=True)
    if _RUN.match(text, start):
        return _word(text, start)
    raise fault(
        text, start, start + 1, f"{letter!r} can't stand outside quotes", hint='put the text in double quotes: "..."'
    )


def _word(text: str, start: int) -> Token:
    """A word, or a dotted name in which segments after a dot may be in quotes (`labels."k8s.io/pod"`)."""
    parts: list[str] = []
    position, quoted = start, False
    while True:
        if position > start and text[position : position + 1] in tuple(_QUOTES):
            value, position = _string(text, position)
            parts.append(value)
            quoted = True
            if not text.startswith(".", position):
                break
            position += 1
            continue
        run = _RUN.match(text, position)
        if run is None:
            parts.append("")
            break
        position = run.end()
        pieces = run.group().split(".")
        if not pieces[-1] and text[position : position + 1] in tuple(_QUOTES):
            parts += pieces[:-1]
            continue
        parts += pieces
        break
    return Token(Kind.WORD, text[start:position], start, position, parts=tuple(parts), quoted=quoted)


def _string(text: str, start: int) -> tuple[str, int]:
    r"""The text in quotes that begins at `start`, and where it ends.

    An escape that is none of ours keeps its backslash, so that a regular expression needs no second one: `"\d+"`.
    """
    quote, position = text[start], start + 1
    pieces: list[str] = []
    while True:
        letter = text[position : position + 1]
        if not letter:
            raise fault(text, start, start + 1, "this quote is never closed", hint=f"end the text with {quote}")
        if letter == quote:
            break
        escape = _ESCAPE.match(text, position)
        pieces.append(_unescaped(escape.group(1)) if escape else letter)
        position = escape.end() if escape else position + 1
    # Two halves of a surrogate pair that were escaped one by one are one character.
    value = "".join(pieces)
    try:
        return value.encode("utf-16", "surrogatepass").decode("utf-16"), position + 1
    except UnicodeDecodeError:
        raise fault(text, start, position + 1, "half of a surrogate pair is no character") from None


def _unescaped(code: str) -> str:
    if len(code) > 1:
        return chr(int(code[1:], 16))
    return _ESCAPED.get(code, f"\\{code}")
