"""`spec.network`: what the ranks talk over."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .base import ApiModel, Rule, rules
from .scalars import Quantity

NCCL_ENV = "must be NCCL_* or TORCH_NCCL_* variables; set others in the template's container `trainer`"


class Nccl(ApiModel):
    """Settings of NCCL, the library of collectives between GPUs."""

    socket_interface: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """NCCL_SOCKET_IFNAME, for instance `eth0` or `^docker,lo`. Gloo gets it too when it is one plain name."""
    debug: Literal["VERSION", "WARN", "INFO", "TRACE"] | None = None
    """NCCL_DEBUG."""
    env: dict[str, Annotated[str, Field(max_length=1024)]] = Field(
        default_factory=dict,
        max_length=64,
        json_schema_extra=rules(Rule("self.all(k, k.startsWith('NCCL_') || k.startsWith('TORCH_NCCL_'))", NCCL_ENV)),
    )
    """More NCCL_* and TORCH_NCCL_* variables."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not all(key.startswith(("NCCL_", "TORCH_NCCL_")) for key in self.env):
            raise ValueError(f"env {NCCL_ENV}")
        return self


class Network(ApiModel):
    """What the ranks talk over."""

    shared_memory: Quantity | None = None
    """Size of /dev/shm, a memory volume that counts against the container's memory limit. Default: half that limit."""
    nccl: Nccl = Nccl()
    policy: Literal["Isolated", "Open"] = "Isolated"
    """Isolated: a NetworkPolicy lets only the job's own pods and the operator connect to them. Open: none is
    made, and the one that was made before is deleted."""
