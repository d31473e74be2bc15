"""Whether the state of one version of a flow fits another one, table by table, without looking at a row.

What fits goes on by itself: the same columns, in any order; a wider type; a step that the author says was renamed; a
new step, which starts empty; sooner or later expiry; state columns of the author's own function, which begin as None.
What does not fit is refused, with the lines to write: values for new columns, `keep=True` where only the meaning
changed, a function, or `reset=True`. An author's line counts only where it is needed, so that it may stay in the code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeAlias

from penstock.analysis.column_types import is_wider
from penstock.analysis.faults import type_text
from penstock.analysis.state_columns import ColumnVerdict, Lack, match_columns
from penstock.analysis.state_layout import StateFact, StateLayout, state_fingerprint
from penstock.flow import Definition

__all__ = ["MigrationFacts", "Outcome", "TableVerdict", "Verdict", "compare", "migration_facts", "renames_of"]

Outcome: TypeAlias = Literal[
    "same",
    "added",
    "renamed",
    "dropped",
    "column-dropped",
    "retimed",
    "widened",
    "column-added",
    "kept-by-author",
    "migrated-by-author",
    "reset-by-author",
    "refused",
]
"""What becomes of a table, from nothing to do to nothing done. `retimed`: its rows go sooner or later, or some at once.
`kept-by-author`: its meaning changed, and it goes on as it is."""


@dataclass(frozen=True, slots=True)
class MigrationFacts:
    """What an author says of the state of a step, as plain values: see `penstock.flow.Migration`.

    `columns`: column -> the value as text. `function`: the name of the author's function.
    """

    step: str
    table: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    keep: bool = False
    reset: bool = False
    function: str | None = None
    since: str = ""


@dataclass(frozen=True, slots=True)
class TableVerdict:
    """What becomes of one table. `step`, `old_step`, `old_table`: empty where there is none.

    `reasons`: why it is not taken as it is. `notes`: what is worth knowing. `hint`: the lines that an author may write,
    where it is refused. `since`: the fingerprint of the old state.
    """

    step: str
    table: str
    part: str
    outcome: Outcome
    old_step: str = ""
    old_table: str = ""
    columns: tuple[ColumnVerdict, ...] = ()
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    hint: str = ""
    since: str = ""
    old: StateLayout | None = None
    new: StateLayout | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; the layouts are left out."""
        found = asdict(replace(self, old=None, new=None))
        return {name: value for name, value in found.items() if name not in ("old", "new")}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of all tables, those of the new version first. `unused`: lines of the author that nothing needs."""

    tables: tuple[TableVerdict, ...] = ()
    unused: tuple[str, ...] = ()

    @property
    def refused(self) -> tuple[TableVerdict, ...]:
        """The tables that do not fit, and of which the author says nothing."""
        return tuple(table for table in self.tables if table.outcome == "refused")

    @property
    def is_compatible(self) -> bool:
        """Whether the new version can take over the state."""
        return not self.refused

    @property
    def is_same(self) -> bool:
        """Whether the files of the state can be taken as they are."""
        return all(
            table.outcome == "added" or (table.outcome == "same" and all(c.change == "same" for c in table.columns))
            for table in self.tables
        )

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "is_compatible": self.is_compatible,
            "is_same": self.is_same,
            "tables": [table.as_json() for table in self.tables],
            "unused": list(self.unused),
        }


def migration_facts(definition: Definition) -> tuple[MigrationFacts, ...]:
    """What the author of a definition says, as plain values."""
    return tuple(
        MigrationFacts(
            one.step,
            one.table,
            {name: str(value) for name, value in one.columns.items()},
            one.keep,
            one.reset,
            None if one.function is None else getattr(one.function, "__qualname__", "a function"),
            one.since,
        )
        for one in definition.migrations
    )


def renames_of(definition: Definition) -> dict[str, str]:
    """Old name -> new name of the steps that the author of a definition says were renamed."""
    return {one.old: one.new for one in definition.renames}


def compare(
    old: Sequence[StateLayout],
    new: Sequence[StateLayout],
    *,
    renames: Mapping[str, str] | None = None,
    migrations: Iterable[MigrationFacts] = (),
) -> Verdict:
    """What becomes of the state `old` in a version whose state is `new`.

    `renames`: old name of a step -> new name; `migrations`: what the new version's author says.
    """
    comparison = _Comparison(tuple(old), tuple(new), dict(renames or {}), tuple(migrations))
    by_step = [comparison.step(step) for step in _steps_of(new)]
    dropped = [layout for layout in old if layout.step not in comparison.taken]
    tables = [table for tables in by_step for table in comparison.perhaps_renamed(tables, _steps_of(dropped))]
    tables += [_dropped(layout) for layout in dropped]
    unused = [said for said in comparison.migrations if said not in comparison.used]
    return Verdict(tuple(tables), tuple(_shown_call(said) for said in unused))


def _steps_of(layouts: Iterable[StateLayout]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(layout.step for layout in layouts))


@dataclass(slots=True)
class _Comparison:
    """Goes from step to step of the new version; notes which old steps and which words of the author were needed."""

    old: tuple[StateLayout, ...]
    new: tuple[StateLayout, ...]
    renames: dict[str, str]
    migrations: tuple[MigrationFacts, ...]
    taken: set[str] = field(default_factory=set)
    used: list[MigrationFacts] = field(default_factory=list)

    def step(self, name: str) -> list[TableVerdict]:
        """The verdicts on all tables of a step."""
        tables = [layout for layout in self.new if layout.step == name]
        before = self._old_name(name)
        old = {layout.part: layout for layout in self.old if layout.step == before}
        if not old:
            return [_added(layout) for layout in tables]
        self.taken.add(before)
        since = state_fingerprint(self.old, before)
        said = [one for one in self.migrations if one.step == name and since.startswith(one.since)]
        said.sort(key=lambda one: not one.since)  # what was said of exactly this state comes first
        found = [self._table(layout, old, said, since) for layout in tables if not _follows(layout.part)]
        found += [_following(layout, found, old) for layout in tables if _follows(layout.part)]
        reset = next((one for one in said if one.reset and not one.table), None)
        if reset is not None and any(table.outcome == "refused" for table in found):
            # What a step remembers belongs together: where one of its tables begins empty, all do.
            self.used.append(reset)
            found = [replace(table, outcome="reset-by-author", hint="") for table in found]
        return found + [_dropped(layout) for part, layout in old.items() if not _is_taken(part, found)]

    def perhaps_renamed(self, tables: list[TableVerdict], gone: Sequence[str]) -> list[TableVerdict]:
        """Refuse a new step that remembers just what a step that is gone did: a slip of a name must not cost state."""
        step = tables[0].step
        own = state_fingerprint(self.new, step)
        before = next((name for name in gone if state_fingerprint(self.old, name) == own), None)
        if before is None or any(table.outcome != "added" for table in tables):
            return tables
        said = [one for one in self.migrations if one.step == step and one.reset and own.startswith(one.since)]
        if said:
            self.used.append(said[0])
            return tables
        reason = f"it remembers what {before!r} did, and that is gone: was it renamed?"
        hint = (
            f'flow.renamed("{before}", "{step}")  # it takes over that state\n'
            f'flow.migrate("{step}", reset=True, since="{own}")  # it is another step, and starts empty'
        )
        first = replace(tables[0], outcome="refused", reasons=(reason,), notes=(), hint=hint, since=own)
        return [first, *(replace(table, outcome="refused", notes=()) for table in tables[1:])]

    def _old_name(self, name: str) -> str:
        """What a step was called: a rename counts only where the old version has one of that name and lacks this."""
        known = _steps_of(self.old)
        was = next((before for before, after in self.renames.items() if after == name), name)
        return was if name not in known and was in known else name

    def _table(
        self, new: StateLayout, old: Mapping[str, StateLayout], said: Sequence[MigrationFacts], since: str
    ) -> TableVerdict:
        was = old.get(new.part)
        if was is None:
            return _beside(new, old, since)
        own = [one for one in said if one.table in ("", new.part, _leader(new.part))]
        given = {name: text for one in reversed(own) for name, text in one.columns.items()}
        keeps = [one for one in own if one.keep]
        lacks = _whole(was, new)
        columns: list[ColumnVerdict] = []
        if was.operator == new.operator and was.kind == new.kind:
            columns, more = match_columns(was, new, given)
            lacks += more
        verdict = TableVerdict(
            new.step, new.table, new.part, "same", was.step, was.table, (*_keys(was, new), *columns), since=since
        )
        verdict = replace(verdict, old=was, new=new, notes=tuple(_notes(was, new)))
        needed = [lack for lack in lacks if not (lack.weight == "meaning" and keeps)]
        if not needed:
            self.used += keeps if lacks else []
            self.used += [one for one in own if one.columns and any(column.default for column in columns)]
            return replace(
                verdict,
                outcome=_outcome(verdict, kept=bool(lacks)),
                reasons=tuple(lack.reason for lack in lacks),
            )
        reasons = tuple(lack.reason for lack in needed)
        for one in own:
            if one.table == new.part and (one.function is not None or (one.reset and new.part)):
                self.used.append(one)
                outcome: Outcome = "reset-by-author" if one.reset else "migrated-by-author"
                notes = (*verdict.notes, f"by {one.function}()") if one.function else verdict.notes
                return replace(verdict, outcome=outcome, reasons=reasons, notes=notes)
        return replace(verdict, outcome="refused", reasons=reasons, hint=_lines(was, new, needed, since))


def _follows(part: str) -> bool:
    """Whether a table holds only what belongs to the rows of its step's own table."""
    return part.startswith("members:") or part == "processing"


