#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.container_image_export: an archive of images."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_image_export
short_description: Write images to an archive
description:
  - Has an archive of one or more images of the host, as Docker, Podman, Buildah, Skopeo and
    M(hull.engine.container_image_load) read it.
  - An archive that is there already and holds just these images with just these names is left as it is; its images are
    compared by their ids. Any other file of that name is replaced, in one step.
  - The same images always make the same bytes.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.engine.attributes
  - hull.engine.docker
options:
  names:
    description:
      - The images, as references, ids or at least the first 12 digits of ids. A name without a tag gets O(tag).
      - An image that is given by its id has no name in the archive.
    type: list
    elements: str
    required: true
    aliases: [name]
  tag:
    description:
      - The tag of names that have none.
    type: str
    default: latest
  path:
    description:
      - The file on the host; with O(format=oci-dir) the directory, which must not exist or be empty.
    type: path
    required: true
  format:
    description:
      - V(docker-archive) is what C(docker save) writes; layers in it are not compressed.
      - V(oci-archive) and V(oci-dir) are an OCI image layout, as a file or as a directory. Layers that came compressed,
        and the digest of the image's manifest, stay as they were, where the compressed layers were kept.
    type: str
    choices: [docker-archive, oci-archive, oci-dir]
    default: docker-archive
  platform:
    description:
      - Fail where an image is for another platform than this, such as V(linux/arm64).
    type: str
  force:
    description:
      - Write the archive even if one with these images is there.
    type: bool
    default: false
seealso:
  - module: hull.engine.container_image_load
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: Take an image along
  hull.engine.container_image_export:
    name: app:1.4
    path: /srv/images/app-1.4.tar

- name: Several images in one OCI archive
  hull.engine.container_image_export:
    names:
      - app:1.4
      - registry.example.org/team/db:15
    path: /srv/images/team.oci.tar
    format: oci-archive
"""

RETURN = r"""
images:
  description:
    - The images in the archive, in the shape of C(docker image inspect).
  returned: always
  type: list
  elements: dict
  sample:
    - Id: sha256:8f2b3c...
      RepoTags: ["app:1.4"]
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
      sample: other images
  sample:
    - exported_image: app:1.4
      reason: not there
"""

from ansible_collections.hull.engine.plugins.module_utils._module.docker_connection import (  # noqa: E402
    DOCKER_ARGUMENTS,
    refuse_other_hosts,
)
from ansible_collections.hull.engine.plugins.module_utils._module.results import outcome_result  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._module.runner import Task, run_module  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARGUMENTS: dict[str, dict[str, Any]] = {
    "names": {"type": "list", "elements": "str", "required": True, "aliases": ["name"]},
    "tag": {"type": "str", "default": "latest"},
    "path": {"type": "path", "required": True},
    "format": {"type": "str", "choices": ["docker-archive", "oci-archive", "oci-dir"], "default": "docker-archive"},
    "platform": {"type": "str"},
    "force": {"type": "bool", "default": False},
}


def export_images(task: Task) -> dict[str, Any]:
    """Have the archive."""
    from ansible_collections.hull.engine.plugins.module_utils._engine.archive_tasks import ExportRequest, export

    options = task.options
    refuse_other_hosts(options)
    request = ExportRequest(
        names=tuple(options["names"]),
        tag=options["tag"],
        path=options["path"],
        form=options["format"],
        platform=options["platform"] or "",
        force=options["force"],
    )
    result = outcome_result(export(task.engine, request, check=task.check), "found")
    return {**result.pop("found"), **result}


def main() -> None:
    """Run the module."""
    run_module(export_images, {**ARGUMENTS, **DOCKER_ARGUMENTS})


if __name__ == "__main__":
    main()
