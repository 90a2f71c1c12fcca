"""Find what a manifest names, without a hub.

`from_pretrained` takes a path that does not exist for a hub id and answers with an error about repository names, so
paths are resolved and checked here. A package is located, never imported: its own imports may not be installed.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from dtj.files import exists
from dtj_api.trainer import ModelConfig
from dtj_trainer.untrainable import UntrainableError


class NotFoundError(UntrainableError):
    """A package, directory or file that the configuration names and this machine lacks."""


def locate(field: str, package: str, path: str) -> Path:
    """The absolute path of `path`, inside `package` when one is named.

    Raises:
        NotFoundError: names the field, what was looked for and what to do.
    """
    if package:
        spec = importlib.util.find_spec(package)
        roots = list(spec.submodule_search_locations or ()) if spec else []
        if not roots:
            raise NotFoundError(f"{field}.package: no package {package!r} is installed here; install it in the image")
        found = Path(roots[0], path)
    else:
        found = Path(path).absolute()
    if not exists(found):
        raise NotFoundError(f"{field}: {found} does not exist; nothing is fetched from a hub, so mount or install it")
    return found


def locate_model(config: ModelConfig) -> Path:
    """The directory of the pretrained model.

    Raises:
        NotFoundError: it does not exist or is no model in the transformers layout.
    """
    found = locate("model.path", config.package, config.path)
    if not exists(found / "config.json"):
        raise NotFoundError(f"model.path: {found} has no config.json; give a model in the transformers layout")
    return found
