"""What a container mounts of ConfigMaps that stand beside its job: the files, and where their paths lead here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dtj_trainer.cli.manifest import Job

_QUOTED = re.compile(r"""'[^']*' | "(?:\\.|[^"\\])*" | \\. | [^'"\\]+ | .""", re.DOTALL | re.VERBOSE)
"""Parts of a shell's text that are quoted as one, or not at all."""
_BEFORE = r"(?<![\w.~*?$}\]/-])"
"""What a path does not begin behind: it would be a part of a longer one, or of a name."""
_AFTER = r"(?![\w.-])"


class Mounts:
    """Paths of a container, and the folders and files here that stand for them."""

    def __init__(self, texts: Mapping[str, Mapping[str, str]], places: Mapping[str, Path]) -> None:
        self._texts = texts
        self._places = {path: str(place) for path, place in places.items()}
        # The longest first: one mount may be below another.
        paths = "|".join(re.escape(path) for path in sorted(places, key=len, reverse=True))
        self._paths = re.compile(f"{_BEFORE}(?:{paths}){_AFTER}") if paths else None

    def write(self, folder: Path) -> None:
        """Write the files into the folder that the places are below."""
        for name, texts in self._texts.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            for path, text in texts.items():
                file = folder / name / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)

    def placed(self, text: str, quoted: Callable[[str], str] = str) -> str:
        """A text whose paths below mounts lead to the files here.

        Args:
            text: such as a word of a command.
            quoted: what a path here becomes in the place of another.
        """
        return text if self._paths is None else self._paths.sub(lambda found: quoted(self._places[found[0]]), text)

    def placed_in_shell(self, text: str) -> str:
        """The same for what a shell is to run, in which the paths here are one word whatever characters they have."""
        return "".join(self.placed(part, _QUOTES.get(part[0], _escaped)) for part in _QUOTED.findall(text))


def mounts_of(job: Job, template: dict[str, Any], container: dict[str, Any], folder: Path) -> Mounts:
    """The mounts of ConfigMaps that are in the job's file.

    Args:
        job: with these ConfigMaps.
        template: of its pods.
        container: of the template.
        folder: that the files will be below.

    Raises:
        ManifestError: a map lacks a key that is mounted.
    """
    volumes = {each["name"]: _files(job, each) for each in template["spec"].get("volumes", [])}
    texts: dict[str, dict[str, str]] = {}
    places: dict[str, Path] = {}
    for mount in container.get("volumeMounts", []):
        name, path = mount["name"], mount["mountPath"].rstrip("/")
        if path and (files := volumes.get(name)):
            texts[name] = files
            places[path] = folder / name / mount.get("subPath", "")
    return Mounts(texts, places)


def _files(job: Job, volume: dict[str, Any]) -> dict[str, str]:
    """The files of a volume that are known here, by their paths in it."""
    files: dict[str, str] = {}
    for source in volume.get("projected", {}).get("sources", [volume]):
        given = source.get("configMap", {})
        if (texts := job.config_maps.get(given.get("name"))) is None:
            continue
        optional = given.get("optional", False)
        items = given.get("items") or [{"key": key, "path": key} for key in texts]
        found = {item["path"]: job.text_of(given["name"], item["key"], optional=optional) for item in items}
        files |= {path: text for path, text in found.items() if text is not None}
    return files


def _escaped(path: str) -> str:
    return re.sub(r"([^\w@%+=:,./-])", r"\\\1", path)


_QUOTES: dict[str, Callable[[str], str]] = {
    "'": lambda path: path.replace("'", "'\\''"),
    '"': lambda path: re.sub(r'(["$`\\])', r"\\\1", path),
}
"""How a path stands between these marks."""
