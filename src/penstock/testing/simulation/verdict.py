"""What has to hold once a run is over, whatever happened on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import polars as pl

from penstock.connect import Change
from penstock.errors import PenstockError
from penstock.ledger import EpochRecord, LocalStateStore, TableImage
from penstock.testing.simulation.lines import Lines
from penstock.testing.simulation.sinks import Target
from penstock.testing.simulation.versions import multiset
from penstock.testing.simulation.world import World

__all__ = ["judge"]

_DELETED = "__deleted"


def judge(world: World, targets: Mapping[str, Target]) -> list[str]:
    """What does not hold, in words; empty where all is well."""
    records = list(world.ledger.epochs(world.flow))
    lines = Lines(world.versions, world.clock, records)
    try:
        found = [*_ledger(world, records), *_sinks(world, records)]
        if not found:
            found += [*_epochs(world, records, lines), *_state(world, records, lines), *_letters(world, records)]
            found += _tables(world, records, lines, targets)
            found += _files(world)
    except PenstockError as error:
        found = [f"what the epochs should have given can't be worked out: {error}"]
    finally:
        lines.close()
    return found


def _ledger(world: World, records: list[EpochRecord]) -> Iterator[str]:
    """Epochs without gaps, each input row in one of them, commits of one generation after the other."""
    if [record.epoch for record in records] != list(range(1, len(records) + 1)):
        yield f"the epochs in the ledger are {[record.epoch for record in records]}"
    at: dict[str, dict[str, int]] = {name: {} for name in world.inputs}
    for record in records:
        version = world.versions.named(record.version)
        for step, entry in record.plan.ranges.items():
            if step not in version.inputs:
                version = next(one for one in world.versions.all if step in one.inputs)
            name = version.inputs[step]
            begin = {part: place for part, place in entry["start"].items() if place}
            if begin != at[name]:
                yield f"epoch {record.epoch} begins {name} at {begin}, the one before ended it at {at[name]}"
            at[name] = {part: place for part, place in entry["end"].items() if place}
    for name, given in world.inputs.items():
        if sum(at[name].values()) != given.rows:
            yield f"{given.rows} rows were in {name}, the epochs end at {at[name]}"
    generations = [generation for _, generation in world.commits]
    if generations != sorted(generations):
        yield f"commits of several generations stand between each other: {world.commits}"


def _sinks(world: World, records: list[EpochRecord]) -> Iterator[str]:
    """No sink took anything of a generation after it had taken something of a higher one; the last word is right."""
    highest: dict[str, int] = {}
    wrote: dict[tuple[str, int], int] = {}
    for written in world.taken:
        if written.generation < highest.get(written.table, 0):
            yield f"{written.table} took {written} after generation {highest[written.table]}"
        highest[written.table] = max(highest.get(written.table, 0), written.generation)
        for epoch in range(written.epoch, (written.upto or written.epoch) + 1):
            wrote[written.table, epoch] = written.generation
    by = {record.epoch: record.generation for record in records}
    for (table, epoch), generation in wrote.items():
        if epoch in by and by[epoch] < generation:
            yield f"{table} holds epoch {epoch} of generation {generation}, the ledger says {by[epoch]}"


def _epochs(world: World, records: list[EpochRecord], lines: Lines) -> Iterator[str]:
    """What each record says is what its plan gives."""
    for record in records:
        line = world.owners[record.epoch]
        if line.version.name != record.version:
            yield f"epoch {record.epoch} is of {record.version}, and {line} committed it"
        right = lines.computed(line, record.epoch)
        said = {
            "rows in": (record.rows_in, right.rows_in),
            "rows out": (record.rows_out, {name: change.rows.height for name, change in right.changes.items()}),
            "rows late": (record.rows_late, right.rows_late),
            "rows dead": (record.rows_dead, right.rows_dead),
            "watermark": (record.watermark_us, right.watermark_us),
        }
        for what, (is_, should) in said.items():
            if is_ != should:
                yield f"epoch {record.epoch} by {line}: {what} are {is_}, should be {should}"


def _state(world: World, records: list[EpochRecord], lines: Lines) -> Iterator[str]:
    """The state in the ledger is that of its line, from scratch."""
    if not records or world.live is None:
        return
    segments = world.ledger.segments(world.flow)
    upto = max((ref.last for ref in segments), default=0)
    found = LocalStateStore(world.state_folder, tidy=False).load(segments)
    right = lines.state(world.live, max(records[-1].epoch, upto))
    yield from _difference(found, right, f"the state of {world.live}")


def _difference(found: Mapping[str, TableImage], right: Mapping[str, TableImage], what: str) -> Iterator[str]:
    for name in sorted({*found, *right}):
        rows, should = (_rows(images.get(name)) for images in (found, right))
        if rows != should:
            more, less = Counter(rows) - Counter(should), Counter(should) - Counter(rows)
            yield f"{what}: table {name} has {dict(more)} too much, and lacks {dict(less)}"


def _rows(image: TableImage | None) -> dict[str, int]:
    return {} if image is None or not image.rows.width else multiset(image.rows)


def _letters(world: World, records: list[EpochRecord]) -> Iterator[str]:
    """Each dead letter got another try once at most, and its status says so."""
    letters = world.ledger.dead_letters(world.flow, limit=100_000)
    tried: Counter[int] = Counter(entry["letter"] for record in records for entry in record.plan.redrive)
    for letter in letters:
        times = tried[letter.id or 0]
        if times > 1:
            yield f"dead letter {letter.id} got another try in {times} epochs"
        if letter.status != "undone" and (letter.status == "redriven") != (times == 1):
            yield f"dead letter {letter.id} is {letter.status}, and in {times} plans"
    there = Counter(letter.epoch for letter in letters if letter.status != "undone")
    for record in records:
        if there[record.epoch] != record.rows_dead:
            yield f"epoch {record.epoch} has {there[record.epoch]} dead letters, and says {record.rows_dead}"


def _tables(world: World, records: list[EpochRecord], lines: Lines, targets: Mapping[str, Target]) -> Iterator[str]:
    """Each table holds what its epochs give, one after the other."""
    for table, target in targets.items():
        changes = []
        for record in records:
            line = world.owners[record.epoch]
            right = lines.computed(line, record.epoch).changes
            changes += [change for step, change in right.items() if line.version.tables[step] == table]
        rows, should = multiset(target.read()), multiset(_after(changes, target.dataset.key))
        if rows != should:
            more, less = Counter(rows) - Counter(should), Counter(should) - Counter(rows)
            yield f"{table} has {_few(more)} too much, and lacks {_few(less)}"


def _few(rows: Counter[str]) -> str:
    shown = ", ".join(f"{row} x{times}" for row, times in list(rows.items())[:5])
    return f"{sum(rows.values())} rows ({shown})" if rows else "nothing"


def _after(changes: list[Change], key: tuple[str, ...]) -> pl.DataFrame:
    """The table after changes, one after the other."""
    if not changes:
        return pl.DataFrame()
    if not key:
        return pl.concat([change.rows for change in changes], how="diagonal")
    history = []
    for change in changes:
        if change.deleted is not None:
            history.append(change.deleted.select(key).with_columns(pl.lit(value=True).alias(_DELETED)))
        history.append(change.rows.with_columns(pl.lit(value=False).alias(_DELETED)))
    latest = pl.concat(history, how="diagonal").unique(subset=list(key), keep="last", maintain_order=True)
    return latest.filter(~pl.col(_DELETED)).drop(_DELETED)


def _files(world: World) -> Iterator[str]:
    """Every file that the ledger names is there, and no other after somebody tidied up."""
    named = {ref.file for ref in world.ledger.segments(world.flow)}
    kept = [*world.ledger.segments(world.flow)]
    for savepoint in world.ledger.savepoints(world.flow):
        named |= {ref.file for ref in savepoint.segments}
        kept += savepoint.segments
    LocalStateStore(world.state_folder).prune(kept)
    there = {entry.name for entry in world.state_folder.iterdir()}
    if there != named:
        yield f"the state's folder has {sorted(there - named)} too much, and lacks {sorted(named - there)}"
