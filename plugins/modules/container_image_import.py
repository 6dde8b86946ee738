#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.container_image_import: an image made of a root file system's tarball."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_image_import
short_description: Make an image of a root file system's tarball
description:
  - Has an image of one layer under a name, made of a tarball as C(docker export), debootstrap, OpenVZ and LXC write it,
    plain or compressed with gzip, bzip2, xz or zstd. Of an LXC or Incus image that holds C(rootfs/) and
    C(metadata.yaml) the root file system is taken.
  - The same tarball with the same options always makes the same image, on every host of one platform, so this is
    idempotent by the image's id. Its time is that of the newest entry in the tarball, or what C(SOURCE_DATE_EPOCH) in
    the task's environment says.
  - Where the name is taken, the tarball is read to its end to see which image it would make, also in check mode.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.engine.attributes
options:
  name:
    description:
      - The name of the image. Without a tag it is O(tag).
    type: str
    required: true
  tag:
    description:
      - The tag, where O(name) has none.
    type: str
    default: latest
  path:
    description:
      - The tarball on the host.
    type: path
  url:
    description:
      - Where to get the tarball, by HTTP or HTTPS. Proxies are taken from the environment; no credentials are sent.
      - It is fetched in every run, also in check mode, as there is no other way to know what is there now. It is never
        written to the disk as a whole.
    type: str
  checksum:
    description:
      - The digest that the file must have, as it is and not uncompressed, such as V(sha256:3a5f...).
    type: str
  changes:
    description:
      - Lines of a Dockerfile that describe the image, such as V(CMD ["/bin/sh"]). C(CMD), C(ENTRYPOINT), C(ENV),
        C(EXPOSE), C(HEALTHCHECK), C(LABEL), C(ONBUILD), C(STOPSIGNAL), C(USER), C(VOLUME) and C(WORKDIR) are allowed.
    type: list
    elements: str
  message:
    description:
      - A remark for the image's history.
    type: str
  platform:
    description:
      - What the image is for, such as V(linux/arm64). Not given, it is the host's.
    type: str
seealso:
  - module: hull.engine.container_image_load
  - module: hull.engine.container_image
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: Make an image of a template
  hull.engine.container_image_import:
    name: ubuntu:14.04
    path: /srv/templates/ubuntu-14.04-x86_64.tar.gz
    changes:
      - CMD ["/bin/bash"]
    message: the OpenVZ template

- name: Make one of what a server has, and of nothing else
  hull.engine.container_image_import:
    name: alpine:3.20
    url: https://dl.example.org/alpine/rootfs.tar.gz
    checksum: sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
"""

RETURN = r"""
image:
  description:
    - The image after the task (in check mode, before it) in the shape of C(docker image inspect).
  returned: when there is one
  type: dict
  sample:
    Id: sha256:8f2b3c...
    RepoTags: ["ubuntu:14.04"]
actions:
  description:
    - What was done, or would be done in check mode.
    - Each has one key that says what, with the object as its value, and RV(actions[].reason).
  returned: always
  type: list
  elements: dict
  contains:
    reason:
      description: Why.
      returned: always
      type: str
      sample: another image
  sample:
    - imported_image: ubuntu:14.04
      reason: not here
"""

from ansible_collections.hull.engine.plugins.module_utils._module.arguments import with_tag  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._module.results import outcome_result  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._module.runner import Task, run_module  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "tag": {"type": "str", "default": "latest"},
    "path": {"type": "path"},
    "url": {"type": "str"},
    "checksum": {"type": "str"},
    "changes": {"type": "list", "elements": "str"},
    "message": {"type": "str"},
    "platform": {"type": "str"},
}


def import_image(task: Task) -> dict[str, Any]:
    """Have the image under its name."""
    from ansible_collections.hull.engine.plugins.module_utils._engine.archive_tasks import ImportRequest
    from ansible_collections.hull.engine.plugins.module_utils._engine.archive_tasks import import_image as ensure

    options = task.options
    request = ImportRequest(
        source=options["path"] or options["url"],
        name=with_tag(options["name"], options["tag"]),
        changes=tuple(options["changes"] or ()),
        message=options["message"] or "",
        platform=options["platform"] or "",
        checksum=options["checksum"] or "",
    )
    return outcome_result(ensure(task.engine, request, check=task.check), "image")


def main() -> None:
    """Run the module."""
    run_module(import_image, ARGUMENTS, required_one_of=[("path", "url")], mutually_exclusive=[("path", "url")])


if __name__ == "__main__":
    main()
