"""YAML as kubectl reads it, so that `dtj run` and the API server see the same manifest.

kubectl turns YAML into JSON by go-yaml: numbers are those of YAML 1.1 and 1.2 together (`5e-5`, `0o14`, `014`), `yes`,
`on` and `y` are booleans, dates and sexagesimal numbers stay text, keys become text, and a whole number is an integer
however it was written. PyYAML reads most of these otherwise, so only its parser is used here.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import math
import re
from collections.abc import Hashable
from decimal import Decimal
from typing import Any, cast

import yaml

_TAG = "tag:yaml.org,2002:"
_PLAIN = "!plain"
"""Tag of a scalar without quotes and without a tag of its own."""
_BOOLS = {
    **dict.fromkeys(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"], True),
    **dict.fromkeys(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"], False),
}
_NULLS = ("", "~", "null", "Null", "NULL")
_ENDLESS = re.compile(r"\.(nan|NaN|NAN)|[-+]?\.(inf|Inf|INF)")
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ][0-9:.]+(Z|[-+][0-9:]+)?)?")
_INTEGERS = (
    (re.compile(r"([-+]?)0[bB]([01]+)"), 2),
    (re.compile(r"([-+]?)0[xX]([0-9a-fA-F]+)"), 16),
    (re.compile(r"([-+]?)0[oO]?([0-7]+)"), 8),
    (re.compile(r"([-+]?)(0|[1-9][0-9]*)"), 10),
)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_UNDERSCORE = re.compile(r"(?<=[0-9])_(?=[0-9])")
_HALF = re.compile("[\ud800-\udfff]")
_LONG = 2**63


class ManifestSyntaxError(ValueError):
    """Text that kubectl would not read; the message says where."""


def documents(data: bytes) -> list[Any]:
    """All documents of a manifest, as JSON values.

    Raises:
        ManifestSyntaxError: not YAML, nor JSON, or not what either can say in JSON.
    """
    try:
        if data.lstrip().startswith(b"{"):
            # What is no JSON after all may be YAML in flow style.
            with contextlib.suppress(ValueError):
                return _json(data.decode())
        return [_rounded(each) for each in yaml.load_all(data, _Loader)]
    except RecursionError:
        raise ManifestSyntaxError("nested too deep") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ManifestSyntaxError(str(error)) from None


def _json(data: str) -> list[Any]:
    """Objects of JSON, one behind the other."""
    found, rest, decoder = [], data.lstrip(), json.JSONDecoder(parse_constant=_no_constant)
    while rest:
        value, end = decoder.raw_decode(rest)
        found.append(_rounded(value))
        rest = rest[end:].lstrip()
    return found


def _no_constant(name: str) -> Any:
    raise ManifestSyntaxError(f"{name} is no number of JSON")


def resolve(text: str) -> Any:
    """The value of a scalar without quotes.

    Raises:
        ManifestSyntaxError: NaN or an infinity, which JSON cannot say.
    """
    if text in _BOOLS:
        return _BOOLS[text]
    if text in _NULLS:
        return None
    if _ENDLESS.fullmatch(text):
        raise ManifestSyntaxError(f"{text} cannot be said in JSON; write a finite number")
    if text.startswith("."):
        return _float(_UNDERSCORE.sub("", text), text)
    if not text[:1].isdecimal() and text[:1] not in ("-", "+"):
        return text
    if _DATE.fullmatch(text):
        return text
    plain = text.replace("_", "")
    for pattern, base in _INTEGERS:
        if match := pattern.fullmatch(plain):
            number = int(match[1] + match[2], base)
            if -_LONG <= number < 2 * _LONG:
                return number
    return _float(plain, text)


def _float(plain: str, text: str) -> Any:
    """A finite number, or the text as it is where it is none."""
    number = float(plain) if _FLOAT.fullmatch(plain) else math.inf
    return number if math.isfinite(number) else text


def _rounded(value: Any) -> Any:
    """With integers where JSON has digits alone, and floats where they are too many."""
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    if isinstance(value, str):
        # Half of a character, which JSON can escape and no text can hold.
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if not math.isfinite(value):
        raise ManifestSyntaxError("a number that is too large")
    # By the digits that JSON has of it, which of a large number are fewer than those of its value.
    digits = Decimal(repr(value))
    whole = int(digits)
    return whole if whole == digits and -_LONG <= whole < _LONG else float(value)


class _Loader(yaml.SafeLoader):
    def scan_to_next_token(self) -> None:
        """Go to the next token; a TAB may stand between a key and its value."""
        if self.index == 0 and self.peek() == "\ufeff":
            self.forward()
        while True:
            while self.peek() == " " or (self.peek() == "\t" and (self.flow_level or not self.allow_simple_key)):
                self.forward()
            if self.peek() == "#":
                while self.peek() not in "\0\r\n\x85\u2028\u2029":
                    self.forward()
            if not cast(Any, self).scan_line_break():
                return
            if not self.flow_level:
                self.allow_simple_key = True

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """Which tag a node without one gets; that of a plain scalar waits for `resolve`."""
        if kind is yaml.ScalarNode and implicit[0]:
            return f"{_TAG}merge" if value == "<<" else _PLAIN
        return cast(Any, super()).resolve(kind, value, implicit)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping with its keys as text, the last of equal ones."""
        self.flatten_mapping(node)
        found: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if key is None or isinstance(key, dict | list):
                raise yaml.constructor.ConstructorError(
                    None, None, f"a key is {'null' if key is None else 'no text'}", key_node.start_mark
                )
            found[_key(key)] = self.construct_object(value_node, deep=True)
        return found


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return key if isinstance(key, str) else f"{_rounded(key):g}" if isinstance(key, float) else str(key)


def _scalar(loader: _Loader, node: yaml.ScalarNode) -> Any:
    """A scalar by its tag; go-yaml checks the value against it."""
    kind, text = node.tag.removeprefix(_TAG), str(node.value)
    try:
        if _HALF.search(text):
            raise ManifestSyntaxError("an escape of half a character; write the whole character")
        if kind == "binary":
            return base64.b64decode(text, validate=True).decode()
        value = text if kind in ("str", "merge") else resolve(text)
    except (ManifestSyntaxError, binascii.Error, UnicodeDecodeError) as error:
        raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from None
    allowed: dict[str, tuple[type, ...]] = {
        "bool": (bool,),
        "int": (int,),
        "float": (int, float),
        "null": (type(None),),
    }
    if kind == "timestamp" and not _DATE.fullmatch(text):
        allowed["timestamp"] = ()
    of_tag = allowed.get(kind)
    if of_tag is not None and (not isinstance(value, of_tag) or (isinstance(value, bool) and kind != "bool")):
        raise yaml.constructor.ConstructorError(None, None, f"cannot read {text!r} as !!{kind}", node.start_mark)
    return value


def _any_tag(loader: Any, suffix: str, node: yaml.Node) -> Any:
    """A node of a tag that nobody knows: its value counts."""
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return node.value


for _name in ("bool", "int", "float", "null", "str", "binary", "timestamp", "merge"):
    _Loader.add_constructor(f"{_TAG}{_name}", _scalar)
_Loader.add_constructor(_PLAIN, _scalar)
for _name in ("map", "set", "omap", "pairs"):
    _Loader.add_constructor(f"{_TAG}{_name}", lambda loader, node: _any_tag(loader, "", node))
_Loader.add_constructor(f"{_TAG}seq", lambda loader, node: _any_tag(loader, "", node))
_Loader.add_multi_constructor("", _any_tag)
