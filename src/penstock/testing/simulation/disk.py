"""The folder of the state as a run has it: full at times, torn by a crash, and rotten here and there."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from penstock.clock import Random
from penstock.ledger import LocalStateStore
from penstock.testing.simulation.chance import Killed

__all__ = ["Damage", "FaultyStore", "Keeper"]


class Keeper(Protocol):
    """The process that a store works for."""

    name: str

    def point(self, name: str, epoch: int = 0) -> None:
        """Come to a point, at which it may be frozen or die."""
        ...

    def fails(self, kind: str) -> bool:
        """Whether the disk fails now: `full`, or `torn`, which is the end of the process."""
        ...

    def die(self, why: str) -> Killed:
        """The end of the process, to be raised."""
        ...


class FaultyStore(LocalStateStore):
    """The real store, whose writes may fail half-way. `tidy` is as for the processes of a server."""

    def __init__(self, folder: Path, keeper: Keeper, *, flow: str) -> None:
        super().__init__(folder, flow=flow, tidy=False, owner=keeper.name)
        self._keeper = keeper

    def _put(self, file: str, pieces: Sequence[bytes | memoryview], epoch: int) -> None:
        self._keeper.point("state-write", epoch)
        if self._keeper.fails("full"):
            super()._put(file, _Failing(pieces, lambda: OSError(errno.ENOSPC, "No space left on device")), epoch)
        elif self._keeper.fails("torn"):
            whole = b"".join(pieces)
            (self.folder / f"{file}.{epoch:08d}.tmp").write_bytes(whole[: len(whole) // 2])
            raise self._keeper.die(f"while it wrote the state of epoch {epoch}")
        else:
            super()._put(file, pieces, epoch)
        self._keeper.point("state-there", epoch)


class _Failing(Sequence[bytes | memoryview]):
    """Pieces of a file that end in an error half-way."""

    def __init__(self, pieces: Sequence[bytes | memoryview], error: Callable[[], OSError]) -> None:
        self._pieces = pieces
        self._error = error

    def __iter__(self) -> Iterator[bytes | memoryview]:
        yield from list(self._pieces)[: len(self._pieces) // 2]
        raise self._error()

    def __len__(self) -> int:
        return len(self._pieces)

    def __getitem__(self, index: int | slice) -> bytes | memoryview:  # type: ignore[override]
        return self._pieces[index]  # type: ignore[return-value]


class Damage:
    """What was done to files, so that it can be put right again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._before: dict[str, bytes] = {}
        self.ever: set[str] = set()
        """The files that were damaged at any time: a process may tell late of what it met."""

    @property
    def files(self) -> list[str]:
        """The files that are damaged now."""
        return sorted(self._before)

    def strike(self, files: Sequence[str], chance: Random) -> str | None:
        """Damage one of these files; gives what was done, None where none of them is there whole."""
        there = [file for file in sorted(files) if file not in self._before and (self._folder / file).is_file()]
        if not there:
            return None
        name = chance.choice(there)
        file = self._folder / name
        data = file.read_bytes()
        self._before[name] = data
        self.ever.add(name)
        kind = chance.choice(("flipped a bit of", "cut", "lost", "lengthened"))
        place = chance.randrange(len(data))
        if kind == "lost":
            file.unlink()
        elif kind == "cut":
            file.write_bytes(data[:place])
        elif kind == "lengthened":
            file.write_bytes(data + data[place:])
        else:
            file.write_bytes(data[:place] + bytes([data[place] ^ (1 << chance.randrange(8))]) + data[place + 1 :])
        return f"{kind} {name}"

    def mend(self, names: Sequence[str]) -> None:
        """Bring files back as from a backup, also those that were lost."""
        for name in set(names) & self._before.keys():
            (self._folder / name).write_bytes(self._before.pop(name))
