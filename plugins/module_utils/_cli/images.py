# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`pull images tag rmi image inspect`."""

from __future__ import annotations

from .._base.clock import now_ns
from .._base.errors import Invalid
from .._base.units import format_size
from .._engine import images
from .._engine.image_facts import created_ns
from .ages import ago, date
from .command import Command
from .filters import filter_pairs
from .flags import UsageError, many, switch, text
from .printing import put, put_line, put_untrusted, visible
from .tables import Column, render_rows
from .targets import for_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.plan import Action
    from .._engine.engine import Engine
    from .._image.reference import Reference
    from .._store.records import ImageRecord, TagRecord
    from .command import Invocation

_NONE = "<none>"
_STATUS = {True: "Downloaded newer image", False: "Image is up to date"}
_COLUMNS = (
    Column("REPOSITORY", "Repository"),
    Column("TAG", "Tag"),
    Column("DIGEST", "Digest"),
    Column("IMAGE ID", "ID"),
    Column("CREATED", "CreatedSince"),
    Column("SIZE", "Size"),
)


def _pull(invocation: Invocation) -> int:
    (name,) = invocation.arguments
    quiet = invocation.is_on("quiet")
    with invocation.engine() as engine:
        if invocation.is_on("all-tags"):
            return _pull_all(invocation, engine, name)
        reference = images.reference_of(engine, name)
        if not quiet and not _has_version(name):
            put_line("Using default tag: latest")
        newer = _pull_one(invocation, engine, reference)
    if not quiet:
        put_line(f"Status: {_STATUS[newer]} for {reference.familiar}")
    put_line(reference.canonical)
    return 0


def _has_version(name: str) -> bool:
    """Whether a reference was typed with a tag or a digest."""
    return ":" in name.rpartition("/")[2] or "@" in name


def _pull_one(invocation: Invocation, engine: Engine, reference: Reference) -> bool:
    """Pull by one tag or digest and tell the registry's digest. Whether there was something that was not here."""
    from .progress import ProgressOutput

    platform, quiet = invocation.text("platform") or "", invocation.is_on("quiet")
    with ProgressOutput(quiet=quiet) as progress:
        images.pull(engine, reference.canonical, platform=platform, progress=progress)
    tag = images.tag_of(engine, reference.canonical)
    if tag is not None and not quiet:
        put_line(f"Digest: {tag.digest}")
    return progress.resolved


def _pull_all(invocation: Invocation, engine: Engine, name: str) -> int:
    """Every tag that the registry has of a repository."""
    if _has_version(name):
        raise UsageError("a tag or digest does not go with --all-tags", hint="give the repository only")
    reference = images.reference_of(engine, name)
    newer = [
        _pull_one(invocation, engine, images.reference_of(engine, f"{reference.name}:{tag}"))
        for tag in images.remote_tags(engine, reference)
    ]
    if not invocation.is_on("quiet"):
        put_line(f"Status: {_STATUS[any(newer)]} for {images.repository_of(reference.familiar)}")
    put_line(reference.name)
    return 0


def _row(record: ImageRecord, repository: str, tag: str, digest: str, *, full: bool) -> dict[str, Any]:
    created = created_ns(record)
    return {
        "Containers": "N/A",
        "CreatedAt": date(created) if created else "N/A",
        "CreatedSince": ago(created, now_ns()),
        "Digest": digest or _NONE,
        "ID": record.id if full else record.id.partition(":")[2][:12],
        "Repository": repository,
        "SharedSize": "N/A",
        "Size": format_size(record.size_bytes),
        "Tag": tag,
        "UniqueSize": "N/A",
        "VirtualSize": format_size(record.size_bytes),
    }


def _rows(record: ImageRecord, tags: list[TagRecord], *, full: bool) -> list[dict[str, Any]]:
    """One row per name, or one without. What was pulled by digest is a row where its repository has no tag here."""
    tagged = {images.repository_of(tag.reference) for tag in tags if "@" not in tag.reference}
    rows = []
    for tag in tags:
        name = images.familiar(tag.reference)
        repository, by_digest = images.repository_of(name), name.partition("@")[2]
        if by_digest and images.repository_of(tag.reference) in tagged:
            continue
        label = _NONE if by_digest else name[len(repository) + 1 :]
        rows.append(_row(record, repository, label, by_digest or tag.digest, full=full))
    return rows or [_row(record, _NONE, _NONE, "", full=full)]


def _list(invocation: Invocation) -> int:
    from .._engine.image_filters import LIST_FILTERS, ImageFilters, parse_filters, select

    full = invocation.is_on("no-trunc")
    with invocation.engine() as engine:
        found = select(images.list_images(engine), parse_filters(engine, filter_pairs(invocation), LIST_FILTERS))
        for name in invocation.arguments:
            found = select(found, ImageFilters(references=(name, _with_registry(engine, name))))
    rows = [row for record, tags in found for row in _rows(record, tags, full=full)]
    if invocation.is_on("quiet"):
        put("".join(f"{name}\n" for name in dict.fromkeys(row["ID"] for row in rows)))
        return 0
    digests = invocation.is_on("digests")
    columns = [column for column in _COLUMNS if digests or column.field != "Digest"]
    put_untrusted(render_rows(columns, rows, invocation.text("format")))
    return 0


def _with_registry(engine: Engine, text: str) -> str:
    """A name as listed that was typed without the registry which is the default here; a pattern as it is."""
    try:
        familiar = images.reference_of(engine, text).familiar
    except Invalid:
        return text
    return familiar if _has_version(text) else images.repository_of(familiar)


def _tag(invocation: Invocation) -> int:
    source, target = invocation.arguments
    with invocation.engine() as engine:
        images.tag(engine, source, target)
    return 0


def _remove(invocation: Invocation) -> int:
    from .._engine.image_removal import remove

    with invocation.engine() as engine:

        def one(name: str) -> str:
            return "\n".join(_told(remove(engine, name, force=invocation.is_on("force")).actions()))

        return for_each(invocation.arguments, one, multiline=True)


def _told(actions: list[Action]) -> list[str]:
    words = {"untagged": "Untagged", "deleted": "Deleted"}
    return [f"{words[action.verb]}: {visible(action.subject)}" for action in actions]


def _inspect(invocation: Invocation) -> int:
    from .inspection import show_documents

    with invocation.engine() as engine:
        return show_documents(
            invocation.arguments,
            lambda name: images.inspect(engine, images.find(engine, name)),
            invocation.text("format"),
        )


COMMANDS = (
    Command(
        "pull",
        "[OPTIONS] NAME[:TAG|@DIGEST]",
        "Get an image from a registry",
        _pull,
        (
            switch("all-tags", "every tag that the repository has", short="a"),
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
            many("filter", "reference=, dangling=, label=, before=, since=, until=", "filter", short="f"),
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
            switch("no-prune", "accepted for Docker's sake: images have no parents that would go along"),
        ),
        minimum=1,
    ),
    Command(
        "image inspect",
        "[OPTIONS] IMAGE [IMAGE...]",
        "Show all about images, as JSON",
        _inspect,
        (text("format", "json, or a template of what to print", short="f"),),
        minimum=1,
    ),
)
