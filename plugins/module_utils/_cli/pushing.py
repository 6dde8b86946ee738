# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`push`."""

from __future__ import annotations

from .._engine import images, pushing
from .command import Command
from .flags import UsageError, many, switch, text
from .printing import put_error, put_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._engine.engine import Engine
    from .command import Invocation


def _push(invocation: Invocation) -> int:
    (name,) = invocation.arguments
    everything = invocation.is_on("all-tags")
    is_bare = ":" not in name.rpartition("/")[2] and "@" not in name
    if everything and not is_bare:
        raise UsageError("a tag or digest does not go with --all-tags", hint="give the repository only")
    if everything and invocation.items("index"):
        raise UsageError("--index does not go with --all-tags", hint="an index is pushed under one name")
    quiet = invocation.is_on("quiet")
    with invocation.engine() as engine:
        if is_bare and not everything and not quiet:
            put_line("Using default tag: latest")
        reference = images.reference_of(engine, name)
        names = pushing.local_names(engine, name) if everything else [reference.canonical]
        if not quiet:
            put_line(f"The push refers to repository [{reference.name}]")
        for one in names:
            _push_one(invocation, engine, one)
    return 0


def _push_one(invocation: Invocation, engine: Engine, name: str) -> None:
    """Push under one name and tell the digest that the registry has there now."""
    from .progress import ProgressOutput

    quiet = invocation.is_on("quiet")
    request = pushing.PushRequest(
        name=name, index=tuple(invocation.items("index")), platform=invocation.text("platform") or ""
    )
    with ProgressOutput(quiet=quiet) as progress:
        pushed = pushing.push(engine, request, progress=progress)
    for warning in pushed.warnings:
        put_error(f"hull: warning: {warning}")
    if quiet:
        put_line(name)
    else:
        size = f" size: {pushed.size}" if pushed.size else ""
        put_line(f"{name.rpartition(':')[2]}: digest: {pushed.digest}{size}")


COMMANDS = (
    Command(
        "push",
        "[OPTIONS] NAME[:TAG]",
        "Give an image to a registry",
        _push,
        (
            switch("all-tags", "every tag that images here have in the repository", short="a"),
            many("index", "push these images, one per platform, as one image of several platforms", "image"),
            text(
                "platform", "what the image has to be for, such as linux/arm64; it replaces an index", option="platform"
            ),
            switch("quiet", "print the name only", short="q"),
        ),
        minimum=1,
        maximum=1,
    ),
)
