# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`load save import`."""

from __future__ import annotations

from .._engine import archives, images
from .command import Command
from .flags import UsageError, many, switch, text
from .printing import STDIN, STDOUT, is_terminal, put_line, visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

    from .command import Invocation

_STREAM = "-"


def _standard_input(what: str) -> IO[bytes]:
    if is_terminal(STDIN):
        raise UsageError(f"standard input is a terminal, not {what}", hint="give a file, or a pipe")
    return open(STDIN, "rb", buffering=0, closefd=False)


def _load(invocation: Invocation) -> int:
    from .progress import ProgressOutput

    path = invocation.text("input")
    source = path if path and path != _STREAM else _standard_input("an archive")
    with invocation.engine() as engine, ProgressOutput(quiet=invocation.is_on("quiet"), loading=True) as progress:
        loaded = archives.load(engine, source, progress=progress)
    for item in loaded:
        names = [images.familiar(name) for name in item.references]
        for name in names:
            put_line(f"Loaded image: {visible(name)}")
        if not names:
            put_line(f"Loaded image ID: {item.image_id}")
    return 0


def _save(invocation: Invocation) -> int:
    path = invocation.text("output")
    if (not path or path == _STREAM) and is_terminal(STDOUT):
        raise UsageError("standard output is a terminal", hint="name a file with --output, or redirect")
    with invocation.engine() as engine:
        target = path if path and path != _STREAM else STDOUT
        archives.save(engine, invocation.arguments, target, form=invocation.text("format") or "docker-archive")
    return 0


def _import(invocation: Invocation) -> int:
    source, *rest = invocation.arguments
    with invocation.engine() as engine:
        record = archives.import_rootfs(
            engine,
            _standard_input("a tarball") if source == _STREAM else source,
            rest[0] if rest else "",
            changes=tuple(invocation.items("change")),
            message=invocation.text("message") or "",
            platform=invocation.text("platform") or "",
            checksum=invocation.text("checksum") or "",
        )
    put_line(record.id)
    return 0


COMMANDS = (
    Command(
        "load",
        "[OPTIONS]",
        "Add images from an archive (docker save, OCI) or an OCI layout directory",
        _load,
        (
            text("input", "file or directory; standard input without it", "path", short="i"),
            switch("quiet", "no progress", short="q"),
        ),
        maximum=0,
    ),
    Command(
        "save",
        "[OPTIONS] IMAGE [IMAGE...]",
        "Write images to an archive",
        _save,
        (
            text("output", "file, or directory for oci-dir; standard output without it", "path", short="o"),
            text("format", "docker-archive (default), oci-archive or oci-dir", option="format"),
        ),
        minimum=1,
    ),
    Command(
        "import",
        "[OPTIONS] FILE|URL|- [NAME[:TAG]]",
        "Make an image of a root file system's tarball",
        _import,
        (
            many("change", "set a part of the configuration (CMD, ENV, WORKDIR ...)", short="c", option="changes"),
            text("message", "comment of the image", short="m"),
            text("platform", "platform of the image, such as linux/arm64", option="platform"),
            text("checksum", "sha256:... that the file must have", option="checksum"),
        ),
        minimum=1,
        maximum=2,
    ),
)
