"""A script of the user's, as its container in the manifest starts it, on this machine.

The image is not used: the command runs in the environment that `dtj` is installed in, from the manifest's working
directory where that is here. What a ConfigMap of the same file mounts is written out, and paths below the mount lead
there.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtj_api.template import trainer_container
from dtj_trainer.cli.manifest import Job
from dtj_trainer.cli.mounts import Mounts, mounts_of
from dtj_trainer.launch.ranks.shell_text import SHELLS, behind_options
from dtj_trainer.launch.ranks.wrappers import is_python

_REFERENCE = re.compile(r"\$(\$|\(([A-Za-z_][A-Za-z0-9_.-]*)\))")
_KINDS = {"configMapRef": "ConfigMap", "secretRef": "Secret"}


@dataclass(frozen=True)
class Script:
    """What each rank runs."""

    command: list[str]
    env: dict[str, str]
    directory: Path | None
    """The template's working directory; None: it is not here."""
    unknown: list[str]
    """Variables that only the cluster knows."""


def script_of(job: Job, folder: Path) -> Script:
    """The command of the job's container `trainer`.

    Args:
        job: without spec.trainer.
        folder: for the files of ConfigMaps; made where there are any.

    Raises:
        ManifestError: a ConfigMap lacks a key that is asked for; nothing was written.
    """
    template = job.spec.workers.template
    container = trainer_container(template)
    mounts = mounts_of(job, template, container, folder)
    env, unknown = _variables(job, container)
    mounts.write(folder)
    words = [_expanded(word, env) for word in (*container["command"], *container.get("args", []))]
    # With its name, which may say that it holds paths.
    placed = {name: mounts.placed(f"{name}={value}").removeprefix(f"{name}=") for name, value in env.items()}
    # So that a shell finds the same interpreter that a command is given.
    path = env.get("PATH") or os.environ.get("PATH") or os.defpath
    placed["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), path))
    directory = Path(mounts.placed(container.get("workingDir", "")))
    known = directory.is_dir() and str(directory) != "."
    return Script(_command(words, mounts), placed, directory if known else None, unknown)


def _command(words: list[str], mounts: Mounts) -> list[str]:
    command = [mounts.placed(word) for word in words]
    if is_python(words[0]):
        command[0] = sys.executable
    if Path(words[0]).name in SHELLS:
        is_text, rest = behind_options(words[1:])
        if is_text and rest:
            at = len(words) - len(rest)
            command[at] = mounts.placed_in_shell(words[at])
    return command


def _variables(job: Job, container: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Variables of the container as Kubernetes makes them, and those that are not known here.

    Raises:
        ManifestError: a ConfigMap lacks a key that is asked for.
    """
    env: dict[str, str] = {}
    unknown: list[str] = []
    for each in container.get("envFrom", []):
        for kind in (kind for kind in _KINDS if kind in each):
            name, optional = each[kind].get("name", ""), each[kind].get("optional", False)
            if kind == "configMapRef" and name in job.config_maps:
                env |= {each.get("prefix", "") + key: text for key, text in job.config_maps[name].data.items()}
            elif not optional:
                unknown.append(f"all of {_KINDS[kind]} {name}")
    for each in container.get("env", []):
        source = each.get("valueFrom")
        if source is None:
            env[each["name"]] = _expanded(str(each.get("value", "")), env)
            continue
        reference = source.get("configMapKeyRef", {})
        optional = any(isinstance(one, dict) and one.get("optional", False) for one in source.values())
        if reference.get("name") not in job.config_maps:
            unknown += [] if optional else [each["name"]]
        elif (text := job.text_of(reference["name"], reference.get("key", ""), optional=optional)) is not None:
            env[each["name"]] = text
    return env, unknown


def _expanded(text: str, env: dict[str, str]) -> str:
    """With `$(NAME)` replaced by what was set before, as Kubernetes does; `$$` is a dollar."""
    return _REFERENCE.sub(lambda found: "$" if found[1] == "$" else env.get(found[2], found[0]), text)
