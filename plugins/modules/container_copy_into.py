#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.container_copy_into: a file or directory in a container."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_copy_into
short_description: Copy a file or a directory into a container
description:
  - Copies a file or a directory of the managed host, or a text, into a container that runs or not, through its volumes
    and bind mounts. It takes the options of M(community.docker.docker_container_copy_into), and directories too.
  - What is there already with the same content, owner and mode is left alone. A file is replaced in one step.
  - No path of the container is resolved on the host, and nothing of the container is executed.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.docker
  - hull.engine.engine.attributes
options:
  container:
    description:
      - The container's name, its id or at least the first 12 digits of that.
    type: str
    required: true
  path:
    description:
      - A file, link or directory on the managed host. Of a directory, all that is in it is copied into the directory
        O(container_path), beside what is there. Times and extended attributes go along, and do not count as a change.
      - Exactly one of O(path) and O(content) is needed.
    type: path
  content:
    description:
      - The file's content, instead of O(path). Needs O(mode).
    type: str
  content_is_b64:
    description:
      - Whether O(content) is Base64-encoded, as binary content has to be.
    type: bool
    default: false
  container_path:
    description:
      - The path in the container, absolute. Its directory has to exist.
      - What is written to a tmpfs of a container that does not run would be lost, and is refused.
    type: str
    required: true
  follow:
    description:
      - If O(container_path) is a link, write to what it leads to in the container. If not set, the link is replaced.
    type: bool
    default: false
  local_follow:
    description:
      - If O(path) is a link, copy what it leads to, instead of the link. Links in a directory stay links.
    type: bool
    default: true
  owner_id:
    description:
      - The numeric owner in the container. If not set, it is the user that the container's command has.
      - Goes with O(group_id) only.
    type: int
  group_id:
    description:
      - The numeric group in the container, together with O(owner_id).
    type: int
  mode:
    description:
      - The mode of files. A directory made gets it too, and can be searched by those who can read it. If not set, it is
        that of O(path).
      - What a number in quotes means is decided by O(mode_parse).
    type: raw
  mode_parse:
    description:
      - V(legacy), as in community.docker, takes an integer as it is, and reads a string as a decimal number; one that
        begins with a zero is refused, for it was meant otherwise.
      - V(modern) takes an integer as it is, and reads a string as an octal number.
      - V(octal_string_only) takes octal numbers in quotes only.
    type: str
    choices: [legacy, modern, octal_string_only]
    default: legacy
  force:
    description:
      - If V(true), copy always, and let a file replace a directory or the other way round.
      - If V(false), copy only where nothing is at O(container_path).
      - If not set, copy what is different.
    type: bool
seealso:
  - module: hull.engine.container_copy_from
  - module: hull.engine.container
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: Have the configuration in the container
  hull.engine.container_copy_into:
    container: web
    path: /srv/web/nginx.conf
    container_path: /etc/nginx/nginx.conf
    owner_id: 0
    group_id: 0

- name: Have a whole directory in a volume, before the first start
  hull.engine.container_copy_into:
    container: web
    path: /srv/web/site
    container_path: /usr/share/nginx/html

- name: Write a text
  hull.engine.container_copy_into:
    container: web
    content: "{{ greeting }}"
    container_path: /srv/greeting.txt
    mode: "0644"
    mode_parse: modern
"""

RETURN = r"""
container_path:
  description:
    - Where the copy lies in the container. Another one than the option only if O(follow=true) and that is a link.
  returned: success
  type: str
  sample: /etc/nginx/nginx.conf
"""

from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid, NotFound  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._module.copy_results import copied_result  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._module.docker_connection import (  # noqa: E402
    DOCKER_ARGUMENTS,
    refuse_other_hosts,
)
from ansible_collections.hull.engine.plugins.module_utils._module.runner import Task, run_module  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARGUMENTS: dict[str, dict[str, Any]] = {
    "container": {"type": "str", "required": True},
    "path": {"type": "path"},
    "content": {"type": "str", "no_log": True},
    "content_is_b64": {"type": "bool", "default": False},
    "container_path": {"type": "str", "required": True},
    "follow": {"type": "bool", "default": False},
    "local_follow": {"type": "bool", "default": True},
    "owner_id": {"type": "int"},
    "group_id": {"type": "int"},
    "mode": {"type": "raw"},
    "mode_parse": {"type": "str", "choices": ["legacy", "modern", "octal_string_only"], "default": "legacy"},
    "force": {"type": "bool"},
}


def content_bytes(options: dict[str, Any]) -> bytes | None:
    """The content that the task gives. Raises Invalid."""
    content = options["content"]
    if content is None:
        return None
    if not options["content_is_b64"]:
        return str(content).encode("utf-8", "surrogateescape")
    from base64 import b64decode

    try:
        return b64decode(content, validate=True)
    except ValueError as error:
        raise Invalid(f"it is not Base64: {error}", option="content") from error


def parse_mode(value: Any, how: str) -> int | None:
    """The number that a mode means. Raises Invalid."""
    if value is None:
        return None
    text = value if isinstance(value, str) else None
    if how == "octal_string_only" and text is None:
        raise Invalid(f"{value!r} is not an octal number in quotes", option="mode")
    if text is not None and how == "legacy" and len(text) > 1 and text.startswith("0"):
        raise Invalid(
            f"{text!r} would be read as a decimal number", option="mode", hint="set mode_parse: modern for octal ones"
        )
    try:
        if text is not None and not (text.isascii() and text.isdigit()):
            raise ValueError(text)
        mode = int(text, 10 if how == "legacy" else 8) if text is not None else int(value)
    except (TypeError, ValueError) as error:
        raise Invalid(
            f"{value!r} is not a mode", option="mode", hint='write "0644", with mode_parse: modern'
        ) from error
    if isinstance(value, (bool, float)) or not 0 <= mode <= 0o7777:
        raise Invalid(f"{value!r} is not a mode", option="mode", hint="it has four octal digits at most")
    return mode


def copy_into(task: Task) -> dict[str, Any]:
    """Have the copy in the container."""
    from ansible_collections.hull.engine.plugins.module_utils._engine import containers
    from ansible_collections.hull.engine.plugins.module_utils._engine.copy_tasks import CopyInto, ensure_copied_into

    options = task.options
    refuse_other_hosts(options)
    request = CopyInto(
        container_path=options["container_path"],
        source=options["path"] or "",
        content=content_bytes(options),
        owner=None if options["owner_id"] is None else (options["owner_id"], options["group_id"]),
        mode=parse_mode(options["mode"], options["mode_parse"]),
        follow=options["follow"],
        local_follow=options["local_follow"],
        force=options["force"],
    )
    record = containers.lookup(task.engine, options["container"])
    if record is None:
        raise NotFound(f'Could not find container "{options["container"]}"')
    copied = ensure_copied_into(task.engine, record, request, check=task.check)
    return {**copied_result(copied), "container_path": copied.path}


def main() -> None:
    """Run the module."""
    run_module(
        copy_into,
        {**DOCKER_ARGUMENTS, **ARGUMENTS},
        required_one_of=[("path", "content")],
        mutually_exclusive=[("path", "content")],
        required_together=[("owner_id", "group_id")],
        required_by={"content": ["mode"]},
    )


if __name__ == "__main__":
    main()
