"""Requests and limits of the containers that the operator adds to a job."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .base import ApiModel

_AMOUNT = "^[0-9]{1,12}([.][0-9]{1,6})?(m|Ki|Mi|Gi|Ti|k|M|G|T)?$"
Amounts = dict[str, int | Annotated[str, Field(pattern=_AMOUNT, min_length=1, max_length=24)]]
"""By name of the resource; `500m` is half a CPU."""


class Resources(ApiModel):
    """Requests and limits by name, such as cpu and memory; a name that is left out keeps the operator's own amount."""

    requests: Annotated[Amounts, Field(max_length=16)] = Field(default_factory=dict)
    limits: Annotated[Amounts, Field(max_length=16)] = Field(default_factory=dict)
