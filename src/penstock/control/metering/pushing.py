"""Whether and where metrics are sent on, by `[metrics.otlp]` of penstock.toml."""

from __future__ import annotations

from penstock.clock import Clock
from penstock.connect import resolve
from penstock.control.metering.sampling import Push
from penstock.control.project import Environment, Project
from penstock.observe import OtlpPush, header_values

__all__ = ["otlp_push"]


def otlp_push(project: Project, environment: Environment, clock: Clock) -> Push | None:
    """What sends them; None where nobody asked for it. Raises ConfigError."""
    policy = project.metrics.otlp
    if policy is None:
        return None
    return OtlpPush(
        resolve(policy.endpoint, environment.root),
        headers=header_values(resolve(policy.headers, environment.root)),
        about={"penstock.project": environment.project, "deployment.environment.name": environment.name},
        clock=clock,
    )
