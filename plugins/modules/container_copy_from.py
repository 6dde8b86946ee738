#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.container_copy_from: a container's file or directory on the managed host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_copy_from
short_description: Copy a file or a directory out of a container
description:
  - Copies a file or a directory of a container that runs or not, with what its volumes and bind mounts hold, to the
    managed host.
  - What is there already with the same content, owner and mode is left alone. A file is replaced in one step.
  - Set-user-ID and set-group-ID bits, file capabilities and device nodes of a container do not come to the host.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.engine.attributes
options:
  container:
    description:
      - The container's name, its id or at least the first 12 digits of that.
    type: str
    required: true
  container_path:
    description:
      - The path in the container, absolute.
    type: str
    required: true
    aliases: [src]
  dest:
    description:
      - The path on the managed host. Its directory has to exist.
      - A file goes into it if it is a directory. Of a directory, all that is in it is copied into the directory
        O(dest), which is made if it is missing, beside what is there.
      - A link there is followed only if the path ends with a slash, since it may have come from the container.
    type: path
    required: true
  follow:
    description:
      - If O(container_path) is a link, copy what it leads to in the container, instead of the link.
    type: bool
    default: true
  force:
    description:
      - Copy always, and let a file replace a directory or the other way round.
    type: bool
    default: false
  owner:
    description:
      - The owner of the copy, a name of the managed host or a number. If not set, the user who copies.
    type: str
  group:
    description:
      - The group of the copy, a name of the managed host or a number. If not set, that of the user who copies.
    type: str
  mode:
    description:
      - The mode of files, an octal number in quotes. A directory made gets it too, and can be searched by those who can
        read it. If not set, or V(preserve), it is that in the container.
    type: raw
seealso:
  - module: hull.engine.container_copy_into
  - module: hull.engine.container_export
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: Take the certificate along
  hull.engine.container_copy_from:
    container: proxy
    container_path: /etc/proxy/tls/cert.pem
    dest: /etc/ssl/certs/proxy.pem
    owner: root
    mode: "0644"

- name: Keep the logs of a container that has ended
  hull.engine.container_copy_from:
    container: job
    container_path: /var/log/job
    dest: /srv/logs/job
"""

RETURN = r"""
dest:
  description:
    - Where the copy lies on the managed host.
  returned: success
  type: str
  sample: /etc/ssl/certs/proxy.pem
container_path:
  description:
    - The path in the container.
  returned: success
  type: str
  sample: /etc/proxy/tls/cert.pem
"""

from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid, NotFound  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._module.copy_results import copied_result  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._module.runner import Task, run_module  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ARGUMENTS: dict[str, dict[str, Any]] = {
    "container": {"type": "str", "required": True},
    "container_path": {"type": "str", "required": True, "aliases": ["src"]},
    "dest": {"type": "path", "required": True},
    "follow": {"type": "bool", "default": True},
    "force": {"type": "bool", "default": False},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "mode": {"type": "raw"},
}


def account_id(value: str | None, option: str) -> int | None:
    """The id of a user or group of the host. Raises Invalid."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return int(value)
    import grp
    import pwd

    look_up: Callable[[str], int] = (
        (lambda name: pwd.getpwnam(name).pw_uid) if option == "owner" else (lambda name: grp.getgrnam(name).gr_gid)
    )
    try:
        return look_up(value)
    except KeyError as error:
        raise Invalid(f"there is no {value!r} on this host", option=option, hint="make it, or give a number") from error


def parse_mode(value: Any) -> int | None:
    """The number that a mode means; None for that of the file. Raises Invalid."""
    if value is None or value == "preserve":
        return None
    text = str(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0o7777:
        return value
    if not isinstance(value, str) or not text or len(text) > 5 or not set(text) <= set("01234567"):
        raise Invalid(f"{value!r} is not a mode", option="mode", hint='write an octal number in quotes: "0644"')
    return int(text, 8)


def copy_from(task: Task) -> dict[str, Any]:
    """Have the copy on the host."""
    from ansible_collections.hull.engine.plugins.module_utils._engine import containers
    from ansible_collections.hull.engine.plugins.module_utils._engine.copy_tasks import CopyFrom, ensure_copied_from

    options = task.options
    request = CopyFrom(
        container_path=options["container_path"],
        destination=options["dest"],
        owner=(account_id(options["owner"], "owner"), account_id(options["group"], "group")),
        mode=parse_mode(options["mode"]),
        follow=options["follow"],
        force=options["force"],
    )
    record = containers.lookup(task.engine, options["container"])
    if record is None:
        raise NotFound(f'Could not find container "{options["container"]}"')
    copied = ensure_copied_from(task.engine, record, request, check=task.check)
    return {**copied_result(copied), "dest": copied.path, "container_path": options["container_path"]}


def main() -> None:
    """Run the module."""
    run_module(copy_from, ARGUMENTS)


if __name__ == "__main__":
    main()
