"""The bytes of a file from a place on, plain or decompressed. Never mapped: a file that shrinks gives no signal."""

from __future__ import annotations

import os
import threading
import zlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Protocol

import zstandard

from penstock.errors import ConnectorError

__all__ = ["FileBytes", "open_bytes"]

PACKED_STEP = 16 * 1024
"""Compressed bytes that are unpacked at once: even a file made to explode stays within memory."""


class FileBytes(ABC):
    """Random access to what a file says. The file is closed with the last reference to it."""

    @abstractmethod
    def read(self, place: int, size: int) -> bytes:
        """Up to `size` bytes from `place`; fewer only at the end. Raises ConnectorError where the disk fails."""

    @abstractmethod
    def reach(self, limit: int) -> int:
        """The end of the data, or `limit` where there is more."""

    @abstractmethod
    def keep_from(self, place: int) -> None:
        """What lies before `place` will hardly be asked again."""

    @property
    def damage(self) -> ConnectorError | None:
        """Why the data ends early, where it does and that is known by now."""
        return None

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


def open_bytes(path: Path, compression: str | None) -> FileBytes:
    """Open a file. Raises ConnectorError where it is not there or may not be read."""
    try:
        return PlainBytes(path) if compression is None else UnpackedBytes(path, compression)
    except OSError as error:
        raise ConnectorError(f"can't read {path}: {error.strerror}") from error


class PlainBytes(FileBytes):
    """A file as it is."""

    def read(self, place: int, size: int) -> bytes:
        """Up to `size` bytes from `place`."""
        try:
            found = os.pread(self._descriptor, size, place)
            if len(found) == size or not found:
                return found
            parts, have = [found], len(found)
            while have < size and (more := os.pread(self._descriptor, size - have, place + have)):
                parts.append(more)
                have += len(more)
            return b"".join(parts)
        except OSError as error:
            raise ConnectorError(f"can't read {self._path} at byte {place}: {error.strerror}") from error

    def reach(self, limit: int) -> int:
        """The length of the file now, `limit` at most."""
        return min(limit, os.fstat(self._descriptor).st_size)

    def keep_from(self, place: int) -> None:
        """Nothing is kept."""


class _Unpacker(Protocol):
    """What zlib's and zstandard's decompression objects have in common: they end with their frame."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


class UnpackedBytes(FileBytes):
    """A gzip or zstd file, unpacked from its start on; going back behind what is kept starts again."""

    def __init__(self, path: Path, compression: str) -> None:
        super().__init__(path)
        self._compression = compression
        self._lock = threading.Lock()
        self._restart()

    def read(self, place: int, size: int) -> bytes:
        """Up to `size` unpacked bytes from `place`."""
        with self._lock:
            self._unpack(place, place + size)
            begin = place - self._begin
            return bytes(memoryview(self._window)[begin : begin + size])

    def reach(self, limit: int) -> int:
        """The unpacked length, `limit` where there is more; unpacks up to there."""
        with self._lock:
            self._unpack(min(self._keep, limit), limit)
            return min(limit, self._begin + len(self._window))

    def keep_from(self, place: int) -> None:
        """Let go of what is before `place`."""
        with self._lock:
            self._keep = place

    @property
    def damage(self) -> ConnectorError | None:
        """Why the data ends before its end."""
        return self._damage

    def _restart(self) -> None:
        self._begin = 0
        """Place of the first byte of the window."""
        self._window = bytearray()
        self._keep = 0
        self._packed_place = 0
        self._frame = self._unpacker()
        self._frame_begun = False
        self._finished = False
        self._damage: ConnectorError | None = None

    def _unpacker(self) -> _Unpacker:
        if self._compression == "gzip":
            return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        return zstandard.ZstdDecompressor().decompressobj()

    def _unpack(self, place: int, end: int) -> None:
        """Make the window hold place..end."""
        if place < self._begin:
            self._restart()
        while not self._finished and self._begin + len(self._window) < end:
            packed = os.pread(self._descriptor, PACKED_STEP, self._packed_place)
            self._packed_place += len(packed)
            try:
                self._feed(packed)
            except (zlib.error, zstandard.ZstdError) as error:
                self._ends_early(str(error))
            if not packed and not self._finished:
                self._finished = True
                if self._frame_begun:
                    self._ends_early("it was cut off")
            surplus = min(place, self._keep) - self._begin
            if surplus > 0:
                surplus = min(surplus, len(self._window))
                del self._window[:surplus]
                self._begin += surplus

    def _feed(self, packed: bytes) -> None:
        """Unpack some bytes; a file may be several frames (gzip: members), one after the other."""
        while packed:
            if self._frame.eof:
                self._frame = self._unpacker()
                self._frame_begun = False
            if not self._frame_begun and self._compression == "gzip":
                packed = packed.lstrip(b"\0")  # padding between and after members
                if not packed:
                    return
            self._frame_begun = True
            self._window += self._frame.decompress(packed)
            packed = self._frame.unused_data if self._frame.eof else b""
            self._frame_begun = not self._frame.eof

    def _ends_early(self, why: str) -> None:
        self._finished = True
        good = self._begin + len(self._window)
        self._damage = ConnectorError(
            f"{self._path} is damaged: its {self._compression} data ends after {good} good bytes ({why})",
            state_left="every whole row before that was taken",
            hint="put a whole copy of the file in its place",
        )