def _leader(part: str) -> str:
    """The table whose rows these are too."""
    return "left" if part == "waiting" else part


def _is_taken(part: str, found: Sequence[TableVerdict]) -> bool:
    return any(table.old is not None and table.old.part == part for table in found)


def _added(new: StateLayout, note: str = "starts empty") -> TableVerdict:
    return TableVerdict(new.step, new.table, new.part, "added", notes=(note,), new=new)


def _beside(new: StateLayout, old: Mapping[str, StateLayout], since: str) -> TableVerdict:
    """A table that the step had not: it starts empty, unless the step is another kind of step now."""
    other = next(iter(old.values()))
    if other.operator == new.operator:
        return _added(new, "rows that came before are not in it")
    (lack,) = _whole(other, new)
    hint = f'flow.migrate("{new.step}", reset=True, since="{since}")  # the whole step begins empty'
    return TableVerdict(
        new.step, new.table, new.part, "refused", other.step, reasons=(lack.reason,), hint=hint, since=since, new=new
    )


def _dropped(old: StateLayout) -> TableVerdict:
    note = "is not taken along"
    return TableVerdict("", "", old.part, "dropped", old.step, old.table, notes=(note,), old=old)


def _following(new: StateLayout, found: Sequence[TableVerdict], old: Mapping[str, StateLayout]) -> TableVerdict:
    """Members of a set, or timers by the clock: they go with the rows that they belong to."""
    main = next((table for table in found if not table.part), None)
    if main is None or main.outcome == "added":
        return _added(new)
    was = old.get(new.part)
    if new.part != "processing":
        count = new.part.partition(":")[2]
        column = next((one for one in main.columns if one.name == count), None)
        was = None if column is None or column.change == "added" else old.get(f"members:{column.old_name}")
    if was is None:
        return replace(_added(new), outcome="refused" if main.outcome == "refused" else "added")
    columns, _ = match_columns(was, new, {})
    verdict = TableVerdict(
        new.step, new.table, new.part, "same", was.step, was.table, (*_keys(was, new), *columns), since=main.since
    )
    verdict = replace(verdict, old=was, new=new, notes=tuple(_notes(was, new)))
    lacks = _whole(was, new)
    if main.outcome in ("refused", "migrated-by-author"):
        return replace(verdict, outcome=main.outcome, reasons=(f"it belongs to the rows of {main.table}",))
    if lacks:
        hint = _lines(was, new, [replace(lack, weight="structure") for lack in lacks], main.since)
        return replace(verdict, outcome="refused", reasons=tuple(lack.reason for lack in lacks), hint=hint)
    return replace(verdict, outcome=_outcome(verdict, kept=False))


