"""What requests may say, as pydantic models: FastAPI checks them and describes them in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Answer", "Ask", "DeploymentAsk", "ScheduleAsk", "StartAsk"]


class Ask(BaseModel):
    """Who asks, and why; kept with what they asked for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    who: str = ""
    why: str = ""


class StartAsk(Ask):
    """How a flow is to run. What is left out stays as it is."""

    version: str | None = None
    retry: bool = False
    standby: bool | None = None
    memory_bytes: int | None = Field(default=None, gt=0)
    hang_after_s: float | None = Field(default=None, gt=0)


class ScheduleAsk(Ask):
    """When a flow is to run. `cron` None: by the clock no more."""

    cron: str | None
    catch_up: str = "last"
    zone: str = "UTC"


class DeploymentAsk(Ask):
    """A handover. `kind`: deploy, rollback, undo or replay; the other keys are those of the command line's options."""

    kind: str
    version: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class Answer(Ask):
    """What somebody says to a deployment."""
