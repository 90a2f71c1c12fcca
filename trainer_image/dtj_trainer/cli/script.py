"""A script of the user's, as its container in the manifest starts it, on this machine.

The image is not used: the command runs in the environment that `dtj` is installed in, from the manifest's working
directory where that is here. What a ConfigMap of the same file mounts is written out, and paths below the mount lead
there.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtj_api.template import trainer_container
from dtj_trainer.cli.manifest import Job

_REFERENCE = re.compile(r"\$(\$|\(([A-Za-z_][A-Za-z0-9_.-]*)\))")
_PYTHON = re.compile(r"python(3(\.\d+)?)?")


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
    """
    template = job.spec.workers.template
    container = trainer_container(template)
    places = _written(job, template, container, folder)
    env: dict[str, str] = {}
    unknown = [f"all of {next(iter(each))}" for each in container.get("envFrom", [])]
    for each in container.get("env", []):
        value = _value(job, each)
        if value is None:
            unknown.append(each["name"])
        else:
            env[each["name"]] = _placed(_expanded(value, env), places)
    words = [_placed(_expanded(word, env), places) for word in (*container["command"], *container.get("args", []))]
    if _PYTHON.fullmatch(words[0]):
        words[0] = sys.executable
    directory = Path(_placed(container.get("workingDir", ""), places))
    return Script(words, env, directory if directory.is_dir() and str(directory) != "." else None, unknown)


def _value(job: Job, variable: dict[str, Any]) -> str | None:
    source = variable.get("valueFrom")
    if source is None:
        return str(variable.get("value", ""))
    reference = source.get("configMapKeyRef", {})
    return job.config_maps.get(reference.get("name"), {}).get(reference.get("key"))


def _written(job: Job, template: dict[str, Any], container: dict[str, Any], folder: Path) -> dict[str, Path]:
    """Where the files of each mount lie that is of a ConfigMap beside the job, by its path in the container."""
    maps = {each["name"]: each.get("configMap", {}).get("name") for each in template["spec"].get("volumes", [])}
    places = {}
    for mount in container.get("volumeMounts", []):
        texts = job.config_maps.get(maps.get(mount["name"]) or "")
        if texts is None or mount.get("subPath"):
            continue
        place = folder / mount["name"]
        place.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (place / name).write_text(text)
        places[mount["mountPath"].rstrip("/")] = place
    return places


def _placed(text: str, places: dict[str, Path]) -> str:
    for path, place in places.items():
        if text == path or text.startswith(f"{path}/"):
            return f"{place}{text[len(path) :]}"
    return text


def _expanded(text: str, env: dict[str, str]) -> str:
    """With `$(NAME)` replaced by what was set before, as Kubernetes does; `$$` is a dollar."""
    return _REFERENCE.sub(lambda found: "$" if found[1] == "$" else env.get(found[2], found[0]), text)
