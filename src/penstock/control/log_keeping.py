"""Makes files of what was logged: as one of the duties of a server, or at the end of a run without one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread, get_native_id

from penstock.clock import Clock
from penstock.control.log_catching import log_folder
from penstock.control.log_settings import LogPolicy
from penstock.control.project import Environment, Project
from penstock.control.supervising.crew import Crew
from penstock.errors import ConnectorError
from penstock.observe import FlowLogs, LogRetention, compact, compact_all

__all__ = ["LogKeeper", "filed_logs", "retention_of"]

_EVERY_S = 5.0
_NICE = 10
_SETTLE_US = 2_000_000
"""Who follows a log reads its journals; they stay for as long as such a one may need to see them."""
_LEAST_JOURNALS = 8
"""A flow that runs often and says little need not write a file each time."""


def retention_of(policy: LogPolicy) -> LogRetention:
    """How long entries stay."""
    return LogRetention(round(policy.keep_s * 1e6), policy.max_bytes)


@contextmanager
def filed_logs(project: Project, environment: Environment, flow: str, clock: Clock) -> Iterator[None]:
    """At the end make files of the journals of a flow, where there are enough of them.

    What can't be done now is left to the next one: journals can be asked as well as files can.
    """
    try:
        yield
    finally:
        logs = FlowLogs(log_folder(environment) / flow)
        if logs.folder.is_dir():
            with suppress(OSError):
                compact(logs, clock, retention_of(project.logs), least_journals=_LEAST_JOURNALS)


class LogKeeper:
    """One environment's (`penstock.control.Duty`). It works in a thread of its own, one pass at a time."""

    def __init__(self, project: Project, environment: Environment, clock: Clock) -> None:
        self._folder = log_folder(environment)
        self._retention = retention_of(project.logs)
        self._clock = clock
        self._began_s = -1e9
        self._pass: Thread | None = None
        self._failed: OSError | None = None

    def step(self, crew: Crew | None = None) -> bool:
        """Begin a pass where it is time for one. Raises ConnectorError where the last one found no room on the disk."""
        now_s = self._clock.stopwatch_s()
        if now_s - self._began_s < _EVERY_S or (self._pass is not None and self._pass.is_alive()):
            return False
        self._began_s = now_s
        self._pass = Thread(target=self._work, name="penstock-logs", daemon=True)
        self._pass.start()
        failed, self._failed = self._failed, None
        if failed is not None:
            raise ConnectorError(
                f"logs can't be made into files: {failed}",
                state_left="they stay in their journals, and can be asked there",
                hint=f"free space on the disk of {self._folder}",
            )
        return False

    def _work(self) -> None:
        with suppress(OSError):  # flows first; Linux weighs threads one by one
            os.setpriority(os.PRIO_PROCESS, get_native_id(), _NICE)
        try:
            compact_all(self._folder, self._clock, self._retention, settle_us=_SETTLE_US)
        except OSError as error:
            self._failed = error
