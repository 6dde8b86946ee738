# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`pull images tag rmi load import`."""

from __future__ import annotations

from .._base.clock import now_ns
from .._base.units import format_size
from .._engine import images
from .ages import ago, date
from .command import Command
from .flags import UsageError, many, switch, text
from .printing import STDIN, is_terminal, put, put_line, put_untrusted, visible
from .tables import Column, render_rows
from .targets import for_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

    from .._store.records import ImageRecord, TagRecord
    from .command import Invocation

_NONE = "<none>"
_COLUMNS = (
    Column("REPOSITORY", "Repository"),
    Column("TAG", "Tag"),
    Column("DIGEST", "Digest"),
    Column("IMAGE ID", "ID"),
    Column("CREATED", "CreatedSince"),
    Column("SIZE", "Size"),
)


def _pull(invocation: Invocation) -> int:
    from .progress import ProgressOutput

    (name,) = invocation.arguments
    quiet = invocation.is_on("quiet")
    with invocation.engine() as engine, ProgressOutput(quiet=quiet) as progress:
        record = images.pull(engine, name, platform=invocation.text("platform") or "", progress=progress)
        reference = images.reference_of(engine, name)
    if not quiet:
        put_line(f"Digest: {record.manifest_digest}")
        put_line(f"Status: {'Downloaded newer image' if progress.resolved else 'Image is up to date'} for {name}")
    put_line(reference.canonical)
    return 0


def _created(record: ImageRecord) -> int:
    """When the image was built, by its own word; 0 where it does not say."""
    from .._base.clock import parse_time
    from .._base.codec import parse
    from .._base.errors import Invalid

    document = parse(record.config, source=f"the configuration of image {record.id}")
    created = document.get("created") if isinstance(document, dict) else None
    try:
        return max(parse_time(str(created), option="created"), 0) if created else 0
    except Invalid:
        return 0


def _row(record: ImageRecord, repository: str, tag: str, digest: str, *, full: bool) -> dict[str, Any]:
    created = _created(record)
    return {
        "Containers": "N/A",
        "CreatedAt": date(created) if created else "N/A",
        "CreatedSince": ago(created, now_ns()),
        "Digest": digest or _NONE,
        "ID": record.id if full else record.id.partition(":")[2][:12],
        "Repository": repository,
        "Size": format_size(record.size_bytes),
        "Tag": tag,
    }


def _rows(record: ImageRecord, tags: list[TagRecord], *, full: bool) -> list[dict[str, Any]]:
    """One row per name, or one without a name."""
    rows = []
    for tag in tags:
        name, _, by_digest = images.familiar(tag.reference).partition("@")
        repository, colon, label = name.rpartition(":")
        if by_digest or not colon or "/" in label:
            repository, label = name, _NONE
        rows.append(_row(record, repository, label, by_digest or tag.digest, full=full))
    return rows or [_row(record, _NONE, _NONE, "", full=full)]


def _wanted(row: dict[str, Any], invocation: Invocation) -> bool:
    """Whether a row fits the argument (`debian`, `debian:12`) and the filters."""
    if invocation.arguments:
        wanted = invocation.arguments[0]
        if wanted not in (row["Repository"], f"{row['Repository']}:{row['Tag']}"):
            return False
    for entry in invocation.items("filter"):
        key, _, value = entry.partition("=")
        if key == "dangling" and value in ("true", "false"):
            if (row["Repository"] == _NONE) != (value == "true"):
                return False
        elif key == "reference" and value:
            from fnmatch import fnmatch  # loads `re`: only for this filter

            if not any(fnmatch(name, value) for name in (row["Repository"], f"{row['Repository']}:{row['Tag']}")):
                return False
        else:
            raise UsageError(f"--filter: {entry!r} is not known", hint="use reference=, dangling=true|false")
    return True


