"""Work beside the epoch loop: reading ahead, merging state files. One thread each; a test gives something else."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeAlias

__all__ = ["Background", "one_thread"]

Background: TypeAlias = Callable[[str], Executor]
"""From a name for people to what runs jobs, one after the other."""


def one_thread(name: str) -> Executor:
    """A thread of its own, which begins with the first job."""
    return ThreadPoolExecutor(1, thread_name_prefix=name)
