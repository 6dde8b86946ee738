#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.container_commit: an image of what a container is now."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_commit
short_description: Make an image of a container
description:
  - Makes an image of a container, running or stopped, with all that it has changed in its own file system. What is
    mounted in it, volumes above all, is not part of the image.
  - The image says of itself what the container's image says, changed by what the container was given (command,
    environment, labels, user, working directory, exposed ports, health check, stop signal) and by O(changes).
  - The same container gives an image with the same layers each time, and the same id too where the environment variable
    E(SOURCE_DATE_EPOCH) says when it was made.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.engine.attributes
attributes:
  check_mode:
    details:
      - The container's changes are read, without stopping it, and the diff tells the layers that the image would have.
  idempotent:
    support: partial
    details:
      - A container that has not changed since the image of that name was made of it is not committed again. One that
        runs mostly has.
options:
  container:
    description:
      - The container's name, its id or at least the first 12 digits of that.
    type: str
    required: true
  name:
    description:
      - The name of the image, such as V(app:2) or V(registry.example.org/team/app:2). Another image loses it.
    type: str
    required: true
    aliases: [image, repository]
  tag:
    description:
      - The tag, where O(name) has none. Without either it is V(latest).
    type: str
  author:
    description:
      - Who made the image.
    type: str
  message:
    description:
      - A remark for the image's history.
    type: str
  changes:
    description:
      - Lines of a Dockerfile that change the image's configuration, such as V(CMD ["/bin/sh"]) or V(ENV A=1).
        CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR are known.
    type: list
    elements: str
    aliases: [change]
  pause:
    description:
      - Whether the processes of a running container are stopped while its files are read, so that these fit together.
        They go on afterwards, also when the task is killed.
    type: bool
    default: true
  force:
    description:
      - Commit the container also where the image of that name is what would be made.
    type: bool
    default: false
seealso:
  - module: hull.engine.container
  - module: hull.engine.container_export
  - module: hull.engine.container_image
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: Keep what was installed in the container
  hull.engine.container_commit:
    container: web
    name: emma:v2
    message: PHP installed

- name: Make an image of it that starts something else
  hull.engine.container_commit:
    container: builder
    name: registry.example.org/team/app
    tag: nightly
    author: Emma
    changes:
      - CMD ["/srv/app/run"]
      - ENV MODE=production
    pause: false
"""

RETURN = r"""
image:
  description:
    - The image after the task (in check mode, before it) in the shape of C(docker image inspect).
  returned: when there is one
  type: dict
  sample:
    Id: sha256:8f2b3c...
    RepoTags: [emma:v2]
    Comment: PHP installed
actions:
  description:
    - What was done, or would be done in check mode.
    - It has one key that says what, with the container as its value, and RV(actions[].reason).
  returned: always
  type: list
  elements: dict
  contains:
    reason:
      description: Why.
      returned: always
      type: str
      sample: the container is another now
  sample:
    - committed: web
      reason: not here
"""

from ansible_collections.hull.engine.plugins.module_utils._module.arguments import with_tag  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._module.results import outcome_result  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._module.runner import Task, run_module  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARGUMENTS: dict[str, dict[str, Any]] = {
    "container": {"type": "str", "required": True},
    "name": {"type": "str", "required": True, "aliases": ["image", "repository"]},
    "tag": {"type": "str"},
    "author": {"type": "str"},
    "message": {"type": "str"},
    "changes": {"type": "list", "elements": "str", "aliases": ["change"]},
    "pause": {"type": "bool", "default": True},
    "force": {"type": "bool", "default": False},
}


def commit_container(task: Task) -> dict[str, Any]:
    """Have the image that the task wants."""
    from ansible_collections.hull.engine.plugins.module_utils._engine.commit_task import ensure_commit
    from ansible_collections.hull.engine.plugins.module_utils._engine.committing import CommitRequest
    from ansible_collections.hull.engine.plugins.module_utils._engine.containers import find

    options = task.options
    request = CommitRequest(
        name=with_tag(options["name"], options["tag"]),
        author=options["author"] or "",
        message=options["message"] or "",
        changes=tuple(options["changes"] or ()),
        pause=options["pause"],
    )
    record = find(task.engine, options["container"])
    return outcome_result(
        ensure_commit(task.engine, record, request, force=options["force"], check=task.check), "image"
    )


def main() -> None:
    """Run the module."""
    run_module(commit_container, ARGUMENTS)


if __name__ == "__main__":
    main()
