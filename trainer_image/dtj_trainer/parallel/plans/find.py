"""The plan of a model, and what is asked of it. A new family is a file beside this one, and a name in `PLANS`."""

from __future__ import annotations

from transformers import PreTrainedModel

from dtj_trainer.parallel.plans import bart, bert, distilbert, gpt2, llama, mpnet, t5
from dtj_trainer.parallel.plans.plan import Plan

PLANS = (bert.PLAN, distilbert.PLAN, mpnet.PLAN, t5.PLAN, bart.PLAN, gpt2.PLAN, llama.PLAN)
_BY_TYPE = {kind: plan for plan in PLANS for kind in plan.types}


def plan_of(kind: str) -> Plan | None:
    """The plan for models of a type; None: nobody has made one."""
    return _BY_TYPE.get(kind)


def splittable() -> list[str]:
    """Types of models whose layers can be split."""
    return [kind for kind, plan in _BY_TYPE.items() if not isinstance(plan.split, str)]


def head_of(model: PreTrainedModel) -> set[str]:
    """Names of the parameters that the model has for its task, on top of the pretrained ones.

    An output layer that is the table of input embeddings is none. Of a family without a plan whose model has no base
    model inside, nothing is known to be.
    """
    plan = plan_of(model.config.model_type)
    trunk: tuple[str, ...] = plan.trunk if plan else ()
    if hasattr(model, model.base_model_prefix):
        trunk = (model.base_model_prefix,)
    if not trunk:
        return set()
    return {name for name, _ in model.named_parameters() if name.partition(".")[0] not in trunk}