def _keys(old: StateLayout, new: StateLayout) -> list[ColumnVerdict]:
    found = []
    for was, column in zip(old.key, new.key, strict=False):
        change: Any = "same" if was.dtype == column.dtype else "widened"
        types = ("", "") if change == "same" else (type_text(was.dtype), type_text(column.dtype))
        found.append(ColumnVerdict(column.name, was.name, column.shown, change, "", *types))
    return found


def _whole(old: StateLayout, new: StateLayout) -> list[Lack]:
    """What does not fit in the table as a whole: its operator, its key, what all rows hang on."""
    if old.operator != new.operator or old.kind != new.kind:
        return [Lack("structure", f"the step was {_article(old.operator)}, it is {_article(new.operator)} now")]
    lacks = []
    before, after = ([column.name for column in layout.key] for layout in (old, new))
    if before != after:
        lacks.append(Lack("structure", f"its key was {', '.join(before)}, it is {', '.join(after)} now"))
    else:
        lacks += [
            Lack(
                "structure",
                f"key {column.name!r} was {type_text(was.dtype)}, and {type_text(column.dtype)} does not hold all of "
                "its values",
            )
            for was, column in zip(old.key, new.key, strict=True)
            if was.dtype != column.dtype and not is_wider(column.dtype, was.dtype)
        ]
    for was, fact in _changed_facts(old, new):
        told = f"{fact.name} was {was.shown}, it is {fact.shown} now"
        if was.if_changed == "structure":
            lacks.append(Lack("structure", told))
        elif was.if_changed == "meaning":
            lacks.append(Lack("meaning", told))
        elif was.if_changed == "grows" and fact.value > was.value:
            lacks.append(Lack("meaning", f"{told}: what that needs was not kept so far"))
    return lacks


