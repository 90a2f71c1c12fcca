"""The commands that the documentation shows, for the tests that run them.

A test takes a command's text from the page by `documented`, or those of a program from all pages by `each_documented`:
what is run is what is shown, and which commands nobody runs can be read from the tests.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(page for top in ("docs", "charts", "tools") for page in (ROOT / top).rglob("*.md"))]
)
SHELL = {"console", "sh", "bash", "shell"}
OTHER = {"yaml", "json", "python", "mermaid", "text", "promql", "toml", "dockerfile"}
"""Languages of blocks that hold no commands."""
_FENCE = re.compile(r" *(```+|~~~+) *(\S*)$")


@dataclass(frozen=True)
class Command:
    """One command as a page shows it, continued lines joined."""

    page: str
    line: int
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


class UnreadableBlockError(Exception):
    """A block of which cannot be said whether it holds commands; the text names page and line."""


def commands(page: str, text: str) -> Iterator[Command]:
    """The commands in the fenced blocks of a page: lines after `$ ` in `console`, all lines in `sh`."""
    language, fence, joined, began = "", "", "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if found := _FENCE.match(raw):
            if not fence:
                fence, language = found.group(1), found.group(2)
                if language not in SHELL | OTHER:
                    raise UnreadableBlockError(f"{page}:{number}: a block of {language or 'no language'}; allowed are "
                                               f"{', '.join(sorted(SHELL | OTHER))}")  # fmt: skip
            elif line == fence:
                fence = ""
            continue
        if not fence:
            continue
        if language in SHELL:
            if language == "console" and not joined:
                if not line.startswith("$ "):
                    continue
                line = line.removeprefix("$ ")
            if not joined:
                began = number
            joined += line
            if joined.endswith("\\"):
                joined = joined[:-1]
                continue
            if joined and not joined.startswith("#"):
                yield Command(page, began, re.sub(r"\s+# .*$", "", joined))
            joined = ""
        elif line.startswith("$ "):
            raise UnreadableBlockError(f"{page}:{number}: a command in a block of {language}; call the block console")


def every() -> list[Command]:
    """All commands of all pages."""
    return [found for page in PAGES for found in commands(str(page.relative_to(ROOT)), page.read_text())]


def documented(page: str, start: str) -> str:
    """The command of a page that starts so.

    Raises:
        LookupError: the page has none or several of different texts; the text lists what it has.
    """
    shown = [each.text for each in every() if each.page == page]
    found = {text for text in shown if text.startswith(start)}
    if len(found) != 1:
        raise LookupError(f"{page} shows {len(found)} commands that start with `{start}`; it shows {shown}")
    return found.pop()


def each_documented(start: str) -> list[str]:
    """The commands of all pages that start so, each text once."""
    return list(dict.fromkeys(each.text for each in every() if each.text.startswith(start)))


def shown_block(page: str, start: str) -> str:
    """The one YAML block of a page that starts so, for the file that its commands name."""
    (found,) = re.findall(rf"^```yaml\n({re.escape(start)}.*?)^```", (ROOT / page).read_text(), re.M | re.S)
    return str(found)


@dataclass(frozen=True)
class Run:
    """A test that runs commands: those of a page that start so, or of every page where `page` is None."""

    test: str
    page: str | None
    start: str

    def is_of(self, command: Command) -> bool:
        return self.page in (None, command.page) and command.text.startswith(self.start)


def runs() -> list[Run]:
    """All calls of `documented` and `each_documented` in tests and fixtures, each with what it is in."""
    found = []
    for file in sorted((ROOT / "tests").rglob("*.py")):
        text = file.read_text()
        if "documented(" in text and file != Path(__file__).resolve():
            found += [
                Run(f"{file.relative_to(ROOT)}::{function.name}", page, start)
                for function in ast.walk(ast.parse(text))
                if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
                for page, start in _calls(function)
            ]
    return found


def _calls(function: ast.AST) -> Iterator[tuple[str | None, str]]:
    for node in ast.walk(function):
        match node:
            case ast.Call(
                func=ast.Name(id="documented"),
                args=[ast.Constant(value=str(page)), ast.Constant(value=str(start))],
            ):
                yield page, start
            case ast.Call(func=ast.Name(id="each_documented"), args=[ast.Constant(value=str(start))]):
                yield None, start
