"""The environment of a rank: torchrun's contract, and where it finds its launcher."""

from __future__ import annotations

import os
from pathlib import Path

from dtj_api.names import Env
from dtj_trainer.launch.meeting.round import Round
from dtj_trainer.launch.ranks import resolver, stacks
from dtj_trainer.launch.ranks.rank import ERROR_FILE


def rank_environment(
    round: Round,
    local_rank: int,
    incarnation: int,
    run_id: str,
    address: str,
    port: int,
    error_file: Path,
    stack_file: Path,
) -> dict[str, str]:
    """Variables for one rank, on top of the launcher's own.

    Args:
        round: as it was formed.
        local_rank: on this pod.
        incarnation: of the job.
        run_id: of the rendezvous.
        address: of the pod with rank 0.
        port: where rank 0 opens the store of this round's process group.
        error_file: where the rank records its error.
        stack_file: where the rank writes its stacks when it is asked to.
    """
    world = str(round.world_size)
    rank = str(round.first_rank + local_rank)
    return {
        "RANK": rank,
        "LOCAL_RANK": str(local_rank),
        "WORLD_SIZE": world,
        "LOCAL_WORLD_SIZE": str(round.members[round.place].ranks),
        "GROUP_RANK": str(round.place),
        "GROUP_WORLD_SIZE": str(len(round.members)),
        "ROLE_NAME": "default",
        "ROLE_RANK": rank,
        "ROLE_WORLD_SIZE": world,
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
        # Equal on all pods, unlike torchrun's own count.
        "TORCHELASTIC_RESTART_COUNT": str(round.number - 1),
        "TORCHELASTIC_MAX_RESTARTS": "1000000000",
        "TORCHELASTIC_RUN_ID": run_id,
        "TORCHELASTIC_USE_AGENT_STORE": "False",
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": os.environ.get("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1"),
        "RES_OPTIONS": resolver.options(),
        ERROR_FILE: str(error_file),
        stacks.FILE: str(stack_file),
        Env.INCARNATION: str(incarnation),
        Env.ROUND: str(round.number),
    }