def _article(operator: str) -> str:
    return f"an {operator}" if operator[0] in "aeiou" else f"a {operator}"


def _changed_facts(old: StateLayout, new: StateLayout) -> list[tuple[StateFact, StateFact]]:
    pairs = [(was, fact) for fact in new.facts if (was := old.fact(fact.name)) is not None]
    return [(was, fact) for was, fact in pairs if was.value != fact.value]


def _notes(old: StateLayout, new: StateLayout) -> list[str]:
    notes = []
    for was, fact in _changed_facts(old, new):
        told = f"{fact.name} was {was.shown}, it is {fact.shown} now"
        if was.if_changed == "time":
            notes.append(f"{told}: {_retimed(was, fact)}")
        elif was.if_changed == "grows" and fact.value < was.value:
            notes.append(f"{told}: what goes beyond goes from the state; what was written of it stays")
        elif was.if_changed == "nothing":
            notes.append(told)
    return notes


def _retimed(was: StateFact, fact: StateFact) -> str:
    if was.value is None:
        return "rows that are there get a time when they are touched next"
    if fact.value is None:
        return "rows that are there stay"
    return "rows that are there go " + ("later" if fact.value > was.value else "sooner") + "; those that went are gone"


def _outcome(verdict: TableVerdict, *, kept: bool) -> Outcome:
    """The gravest of what becomes of a table that fits."""
    changes = {column.change for column in verdict.columns}
    if kept:
        return "kept-by-author"
    if changes & {"added", "retyped"}:
        return "column-added"
    if "widened" in changes:
        return "widened"
    old, new = verdict.old, verdict.new
    if old is not None and new is not None and _is_retimed(old, new):
        return "retimed"
    if "dropped" in changes:
        return "column-dropped"
    return "renamed" if verdict.table != verdict.old_table else "same"


def _is_retimed(old: StateLayout, new: StateLayout) -> bool:
    shrinks = any(was.if_changed == "grows" for was, _ in _changed_facts(old, new))
    times = [(one.expires, one.expires_base, one.expires_after_us) for one in (old, new)]
    return shrinks or times[0] != times[1]


def _lines(old: StateLayout, new: StateLayout, needed: Sequence[Lack], since: str) -> str:
    """What an author may write, one possibility a line."""
    place = f'"{new.step}"' + (f', table="{new.part}"' if new.part else "")
    told = f', since="{since}")'
    reset = f'flow.migrate("{new.step}", reset=True{told}  # the whole step begins empty'
    if _follows(new.part):
        return reset
    columns = list(dict.fromkeys(name for lack in needed for name in lack.columns))
    given = ", ".join(f'"{name}": None' for name in columns)
    weights = {lack.weight for lack in needed}
    keep = ", keep=True" if "meaning" in weights else ""
    lines = []
    if "structure" not in weights and "column" in weights:
        lines.append(f"flow.migrate({place}, columns={{{given}}}{keep}{told}  # nothing yet, or another value")
    elif "structure" not in weights:
        lines.append(f"flow.migrate({place}{keep}{told}  # go on with what was kept so far")
        if columns:
            lines.append(f"flow.migrate({place}, columns={{{given}}}{told}  # begin these anew")
    before, after = (", ".join(_shown_columns(layout)) for layout in (old, new))
    function = f"@flow.migrate({place}{told}  # on a function: DataFrame of ({before}) -> ({after})"
    return "\n".join([*lines, reset, function])


def _shown_columns(layout: StateLayout) -> list[str]:
    """The columns that the author's function meets."""
    return [column.shown for column in layout.columns] + (["__expires"] if layout.expires else [])


def _shown_call(said: MigrationFacts) -> str:
    what = [f"columns={sorted(said.columns)}"] if said.columns else []
    what += ["keep=True"] if said.keep else []
    what += ["reset=True"] if said.reset else []
    what += [f"function {said.function}"] if said.function else []
    table = f", table={said.table!r}" if said.table else ""
    return f"migrate({said.step!r}{table}): {', '.join(what)}"
