"""The base of what is written and read back."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A pydantic model that does not change, and in which an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
