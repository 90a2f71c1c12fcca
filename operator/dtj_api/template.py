"""The pod template: what of it the API server can check, and the same checks for those who read it without a server.

A full PodTemplateSpec in the CRD would cost hundreds of kilobytes and age with every Kubernetes release. So the schema
preserves the template as it is and declares only the fields that rules look at: rules cannot see undeclared ones, and
lists need bounds or the cost estimate of the rules is refused. The rest is checked by the API server itself, when the
operator creates a worker pod as a dry run.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from .base import ApiModel, ManifestError, Rule, read, rules
from .names import RESERVED_ENV, TRAINER_CONTAINER
from .scalars import quantity_bytes

OWN_IMAGE = "dtj-trainer"
"""Name of the built-in trainer's image, which holds a launcher of its own."""
NO_TRAINER = f"no container is named `{TRAINER_CONTAINER}`; name the container that trains `{TRAINER_CONTAINER}`"
RESERVED = (
    "a reserved variable is set; remove it: the operator and torchrun set "
    + ", ".join(RESERVED_ENV[-10:])
    + " and the DTJ_* variables"
)
NO_COMMAND = (
    f"container `{TRAINER_CONTAINER}` has no command; write one, for instance [python, train.py] (the image's own "
    "ENTRYPOINT cannot be seen), or give spec.trainer for the built-in trainer"
)
COMMAND_AND_TRAINER = (
    f"container `{TRAINER_CONTAINER}` has a command or args beside spec.trainer; remove them to run the built-in "
    "trainer, or remove spec.trainer to run the command"
)
SHARED_MEMORY = (
    f"network.sharedMemory is not below the memory limit of container `{TRAINER_CONTAINER}`, against which /dev/shm "
    "counts; lower it or raise the limit"
)

_IS_TRAINER = f"c.name == '{TRAINER_CONTAINER}'"
_TEMPLATE_CONTAINERS = "self.workers.template.spec.containers"
_RESERVED_LIST = "[" + ", ".join(f"'{name}'" for name in RESERVED_ENV) + "]"

RULE_NO_TRAINER = Rule(f"self.exists(c, {_IS_TRAINER})", NO_TRAINER)
RULE_RESERVED = Rule(f"!self.exists(e, e.name in {_RESERVED_LIST})", RESERVED)
RULE_NO_COMMAND = Rule(
    f"has(self.trainer) || {_TEMPLATE_CONTAINERS}.all(c, {_IS_TRAINER} ? has(c.command) && size(c.command) > 0 : true)",
    NO_COMMAND,
    ".workers.template",
)
RULE_COMMAND_AND_TRAINER = Rule(
    f"!has(self.trainer) || {_TEMPLATE_CONTAINERS}.all(c, {_IS_TRAINER} ? !has(c.command) && !has(c.args) : true)",
    COMMAND_AND_TRAINER,
    ".workers.template",
)
RULE_SHARED_MEMORY = Rule(
    f"!has(self.network.sharedMemory) || {_TEMPLATE_CONTAINERS}.all(c, {_IS_TRAINER} && has(c.resources) && "
    "has(c.resources.limits) && has(c.resources.limits.memory) ? "
    "quantity(self.network.sharedMemory).isLessThan(quantity(string(c.resources.limits.memory))) : true)",
    SHARED_MEMORY,
    ".network.sharedMemory",
)


class _Seen(ApiModel):
    """A part of the template of which only some fields are declared. None has a default: nothing is written into it."""

    model_config = ConfigDict(extra="allow", strict=False)


class _Env(_Seen):
    name: str = Field(min_length=1, max_length=128)


class _Limits(_Seen):
    memory: int | Annotated[str, Field(max_length=32)] | None = None


class _Resources(_Seen):
    limits: _Limits = Field(default_factory=_Limits)


class _Container(_Seen):
    name: str = Field(min_length=1, max_length=63)
    command: list[str] = Field(default_factory=list, max_length=1024)
    args: list[str] = Field(default_factory=list, max_length=1024)
    env: list[_Env] = Field(default_factory=list, max_length=256, json_schema_extra=rules(RULE_RESERVED))
    resources: _Resources = Field(default_factory=_Resources)


class _PodSpec(_Seen):
    containers: list[_Container] = Field(
        min_length=1,
        max_length=32,
        json_schema_extra={
            **rules(RULE_NO_TRAINER),
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    )
    restart_policy: Literal["Never"] | None = None


class _Template(_Seen):
    spec: _PodSpec


def _check(raw: Any) -> Any:
    try:
        seen = read(_Template, raw, "template")
    except ManifestError as error:
        raise ValueError("; ".join(line.removeprefix("template.") for line in str(error).splitlines())) from None
    names = [container.name for container in seen.spec.containers]
    if TRAINER_CONTAINER not in names:
        raise ValueError(f"spec.containers: {NO_TRAINER}")
    if len(set(names)) < len(names):
        raise ValueError("spec.containers: two containers have the same name; rename one")
    for container in seen.spec.containers:
        for env in container.env:
            if env.name in RESERVED_ENV:
                raise ValueError(f"spec.containers[{container.name}].env[{env.name}]: {RESERVED}")
    return raw


class _DeclaredSchema:
    """Makes the generated schema that of `_Template`, while the value stays the dict of the manifest."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(_Template.__pydantic_core_schema__)


PodTemplate = Annotated[dict[str, Any], BeforeValidator(_check), _DeclaredSchema()]
"""A PodTemplateSpec as the manifest gave it."""


def trainer_container(template: dict[str, Any]) -> dict[str, Any]:
    """The container that trains, of a template that the models accepted."""
    containers: list[dict[str, Any]] = template["spec"]["containers"]
    return next(each for each in containers if each["name"] == TRAINER_CONTAINER)


def is_own_image(image: str) -> bool:
    """Whether an image is the built-in trainer's, whatever registry and tag it comes with."""
    return re.sub(r"[:@].*$", "", image.rsplit("/", 1)[-1]) == OWN_IMAGE


def command_problem(template: dict[str, Any], built_in: bool) -> str | None:
    """What is wrong between the template's command and spec.trainer, or None.

    Args:
        template: a template that the models accepted.
        built_in: whether the job gives spec.trainer.
    """
    container = trainer_container(template)
    if built_in:
        return COMMAND_AND_TRAINER if "command" in container or "args" in container else None
    return None if container.get("command") else NO_COMMAND


def shared_memory_problem(template: dict[str, Any], shared_memory: str | None) -> str | None:
    """What is wrong with the size of /dev/shm, or None.

    Raises:
        ValueError: the memory limit is not a quantity.
    """
    limit = trainer_container(template).get("resources", {}).get("limits", {}).get("memory")
    if shared_memory is None or limit is None:
        return None
    return None if quantity_bytes(shared_memory) < quantity_bytes(str(limit)) else SHARED_MEMORY


MIN_GRACE_SECONDS = 120
"""Least terminationGracePeriodSeconds of a worker pod: the time that a save at SIGTERM may take."""


def grace_seconds(template: dict[str, Any]) -> int:
    """Seconds that a worker pod has to save and leave: the template's own, raised to at least 120."""
    own = template["spec"].get("terminationGracePeriodSeconds")
    return max(own, MIN_GRACE_SECONDS) if isinstance(own, int) else MIN_GRACE_SECONDS
