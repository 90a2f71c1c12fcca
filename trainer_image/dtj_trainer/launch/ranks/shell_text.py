"""The simple commands in a shell's text, as far as words tell them: what is quoted, a pattern or a document is none."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

SHELLS = {"sh", "bash", "dash", "ash", "zsh", "ksh"}
BEFORE = {"exec", "nohup", "time", "command", "then", "do", "else", "if", "while", "until", "!", "{", "("}
"""Words of a shell that a command may stand behind."""
MAX_DEPTH = 8
"""Texts within one another that are read: substitutions and documents."""
_SEPARATORS = ";&|()\n"
_PART = re.compile(
    r"""(?P<as_it_is>'[^']*' | "(?:\\.|[^"\\])*" | \\. | <<<)
    | (?<![^\s;&|()])(?P<comment>\#[^\n]*)
    | <<(?P<tabs>-?)[ \t]*(?:'(?P<single>[^'\n]+)' | "(?P<double>[^"\n]+)" | \\?(?P<plain>[^\s;&|()<>'"]+))
    | (?P<end>\n)
    | [^'"\\<#\n]+
    | .""",
    re.DOTALL | re.VERBOSE,
)

_MARK = re.compile(r"""\\.|"|'|\$\(|`(?P<backquoted>(?:\\.|[^`\\])*)`""", re.DOTALL)
"""What matters for what is put into a text: quotation marks, and the beginnings of that. What is escaped is not."""


def commands_of(text: str, depth: int = MAX_DEPTH) -> list[list[str]]:
    """The words of each command, in order, and of those whose output is put into others; a document that a shell of the
    text reads counts as its text.

    Args:
        text: of a POSIX shell. Where a quotation does not end, what stands before it is known.
        depth: how many texts within one another are read.
    """
    rest, documents = _without_documents(text)
    # A comment ends with its line, whatever its last character is.
    lexer = shlex.shlex(rest.replace("\\\n", " "), posix=True, punctuation_chars=_SEPARATORS)
    lexer.whitespace_split = True
    lexer.whitespace, lexer.commenters = " \t\r", ""
    reader = _Reader()
    try:
        for word in lexer:
            reader.take(word)
    except ValueError:
        pass
    found = [each for each in reader.commands if each]
    if not depth:
        return found
    found += [each for inner in _substituted(rest) for each in commands_of(inner, depth - 1)]
    if any(_reads_commands(each) for each in found):
        found += [each for document in documents for each in commands_of(document, depth - 1)]
    return found


def _substituted(text: str) -> list[str]:
    """The texts between backquotes and, within quotation marks, between `$(` and `)`: elsewhere `(` separates."""
    found: list[str] = []
    at, quoted = 0, False
    while part := _MARK.search(text, at):
        at = part.end()
        if part[0] == '"':
            quoted = not quoted
        elif part["backquoted"] is not None:
            found.append(re.sub(r"\\([`$\\])", r"\1", part["backquoted"]))
        elif part[0] == "'" and not quoted:
            at = text.find("'", at) + 1 or len(text)
        elif part[0] == "$(" and quoted:
            end = _closing(text, at)
            found.append(text[at:end])
            at = end
    return found


def _closing(text: str, at: int) -> int:
    """Where the bracket ends that was opened before this place."""
    depth = 1
    for place in range(at, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if not depth:
            return place
    return len(text)


class _Reader:
    """Puts words into commands, and leaves out patterns of `case` and names of functions."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = [[]]
        self._in_pattern: list[bool] = []
        """Of each `case` that is not closed."""

    def take(self, word: str) -> None:
        """The next word, or a run of separators."""
        words = self.commands[-1]
        if set(word) <= set(_SEPARATORS):
            self._separate(word)
        elif self._in_pattern and word == "esac" and not words:
            self._in_pattern.pop()
        elif self._in_pattern and self._in_pattern[-1]:
            return
        elif word == "in" and len(words) > 1 and words[-2] == "case" and set(words[:-2]) <= BEFORE:
            self._in_pattern.append(True)
            self.commands[-1] = []
        else:
            words.append(word)

    def _separate(self, word: str) -> None:
        if self._in_pattern and self._in_pattern[-1]:
            _, closed, word = word.partition(")")
            if not closed:
                return
            self._in_pattern[-1] = False
        elif word.startswith("()") and len(self.commands[-1]) == 1:
            # What is defined is not run.
            self.commands[-1] = []
        if self._in_pattern and re.search(";[;&]", word):
            self._in_pattern[-1] = True
        self.commands.append([])


def _without_documents(text: str) -> tuple[str, list[str]]:
    """The text without its comments and here-documents, and those."""
    kept: list[str] = []
    documents: list[str] = []
    wanted: list[tuple[str, bool]] = []
    nowhere: set[tuple[str, bool]] = set()
    at = 0
    while found := _PART.match(text, at):
        at = found.end()
        ends = found["single"] or found["double"] or found["plain"]
        if ends:
            wanted.append((ends, bool(found["tabs"])))
        elif not found["comment"]:
            kept.append(found[0])
        if found["end"]:
            for word, tabs in wanted:
                document, after = ("", at) if (word, tabs) in nowhere else _document(text, at, word, tabs)
                if after > at:
                    documents.append(document)
                    at = after
                else:
                    # It was a shift in a sum.
                    nowhere.add((word, tabs))
            wanted = []
    return "".join(kept), documents


def _document(text: str, at: int, word: str, tabs: bool) -> tuple[str, int]:
    """The here-document that begins here, and where the text goes on; there, if there is none."""
    begin = at
    while at < len(text):
        end = text.find("\n", at) % (len(text) + 1)
        line = text[at:end]
        if (line.lstrip("\t") if tabs else line) == word:
            return text[begin:at], min(len(text), end + 1)
        at = end + 1
    return "", begin


def behind_options(words: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether the first word behind a shell's options is a text to run, by `-c`, and the words from that one on.

    Args:
        words: what the shell is given.
    """
    rest, given = list(words), False
    while rest and rest[0][:1] in ("-", "+"):
        option, rest = rest[0], rest[1:]
        if option in ("-", "--"):
            break
        given |= re.fullmatch(r"-[a-zA-Z]*c[a-zA-Z]*", option) is not None
        if re.fullmatch(r"[-+][a-zA-Z]*[oO][a-zA-Z]*|--rcfile|--init-file", option):
            # It has a value.
            rest = rest[1:]
    return given, rest


def _reads_commands(words: list[str]) -> bool:
    """Whether it is a shell that is given no text and no script."""
    return Path(words[0]).name in SHELLS and behind_options(words[1:]) == (False, [])
