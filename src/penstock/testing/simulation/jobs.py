"""What the engine does beside the epoch loop, without threads: a job is done when it is asked for, not before."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

__all__ = ["Jobs"]

T = TypeVar("T")


class _Job(Future[Any]):
    """Done once it was asked for a few times."""

    def __init__(self, work: Callable[[], Any], looks: int) -> None:
        super().__init__()
        self._work: Callable[[], Any] | None = work
        self._looks = looks

    def done(self) -> bool:
        """Whether it is done; now and then it is done by this question."""
        self._looks -= 1
        if self._looks < 0:
            self._run()
        return super().done()

    def result(self, timeout: float | None = None) -> Any:
        """What came of it."""
        self._run()
        return super().result(timeout)

    def _run(self) -> None:
        work, self._work = self._work, None
        if work is None or self.cancelled():
            return
        self.set_result(work())  # what it raises comes out where it was asked for, as from a thread


class Jobs(Executor):
    """Stands for one thread. `looks`: how many times a job says that it is not done yet."""

    def __init__(self, looks: Callable[[], int]) -> None:
        self._looks = looks

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Take a job."""
        return _Job(lambda: fn(*args, **kwargs), self._looks())

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the base's
        """Nothing runs."""