def _list(invocation: Invocation) -> int:
    full = invocation.is_on("no-trunc")
    with invocation.engine() as engine:
        every = [row for record, tags in images.list_images(engine) for row in _rows(record, tags, full=full)]
    rows = [row for row in every if _wanted(row, invocation)]
    if invocation.is_on("quiet"):
        put("".join(f"{name}\n" for name in dict.fromkeys(row["ID"] for row in rows)))
        return 0
    digests = invocation.is_on("digests")
    columns = [column for column in _COLUMNS if digests or column.field != "Digest"]
    put_untrusted(render_rows(columns, rows, invocation.text("format")))
    return 0


def _tag(invocation: Invocation) -> int:
    source, target = invocation.arguments
    with invocation.engine() as engine:
        images.tag(engine, source, target)
    return 0


def _remove(invocation: Invocation) -> int:
    from .._engine.image_removal import remove

    with invocation.engine() as engine:

        def one(name: str) -> str:
            actions = remove(engine, name, force=invocation.is_on("force")).actions()
            words = {"untagged": "Untagged", "deleted": "Deleted"}
            return "\n".join(f"{words[action.verb]}: {visible(action.subject)}" for action in actions)

        return for_each(invocation.arguments, one, multiline=True)


def _standard_input(what: str) -> IO[bytes]:
    if is_terminal(STDIN):
        raise UsageError(f"standard input is a terminal, not {what}", hint="give a file, or a pipe")
    return open(STDIN, "rb", closefd=False)


def _load(invocation: Invocation) -> int:
    from .progress import ProgressOutput

    path = invocation.text("input")
    source = path if path and path != "-" else _standard_input("an archive")
    with invocation.engine() as engine, ProgressOutput(quiet=invocation.is_on("quiet"), loading=True) as progress:
        loaded = images.load(engine, source, progress=progress)
    for item in loaded:
        names = [images.familiar(name) for name in item.references]
        for name in names:
            put_line(f"Loaded image: {visible(name)}")
        if not names:
            put_line(f"Loaded image ID: {item.image_id}")
    return 0


def _import(invocation: Invocation) -> int:
    path, *rest = invocation.arguments
    if path.startswith(("http://", "https://")):
        raise UsageError("a URL can't be imported", hint="fetch it and pipe it: curl ... | hull import - NAME")
    source = _standard_input("an archive") if path == "-" else path
    with invocation.engine() as engine:
        record = images.import_rootfs(
            engine,
            source,
            rest[0] if rest else "",
            changes=tuple(invocation.items("change")),
            message=invocation.text("message") or "",
            platform=invocation.text("platform") or "",
        )
    put_line(record.id)
    return 0


COMMANDS = (
    Command(
        "pull",
        "[OPTIONS] NAME[:TAG|@DIGEST]",
        "Get an image from a registry",
        _pull,
        (
            switch("quiet", "print the name only", short="q"),
            text("platform", "platform of the image, such as linux/arm64", option="platform"),
        ),
        minimum=1,
        maximum=1,
    ),
    Command(
        "images",
        "[OPTIONS] [REPOSITORY[:TAG]]",
        "List images",
        _list,
        (
            switch("all", "all images (there are no hidden ones)", short="a"),
            switch("digests", "show digests"),
            many("filter", "reference=, dangling=", "filter", short="f"),
            text("format", "json, a template, or 'table' and a template"),
            switch("no-trunc", "show whole ids"),
            switch("quiet", "ids only", short="q"),
        ),
        maximum=1,
    ),
    Command("tag", "IMAGE NAME[:TAG]", "Give an image one more name", _tag, minimum=2, maximum=2),
    Command(
        "rmi",
        "[OPTIONS] IMAGE [IMAGE...]",
        "Remove images or names of images",
        _remove,
        (
            switch("force", "also one with several names, or in use (then the names only)", short="f"),
            switch("no-prune", "accepted for Docker's sake"),
        ),
        minimum=1,
    ),
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
        "import",
        "[OPTIONS] FILE|- [NAME[:TAG]]",
        "Make an image of a root file system's tarball",
        _import,
        (
            many("change", "set a part of the configuration (CMD, ENV, WORKDIR ...)", short="c", option="changes"),
            text("message", "comment of the image", short="m"),
            text("platform", "platform of the image, such as linux/arm64"),
        ),
        minimum=1,
        maximum=2,
    ),
)
