# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`inspect info version`: about any object, this host and this program."""

from __future__ import annotations

from .._base.errors import Invalid, NotFound
from .._base.version import VERSION
from .command import Command
from .flags import switch, text
from .printing import put, put_line, put_untrusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._engine.engine import Engine
    from .command import Invocation

_KINDS = ("container", "image", "volume")


def _facts(engine: Engine, name: str, kind: str | None, *, sized: bool = False) -> dict[str, Any]:
    """The document about the container, image or volume with this name, whichever exists first in this order."""
    from .._engine import containers, images, volumes

    if kind in (None, "container"):
        container = containers.lookup(engine, name)
        if container is not None:
            facts = containers.inspect(engine, container)
            if sized:
                from .._engine.container_sizes import sizes_of

                sizes = sizes_of(engine, container)
                facts |= {"SizeRw": sizes.own_bytes, "SizeRootFs": sizes.root_bytes}
            return facts
    if kind in (None, "image"):
        image = _image(engine, name, kind)
        if image is not None:
            return images.inspect(engine, image)
    database = engine.database()
    volume = database.volume(name) if database and kind in (None, "volume") else None
    if volume is None:
        raise NotFound(f"{kind or 'object'} {name}: there is no such {kind or 'container, image or volume'}")
    return volumes.inspect(engine, volume)


def _image(engine: Engine, name: str, kind: str | None) -> Any:
    from .._engine import images

    try:
        return images.lookup(engine, name)
    except Invalid:
        if kind is None:  # a volume's or container's name need not be an image's
            return None
        raise


def _inspect(invocation: Invocation) -> int:
    from .inspection import show_documents

    kind = invocation.text("type")
    if kind is not None and kind not in _KINDS:
        raise Invalid(f"{kind!r} is not a kind of object", option="--type", hint=f"use {', '.join(_KINDS)}")
    with invocation.engine() as engine:
        sized = invocation.is_on("size")
        return show_documents(
            invocation.arguments, lambda name: _facts(engine, name, kind, sized=sized), invocation.text("format")
        )


def _document(document: dict[str, Any], layout: str | None) -> bool:
    """Print a document by `--format`; False where that was not given."""
    if layout is None:
        return False
    from .._base.codec import render
    from .templates import parse_template

    put_untrusted((render(document) if layout == "json" else parse_template(layout).expand(document)) + "\n")
    return True


def _info(invocation: Invocation) -> int:
    from .._engine.info import engine_info

    with invocation.engine() as engine:
        facts = engine_info(engine)
    if _document(facts, invocation.text("format")):
        return 0
    from .info_text import info_text

    put(info_text(facts))
    return 0


def _version(invocation: Invocation) -> int:
    import sys
    from os import uname

    if invocation.is_on("short"):
        put_line(f"hull version {VERSION}")
        return 0
    system = uname()
    facts = {
        "Version": VERSION,
        "Python": sys.version.split()[0],
        "KernelVersion": system.release,
        "Os": "linux",
        "Arch": system.machine,
    }
    if not _document(facts, invocation.text("format")):
        put("".join(f"{name + ':':<15} {value}\n" for name, value in facts.items()))
    return 0


COMMANDS = (
    Command(
        "inspect",
        "[OPTIONS] NAME [NAME...]",
        "Show all about containers, images or volumes, as JSON",
        _inspect,
        (
            text("format", "template of what to print, such as {{.State.Status}}", short="f"),
            text("type", "only objects of this kind: container, image, volume"),
            switch("size", "add what a container has written, and with its image", short="s"),
        ),
        minimum=1,
    ),
    Command(
        "info",
        "[OPTIONS]",
        "Show what this host can do and what it lacks",
        _info,
        (text("format", "json or a template", short="f"),),
        maximum=0,
    ),
    Command(
        "version",
        "[OPTIONS]",
        "Show versions",
        _version,
        (text("format", "json or a template", short="f"), switch("short", "one line")),
        maximum=0,
    ),
)
