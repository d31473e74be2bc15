"""Catches what a process of a flow says. Imported by every such process, so it loads nothing that only readers need."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.clock import Clock
from penstock.connect import resolved_secrets
from penstock.control.project import Environment, Project
from penstock.observe import Identity, JournalWriter, LogCapture, Quota

__all__ = ["caught_logs", "log_folder"]


def log_folder(environment: Environment) -> Path:
    """Where the logs of an environment are: a folder for each flow."""
    return environment.folder / "logs"


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
