# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Dockerfile instructions that change an image's configuration only, as `--change` takes them.

    CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL ONBUILD STOPSIGNAL USER VOLUME WORKDIR

Not a Dockerfile parser: one instruction each, no line continuation. Variables are those that ENV has set so far; ENV,
EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME and WORKDIR expand them: `$A`, `${A}`, `${A:-if not}`, `${A:+if so}`.
Source: Dockerfile reference; `docker container commit --change`.
"""

from __future__ import annotations

from .._base.codec import parse
from .._base.errors import Damaged, Invalid
from .._base.units import parse_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Config = dict[str, Any]

_OPTION = "changes"
_SHELL = ["/bin/sh", "-c"]
_SHORTEST_NS = 1_000_000
_TIMES = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}


def apply_changes(config: Config, changes: tuple[str, ...] | list[str]) -> None:
    """Carry out instructions on the `config` object of an image configuration. Raises Invalid, naming the instruction.

    Setting CMD is not undone by a later ENTRYPOINT here, as in `docker import`.
    """
    for change in changes:
        words = change.strip().split(None, 1)
        name = words[0].upper() if words else ""
        if name not in _INSTRUCTIONS:
            raise Invalid(
                f"{change[:100]!r} is not allowed", option=_OPTION, hint=f"use one of {', '.join(_INSTRUCTIONS)}"
            )
        if len(words) < 2:
            raise Invalid(f"{name} needs an argument", option=_OPTION)
        _INSTRUCTIONS[name](config, name, words[1].strip())


def _json_list(text: str) -> list[str] | None:
    """The exec form; None for anything else, which is the shell form."""
    if not text.startswith("["):
        return None
    try:
        value = parse(text, source="an instruction")
    except Damaged:
        return None
    return value if isinstance(value, list) and all(isinstance(item, str) for item in value) else None


def split_words(text: str, variables: dict[str, str] | None = None) -> list[str]:
    """Words as a Dockerfile has them: blanks separate, quotes and backslashes keep, variables are expanded.

    None expands nothing. Raises Invalid.
    """
    words: list[str] = []
    word, quote, begun = "", "", False
    position = 0
    while position < len(text):
        char = text[position]
        if char == "\\" and quote != "'" and position + 1 < len(text):
            position += 1
            word, begun = word + text[position], True
        elif char == "$" and quote != "'" and variables is not None:
            value, position = _expand(text, position, variables)
            word, begun = word + value, True
            continue
        elif quote:
            quote, word = ("", word) if char == quote else (quote, word + char)
        elif char in "\"'":
            quote, begun = char, True
        elif char.isspace():
            words, word, begun = (words + [word] if begun else words), "", False
        else:
            word, begun = word + char, True
        position += 1
    if quote:
        raise Invalid(f"{text[:100]!r} has a quote without an end", option=_OPTION)
    return words + [word] if begun else words


def _expand(text: str, start: int, variables: dict[str, str]) -> tuple[str, int]:
    """The value of what begins with the dollar sign at `start`, and where the rest begins. Raises Invalid."""
    if text[start + 1 : start + 2] != "{":
        end = _name_end(text, start + 1)
        name = text[start + 1 : end]
        return (variables.get(name, ""), end) if name else ("$", start + 1)
    end = _name_end(text, start + 2)
    close = text.find("}", end)
    name, rest = text[start + 2 : end], text[end:close]
    if close < 0 or not name or (rest and rest[:2] not in (":-", ":+")):
        raise Invalid(f"{text[start : start + 50]!r} is not a variable", option=_OPTION, hint="write ${NAME}")
    value = variables.get(name, "")
    if rest and (rest[1] == "+") == bool(value):
        value = rest[2:]
    return value, close + 1


def _name_end(text: str, position: int) -> int:
    while position < len(text) and (text[position] == "_" or (text[position].isascii() and text[position].isalnum())):
        position += 1
    return position


def _variables(config: Config) -> dict[str, str]:
    return dict(entry.split("=", 1) for entry in config.get("Env") or () if "=" in entry)


def _pairs(config: Config, name: str, text: str) -> list[tuple[str, str]]:
    """`key=value ...`, or the old form `key value`."""
    words = split_words(text, _variables(config))
    if words and "=" not in words[0]:
        key, _, value = text.partition(" ")
        if not value:
            raise Invalid(f"{name} {text[:100]!r} lacks a value", option=_OPTION, hint=f"write {name} key=value")
        return [(key, " ".join(split_words(value, _variables(config))) if "$" in value else value.strip())]
    pairs = [word.partition("=") for word in words]
    if any(not key or not equals for key, equals, _value in pairs):
        raise Invalid(f"{name} {text[:100]!r} is not a list of key=value", option=_OPTION)
    return [(key, value) for key, _equals, value in pairs]


def _command(config: Config, name: str, text: str) -> None:
    arguments = _json_list(text)
    config["Cmd" if name == "CMD" else "Entrypoint"] = [*_SHELL, text] if arguments is None else arguments


def _env(config: Config, name: str, text: str) -> None:
    env: list[str] = config.setdefault("Env", [])
    for key, value in _pairs(config, name, text):
        env[:] = [entry for entry in env if entry.partition("=")[0] != key] + [f"{key}={value}"]


def _label(config: Config, name: str, text: str) -> None:
    config.setdefault("Labels", {}).update(_pairs(config, name, text))


def _expose(config: Config, _name: str, text: str) -> None:
    ports = config.setdefault("ExposedPorts", {})
    for word in split_words(text, _variables(config)):
        numbers, _, protocol = word.partition("/")
        first, _, last = numbers.partition("-")
        limits = [int(part) if part.isdecimal() and len(part) < 6 else 0 for part in (first, last or first)]
        protocol = protocol.lower() or "tcp"
        if protocol not in ("tcp", "udp", "sctp") or not 0 < limits[0] <= limits[1] < 65536:
            raise Invalid(f"EXPOSE {word[:50]!r} is not a port", option=_OPTION, hint="write 80, 53/udp or 8000-8010")
        ports.update({f"{port}/{protocol}": {} for port in range(limits[0], limits[1] + 1)})


def _volume(config: Config, _name: str, text: str) -> None:
    volumes = _json_list(text)
    for volume in split_words(text, _variables(config)) if volumes is None else volumes:
        if not volume.startswith("/"):
            raise Invalid(f"VOLUME {volume[:100]!r} is not an absolute path", option=_OPTION)
        config.setdefault("Volumes", {})[volume] = {}


def _one_word(config: Config, name: str, text: str) -> None:
    words = split_words(text, _variables(config))
    if len(words) != 1:
        raise Invalid(f"{name} takes one argument, not {text[:100]!r}", option=_OPTION)
    config[{"USER": "User", "STOPSIGNAL": "StopSignal"}[name]] = words[0]


def _workdir(config: Config, _name: str, text: str) -> None:
    import posixpath

    path = " ".join(split_words(text, _variables(config)))
    config["WorkingDir"] = posixpath.normpath(posixpath.join(config.get("WorkingDir") or "/", path))


def _onbuild(config: Config, _name: str, text: str) -> None:
    trigger = text.split(None, 1)[0].upper()
    if trigger in ("ONBUILD", "FROM", "MAINTAINER"):
        raise Invalid(f"ONBUILD {trigger} is not allowed", option=_OPTION)
    config.setdefault("OnBuild", []).append(text)


def _healthcheck(config: Config, _name: str, text: str) -> None:
    health: dict[str, Any] = {}
    while text.startswith("--"):
        option, _, text = text.partition(" ")
        key, _, value = option[2:].partition("=")
        text = text.strip()
        if key == "retries" and value.isdecimal():
            health["Retries"] = int(value)
        elif key in _TIMES:
            health[_TIMES[key]] = parse_duration(value, option=_OPTION)
            if health[_TIMES[key]] < _SHORTEST_NS:
                raise Invalid(f"HEALTHCHECK --{key}={value[:50]} is less than a millisecond", option=_OPTION)
        else:
            raise Invalid(f"HEALTHCHECK has no option {option[:50]!r}", option=_OPTION)
    kind, _, command = text.partition(" ")
    command = command.strip()
    if kind.upper() == "NONE" and not command:
        config["Healthcheck"] = {"Test": ["NONE"]}
    elif kind.upper() == "CMD" and command:
        arguments = _json_list(command)
        test = ["CMD-SHELL", command] if arguments is None else ["CMD", *arguments]
        config["Healthcheck"] = {"Test": test, **health}
    else:
        raise Invalid(f"HEALTHCHECK takes CMD command or NONE, not {text[:100]!r}", option=_OPTION)


_INSTRUCTIONS: dict[str, Callable[[Config, str, str], None]] = {
    "CMD": _command,
    "ENTRYPOINT": _command,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "STOPSIGNAL": _one_word,
    "USER": _one_word,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
