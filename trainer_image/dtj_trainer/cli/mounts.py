"""What a container mounts of ConfigMaps that stand beside its job: the files, and where their paths lead here."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dtj_trainer.cli.manifest import Job

_OPENS, _CLOSES = "\x02", "\x03"
"""Stand for quotation marks where paths are looked for, and the second for a backquote that closes too."""
_MARK = re.compile(r"""\\. | (?<![^\s;&|()])\#[^\n]* | '(?P<text>[^']*)' | \$?\( | [)"`]""", re.DOTALL | re.VERBOSE)
"""What matters outside `"`: quotations, comments and what is put into the text. What is escaped does not."""
_MARK_INSIDE = re.compile(r"""\\. | \$\( | ["`]""", re.DOTALL | re.VERBOSE)
_HOST = rf"(?P<host>(?<![^\s;&|()<>`'\",=])(?<!PATH=)[\w.@${{}}{_OPENS}{_CLOSES}-]+:)?"
"""What names a host, or what cannot be told: the path behind it is not here. What ends in PATH holds paths alone."""
_LONGER = rf"[\w.~*?$}})\]/\\{_CLOSES}-]"
_BEFORE = rf"(?<!{_LONGER})(?<!{_LONGER}{_OPENS})"
"""What a path does not begin behind: it would be, or may be, a part of a longer one, or of a name."""
_AFTER = rf"(?![{_OPENS}{_CLOSES}]*[\w.~*?${{\[-])"


_MODE = 0o644


class File(NamedTuple):
    """One file of a volume."""

    content: bytes
    mode: int


class Mounts:
    """Paths of a container, and the folders and files here that stand for them."""

    def __init__(self, volumes: Mapping[str, Mapping[str, File]], places: Mapping[str, Path]) -> None:
        self._volumes = volumes
        self._places = {path: str(place) for path, place in places.items()}
        # The longest first: one mount may be below another.
        paths = "|".join(re.escape(path) for path in sorted(places, key=len, reverse=True))
        self._paths = re.compile(f"{_HOST}{_BEFORE}(?P<path>{paths}){_AFTER}") if paths else None

    def write(self, folder: Path) -> None:
        """Write the files into the folder that the places are below, in place of those that an earlier run wrote.

        What a script has written beside them stays: on a cluster it could not, and here it may be its only copy.
        """
        for name, files in self._volumes.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            written = folder / f".{name}.written"
            earlier = written.read_text().splitlines() if written.exists() else []
            # Both, until it is done: who is interrupted in between forgets none.
            written.write_text(_lines({*earlier, *files}))
            for path in earlier:
                (folder / name / path).unlink(missing_ok=True)
            for path, given in files.items():
                file = folder / name / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(given.content)
                # Pods are mostly root, which reads what nobody may.
                file.chmod(given.mode | stat.S_IRUSR)
            written.write_text(_lines(files))

    def placed(self, text: str) -> str:
        """A text whose paths below mounts lead to the files here, such as a word of a command."""
        return self._placed(text, text, lambda _, path: path)

    def placed_in_shell(self, text: str) -> str:
        """The same for what a shell is to run, in which the paths here are one word whatever characters they have."""
        marked, quotes = _marked(text)
        return self._placed(text, marked, lambda at, path: _IN_QUOTES.get(quotes[at], _escaped)(path))

    def _placed(self, text: str, marked: str, quoted: Callable[[int, str], str]) -> str:
        parts, done = [], 0
        for found in self._paths.finditer(marked) if self._paths else ():
            if not found["host"]:
                parts += [text[done : found.start()], quoted(found.start(), self._places[found["path"]])]
                done = found.end()
        return "".join((*parts, text[done:]))


def _lines(paths: Iterable[str]) -> str:
    return "".join(f"{path}\n" for path in sorted(paths))


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
    mounted: dict[str, dict[str, File]] = {}
    places: dict[str, Path] = {}
    for mount in container.get("volumeMounts", []):
        name, path = mount["name"], mount["mountPath"].rstrip("/")
        if path and (files := volumes.get(name)):
            mounted[name] = files
            places[path] = folder / name / mount.get("subPath", "")
    return Mounts(mounted, places)


def _files(job: Job, volume: dict[str, Any]) -> dict[str, File]:
    """The files of a volume that are known here, by their paths in it."""
    files: dict[str, File] = {}
    projected = volume.get("projected", {})
    for source in projected.get("sources", [volume]):
        given = source.get("configMap", {})
        if (config_map := job.config_maps.get(given.get("name"))) is None:
            continue
        optional = given.get("optional", False)
        mode = (projected or given).get("defaultMode", _MODE)
        for item in given.get("items") or [{"key": key, "path": key} for key in config_map.files]:
            content = job.file_of(given["name"], item["key"], optional=optional)
            if content is not None:
                files[item["path"]] = File(content, item.get("mode", mode))
    return files


def _marked(text: str) -> tuple[str, list[str]]:
    """A shell's text with its quotation marks told apart, and the mark that each of its characters is quoted by."""
    marked, quotes = list(text), [""] * len(text)
    within, at = [""], 0
    while found := (_MARK_INSIDE if within[-1] == '"' else _MARK).search(text, at):
        start, end, mark = found.start(), found.end(), found[0]
        quotes[at:end] = within[-1:] * (end - at)
        at = end
        if mark[0] == "'":
            # It may be a text for another shell.
            marked[start:end] = [_OPENS, *_marked(found["text"])[0], _CLOSES]
            quotes[start:end] = ["'"] * (end - start)
        elif mark == "`" and "`" in within:
            marked[start] = _CLOSES
            del within[within.index("`") :]
        elif mark == '"' == within[-1]:
            marked[start] = _CLOSES
            within.pop()
        elif mark == ")":
            within = within[: -1 if within[-1] == "(" else None]
        elif mark[0] in '"`(' or mark == "$(":
            marked[start] = _OPENS if mark == '"' else mark[0]
            within.append(mark[-1])
    quotes[at:] = within[-1:] * (len(text) - at)
    return "".join(marked), quotes


def _escaped(path: str) -> str:
    return re.sub(r"([^\w@%+=:,./-])", r"\\\1", path)


_IN_QUOTES: dict[str, Callable[[str], str]] = {
    "'": lambda path: path.replace("'", "'\\''"),
    '"': lambda path: re.sub(r'(["$`\\])', r"\\\1", path),
}
"""How a path stands between these marks."""
