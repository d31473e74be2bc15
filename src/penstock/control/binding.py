"""From a `[env.NAME.bind.DATASET]` table to a concrete dataset, by the same functions that authors call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from typing import Any

from pydantic import ConfigDict, ValidationError, validate_call

from penstock.analysis import to_schema
from penstock.errors import ConfigError, SchemaError, did_you_mean
from penstock.flow import (
    Dataset,
    console,
    delta,
    duckdb_table,
    files,
    http_push,
    memory,
    nats,
    nexmark,
    parquet,
    postgres,
    postgres_changes,
)

__all__ = ["KINDS", "Binding", "BindingError", "make_dataset"]

KINDS: Mapping[str, Callable[..., Dataset]] = {
    "console": console,
    "delta": delta,
    "duckdb": duckdb_table,
    "files": files,
    "http_push": http_push,
    "memory": memory,
    "nats": nats,
    "nexmark": nexmark,
    "parquet": parquet,
    "postgres": postgres,
    "postgres_changes": postgres_changes,
}
"""Which function builds a dataset of a kind; its keyword arguments are the keys of the TOML table."""

_FROM_NAME = ("name", "table", "stream")
"""Arguments that are the logical name where the table does not give them."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What an environment makes of one logical dataset. `options` hold plain values; secrets stay references."""

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)


class BindingError(ConfigError):
    """A binding is wrong; `option` is the key of its table that is to blame, None for the table itself."""

    def __init__(self, message: str, *, option: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.option = option


def make_dataset(binding: Binding, logical: Dataset) -> Dataset:
    """The concrete dataset of `logical`. Schema and key are the author's where the binding does not give them.

    Raises BindingError that names the option.
    """
    options = dict(binding.options)
    schema = _schema(options.pop("schema", None)) or logical.schema
    key = _key(options.pop("key", None)) or logical.key
    build = KINDS.get(binding.kind)
    if build is None:
        _known_elsewhere(binding.kind)
        return Dataset(binding.kind, logical.name, schema, key, options)
    known = list(inspect.signature(build).parameters)
    for argument in _FROM_NAME:
        if argument in known:
            options.setdefault(argument, logical.name)
    try:
        dataset = validate_call(config=ConfigDict(strict=True))(build)(**options)
    except ValidationError as error:
        raise _translated(error, binding.kind, known) from None
    return replace(dataset, schema=schema, key=key)


def _schema(declared: Any) -> Any:
    if declared is None:
        return None
    try:
        return to_schema(declared)
    except SchemaError as error:
        raise BindingError(error.message, option="schema", hint=error.hint) from None


def _key(given: Any) -> tuple[str, ...]:
    if given is None:
        return ()
    columns = [given] if isinstance(given, str) else given
    if not isinstance(columns, list) or not all(isinstance(column, str) for column in columns):
        raise BindingError("key is a list of columns", option="key", hint='write key = ["country"]')
    return tuple(columns)


def _known_elsewhere(kind: str) -> None:
    """Accept a kind that an installed package brings; see GROUP in penstock.connect.registry."""
    brought = {point.name.split(".", 1)[-1] for point in entry_points(group="penstock.connectors")}
    if kind not in brought:
        known = sorted({*KINDS, *brought})
        raise BindingError(
            f"there is no kind of dataset {kind!r}.{did_you_mean(kind, known)}",
            option="kind",
            hint=f"use one of {', '.join(known)}",
        )


def _translated(error: ValidationError, kind: str, known: list[str]) -> BindingError:
    # A misspelt option is also a missing one; the misspelling says more.
    fault = min(error.errors(), key=lambda one: one["type"].startswith("missing"))
    option = str(fault["loc"][0]) if fault["loc"] else None
    options = [name for name in known if name != "options"] + ["key", "schema"]
    if fault["type"] == "unexpected_keyword_argument":
        message = f"a dataset of kind {kind!r} has no option {option!r}.{did_you_mean(str(option), options)}"
        return BindingError(message, option=option, hint=f"it has: {', '.join(sorted(set(options)))}")
    if fault["type"].startswith("missing"):
        return BindingError(f"a dataset of kind {kind!r} needs the option {option!r}", hint=f"add {option} = ...")
    return BindingError(f"{fault['msg'].lower()}, not {fault['input']!r}", option=option)
