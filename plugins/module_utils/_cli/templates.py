# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The part of Go's templates that people type after `--format`: fields, and a few functions of them. Pure.

`{{.ID}}`, `{{.State.Status}}`, `{{json .Config}}`, `{{.Name | upper}}`, `{{len .Mounts}}`, `{{index .Labels "a"}}`,
`{{join .Args " "}}`. Not for `range`, `if`, `with` and variables: `--format json` and a JSON tool do that better.
Source: Go's text/template, for the forms above.
"""

from __future__ import annotations

from .._base.codec import render
from .._base.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OPTION = "--format"
_HINT = "for more than fields and functions use --format json"
_ACTIONS = ("range", "if", "else", "end", "with", "define", "template", "block", "break", "continue")


def _shown(value: Any) -> str:
    """A value as Go prints it."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{name}:{_shown(value[name])}" for name in sorted(value)) + "]"
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(_shown(item) for item in value) + "]"
    return str(value)


def _call(name: str, values: list[Any]) -> Any:
    try:
        if name == "json":
            return render(*values)
        if name in ("upper", "lower"):
            (text,) = values
            return _shown(text).upper() if name == "upper" else _shown(text).lower()
        if name == "len":
            (sized,) = values
            return len(sized)
        if name == "join":
            items, separator = values
            return separator.join(_shown(item) for item in items)
        if name == "index":
            found = values[0]
            for key in values[1:]:
                found = found.get(key) if isinstance(found, dict) else found[key]
            return found
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise Invalid(f"{name} can't take these values", option=_OPTION, hint=_HINT) from error
    what = "an action" if name in _ACTIONS or name.startswith("$") else "a function"
    raise Invalid(f"{name!r} is not {what} known here", option=_OPTION, hint=_HINT)


def _words(text: str) -> list[str]:
    """The words of an expression; a quoted string is one word that keeps its opening quote as a mark."""
    words, position = [], 0
    while position < len(text):
        character = text[position]
        if character.isspace():
            position += 1
        elif character in "\"`'":
            end = text.find(character, position + 1)
            if end < 0:
                raise Invalid(f"a quote in {text.strip()!r} is not closed", option=_OPTION)
            words.append('"' + text[position + 1 : end])
            position = end + 1
        elif character == "|":
            words.append("|")
            position += 1
        else:
            end = position
            while end < len(text) and not text[end].isspace() and text[end] != "|":
                end += 1
            words.append(text[position:end])
            position = end
    return words


def _field(path: str, row: Any) -> Any:
    value = row
    for name in filter(None, path.split(".")):
        if not isinstance(value, dict) or (value is row and name not in value):
            known = f"fields: {', '.join(row)}" if isinstance(row, dict) and value is row else _HINT
            raise Invalid(f"there is no field {path!r}", option=_OPTION, hint=known)
        value = value.get(name)
    return value


def _argument(word: str, row: Any) -> Any:
    if word.startswith('"'):
        return word[1:]
    if word.startswith("."):
        return _field(word, row)
    if word.lstrip("-").isdigit():
        return int(word)
    return _call(word, [])


class Template:
    """A template that was parsed: text and expressions by turns."""

    def __init__(self, texts: list[str], expressions: list[list[str]]) -> None:
        self._texts = texts
        self._expressions = expressions

    def expand(self, row: Any) -> str:
        """The text for one row. Raises Invalid where the row has no such field."""
        values = [_shown(_evaluate(words, row)) for words in self._expressions]
        return self._texts[0] + "".join(value + text for value, text in zip(values, self._texts[1:]))

    def expand_headings(self, headings: dict[str, str]) -> str:
        """The heading of a table made with this template: each field's heading, or its name in capitals."""
        names = [
            next((word.rpartition(".")[2] for word in words if word.startswith(".")), "") for words in self._expressions
        ]
        shown = [headings.get(name, name.upper()) for name in names]
        return self._texts[0] + "".join(name + text for name, text in zip(shown, self._texts[1:]))


def _evaluate(words: list[str], row: Any) -> Any:
    """The value of `function argument ... | function ...`; what comes before a bar is the next one's last argument."""
    given: list[Any] = []
    while True:
        end = words.index("|") if "|" in words else len(words)
        stage, words = words[:end], words[end + 1 :]
        if not stage:
            raise Invalid("an expression is empty", option=_OPTION)
        head = stage[0]
        if head.startswith((".", '"')) or head.lstrip("-").isdigit():
            if given or len(stage) > 1:
                raise Invalid(f"{head!r} is not a function", option=_OPTION, hint=_HINT)
            value = _argument(head, row)
        else:
            value = _call(head, [_argument(word, row) for word in stage[1:]] + given)
        if not words:
            return value
        given = [value]


def parse_template(text: str) -> Template:
    """The template. `\\t` and `\\n` stand for tab and line end. Raises Invalid where braces do not match."""
    text = text.replace("\\t", "\t").replace("\\n", "\n")
    texts: list[str] = [""]
    expressions: list[list[str]] = []
    rest = text
    while True:
        before, opened, after = rest.partition("{{")
        texts[-1] += before
        if not opened:
            return Template(texts, expressions)
        inside, closed, rest = after.partition("}}")
        if not closed:
            raise Invalid(f"a '{{{{' in {text!r} is not closed", option=_OPTION)
        expressions.append(_words(inside.strip("- ") if inside.startswith("- ") else inside))
        texts.append("")
