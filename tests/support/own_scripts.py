"""Jobs with a script of the user's own and ConfigMaps beside it, in one file."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import yaml

from dtj_trainer.cli.manifest import load_job
from dtj_trainer.cli.script import Script, script_of

Maps = dict[str, dict[str, str | bytes]]
"""Of ConfigMaps by name and key: text of `data`, bytes of `binaryData`."""


def script_for(folder: Path, maps: Maps, volumes: Any = (), **container: Any) -> Script:
    """That of a job with these ConfigMaps in its file."""
    return script_of(load_job(written(folder / "job.yaml", maps, volumes, **container)), folder / "mounts")


def written(file: Path, maps: Maps, volumes: Any = (), **container: Any) -> Path:
    given = {"name": "trainer", "image": "x", "command": ["python", "x.py"], **container}
    template = {"spec": {"containers": [given], "volumes": list(volumes)}}
    job = {
        "apiVersion": "dtj.dev/v1alpha1",
        "kind": "DistributedTrainingJob",
        "metadata": {"name": "own"},
        "spec": {"workers": {"template": template}},
    }
    objects = [config_map(name, contents) for name, contents in maps.items()]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump_all([job, *objects]))
    return file


def config_map(name: str, contents: dict[str, str | bytes]) -> dict[str, Any]:
    texts = {key: content for key, content in contents.items() if isinstance(content, str)}
    # In lines, as some tools write it.
    coded = {
        key: base64.encodebytes(content).decode() for key, content in contents.items() if isinstance(content, bytes)
    }
    return {"kind": "ConfigMap", "metadata": {"name": name}, "data": texts, "binaryData": coded}
