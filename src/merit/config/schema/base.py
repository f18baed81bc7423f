"""Base classes and shared types of the configuration schema."""

import math
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

OUTPUT_NAME = "prediction"
"""The name of the output of a model's graph."""

Share = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(gt=0)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """A section of the lock: frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Component(BaseModel):
    """An object built from configuration: `_target_` names its class, the other keys are its arguments."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    target: str = Field(alias="_target_")
    """The class to build, as package.module.Class; the keys beside it are its arguments."""

    @model_validator(mode="after")
    def _check_finite(self) -> "Component":
        for name, value in self.arguments.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} is {value}; it must be a finite number")
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments that conf/ gives to the class."""
        return dict(self.model_extra or {})
