"""The past of a Delta table: which files were live before an epoch, as if it had never been written."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.connect.delta_files import DeltaFiles
from penstock.connect.delta_log import Action, Commit, DeltaLog, Note, Part, read_commit
from penstock.errors import ConnectorError

__all__ = ["Past", "past"]


@dataclass(frozen=True, slots=True)
class Past:
    """The table before an epoch: its live files, and the last epoch that it held then (-1: none).

    `newest` is what the last commit of an epoch, as of now, says of itself.
    """

    newest: Note | None
    epoch: int
    files: dict[str, Action]


def past(log: DeltaLog, files: DeltaFiles, flow: str, step: str, epoch: int) -> Past:
    """Walk the log back to the commit of ours that left only epochs before `epoch`, and undo what came after it.

    Of a replacement, which is several epochs in one commit, those from `epoch` on are undone. Undone are our own
    commits and those that only arranged files anew; rows that others appended in between are kept. Raises
    ConnectorError where the log or a file is gone, and where others changed or removed rows in between.
    """
    newest: Note | None = None
    before = -1
    undone: list[Commit] = []
    later: list[Commit] = []
    for version in range(log.version, -1, -1):
        commit = read_commit(log.table, version)
        if commit is None:
            forgotten = ConnectorError(
                f"the log of the Delta table {log.table} no longer says what was there before epoch {epoch}",
                hint="an undo reaches back as far as the table's `retention_hours`",
            )
            forgotten.heals = False
            raise forgotten
        later.append(commit)
        note = commit.note(flow, step)
        if note is None or note.epoch is None:
            continue
        newest = newest or note
        if note.epoch < epoch:
            before = note.epoch
            break
        replacement = note.replacement
        if replacement is not None and replacement.first <= epoch:
            kept = [part.epoch for part in replacement.parts if part.epoch < epoch]
            before = kept[-1] if kept else replacement.before
            undone += later[:-1]
            undone += [_alone(commit, part) for part in reversed(replacement.parts) if part.epoch >= epoch]
            break
        undone += later
        later = []
    return Past(newest, before, _reversed(log, files, undone, flow, step))


def _alone(commit: Commit, part: Part) -> Commit:
    """One epoch of a replacement as if it had been a commit of its own."""
    info: Action = {"commitInfo": commit.info}
    adds: list[Action] = [{"add": {"path": path, "dataChange": True}} for path in part.adds]
    removes: list[Action] = [{"remove": {"path": path, "dataChange": True}} for path in part.removes]
    return Commit(commit.version, (info, *adds, *removes))


def _reversed(log: DeltaLog, files: DeltaFiles, undone: list[Commit], flow: str, step: str) -> dict[str, Action]:
    """The live files without these commits, given from the newest to the oldest."""
    live: dict[str, Action] = dict(log.files)
    back: dict[str, Action] = {}
    kept: dict[str, Action] = {}
    for commit in undone:
        if commit.changes_data and commit.note(flow, step) is None:
            if commit.removes:
                changed = ConnectorError(
                    f"the Delta table {log.table} was changed by others in version {commit.version} "
                    f"({commit.info.get('operation', 'unknown operation')}); going back would undo that too",
                    state_left="the table is as it was",
                    hint="take the rows back by hand, or restore the table to before that version",
                )
                changed.heals = False
                raise changed
            kept.update(commit.adds)
            continue
        for path in commit.adds:
            live.pop(path, None)
            back.pop(path, None)
        back.update({path: remove for path, remove in commit.removes.items() if path not in commit.adds})
    for path, remove in back.items():
        if path not in live:
            live[path] = files.restored(path, remove)
    for path, add in kept.items():
        live.setdefault(path, add)
    return live
