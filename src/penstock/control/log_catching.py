"""Catches what a process of a flow says, and makes files of it where no server is there to do so."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from penstock.clock import Clock
from penstock.connect import resolved_secrets
from penstock.control.log_settings import LogPolicy
from penstock.control.project import Environment, Project
from penstock.observe import FlowLogs, Identity, JournalWriter, LogCapture, LogRetention, Quota, compact

__all__ = ["caught_logs", "filed_logs", "log_folder", "retention_of"]

_LEAST_JOURNALS = 8
"""A flow that runs often and says little need not write a file each time."""


def log_folder(environment: Environment) -> Path:
    """Where the logs of an environment are: a folder for each flow."""
    return environment.folder / "logs"


def retention_of(policy: LogPolicy) -> LogRetention:
    """How long entries stay."""
    return LogRetention(round(policy.keep_s * 1e6), policy.max_bytes)


@contextmanager
def caught_logs(
    project: Project,
    environment: Environment,
    flow: str,
    *,
    worker: str,
    clock: Clock,
    version: str = "",
    root: Path | None = None,
) -> Iterator[LogCapture]:
    """Inside, what this process says is kept as the flow's log; the error that ends it is its last entry.

    `root`: of the code, so that its files are named from there. Records of `logging` are taken from `attach` on. Where
    this is not the main thread, what that one prints is left alone: it speaks to a person.
    """
    policy = project.logs
    journal = JournalWriter(
        log_folder(environment) / flow,
        Identity(project.name, flow, environment.name, version, worker),
        quota=Quota(policy.lines_per_s, policy.burst),
        clock=clock,
    )
    beside_main = threading.current_thread() is not threading.main_thread()
    with LogCapture(
        journal,
        secrets=resolved_secrets,
        root=root or project.root,
        level=policy.level,
        but_main_thread=beside_main,
        clock=clock,
    ) as caught:
        try:
            yield caught
        except BaseException as error:
            caught.failed(error)
            raise


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
