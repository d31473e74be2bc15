"""What requests may say, and how each is refused, as pydantic models: FastAPI checks the one and describes both in the
OpenAPI document.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "REFUSALS",
    "Answer",
    "Ask",
    "Body",
    "DeploymentAsk",
    "Name",
    "Refusal",
    "ScheduleAsk",
    "StartAsk",
    "TimeUs",
    "Whole",
]

Whole: TypeAlias = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]
"""A number that the ledger can look for: an epoch, a dead letter."""
TimeUs: TypeAlias = Annotated[int, Field(ge=0, lt=1 << 55, description="microseconds since 1970")]
Name: TypeAlias = Annotated[str, Field(max_length=200)]


class Body(BaseModel):
    """What a request says. JSON that can't be written again, as Infinity and halves of characters, is refused."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _is_json(cls, given: Any) -> Any:
        if isinstance(given, dict):
            json.dumps(given, ensure_ascii=False, allow_nan=False).encode()  # raises ValueError, which pydantic tells
        return given


class Ask(Body):
    """Who asks, and why; kept with what they asked for."""

    who: str = Field(default="", max_length=200)
    why: str = Field(default="", max_length=10_000)


class StartAsk(Ask):
    """How a flow is to run. What is left out stays as it is."""

    version: Name | None = None
    retry: bool = False
    standby: bool | None = None
    memory_bytes: int | None = Field(default=None, gt=0, lt=1 << 63)
    hang_after_s: float | None = Field(default=None, gt=0, le=1e9)


class ScheduleAsk(Ask):
    """When a flow is to run. `cron` None: by the clock no more."""

    cron: Name | None
    catch_up: Name = "last"
    zone: Name = "UTC"


class DeploymentAsk(Ask):
    """A handover. `kind`: deploy, rollback, undo or replay; the other keys are those of the command line's options."""

    kind: Name
    version: Name | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class Answer(Ask):
    """What somebody says to a deployment."""


class Fault(BaseModel):
    """What is wrong: `penstock.errors.PenstockError.as_dict`. `start`, `end`: which characters of a query."""

    code: str
    message: str
    heals: bool
    hint: str | None
    flow: str | None = None
    step: str | None = None
    epoch: int | None = None
    state_left: str | None = None
    start: int | None = None
    end: int | None = None


class Refusal(BaseModel):
    """The body of every answer that is none."""

    error: Fault


REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Refusal, "description": "It is wrong, not there, not allowed, or otherwise now: see the code."},
    "503": {"model": Refusal, "description": "It can't be done now; later it may."},
}
"""What each route may answer beside what was asked for."""
