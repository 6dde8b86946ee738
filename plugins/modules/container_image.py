#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.container_image: one image, present or absent."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_image
short_description: Pull, load, import and remove an image
description:
  - Makes one image present on the host or absent from it.
  - An image comes from a registry, from an archive or layout directory that another tool has written, or from a
    tarball of a root file system.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.engine.attributes
options:
  name:
    description:
      - The image, as a reference such as V(debian:12), V(registry.example.org:5000/team/app:1.4) or
        V(debian@sha256:...). Without a tag it is V(latest).
      - With O(state=absent) also an image's id or the beginning of one.
    type: str
    required: true
  tag:
    description:
      - The tag, where O(name) has none.
    type: str
  state:
    description:
      - V(present) has the image on the host, from O(source) where it is not there.
      - V(absent) removes the name and, where that was its last, the image with its layers. The last name of an image
        that a container was made from is refused.
    type: str
    choices: [present, absent]
    default: present
  source:
    description:
      - V(pull) gets it from the registry that O(name) says.
      - V(load) takes it from O(load_path), V(import) makes it of O(import_path).
      - V(local) only checks that it is there.
      - Not given, it is V(load) or V(import) where the path for that is given, else V(pull).
    type: str
    choices: [pull, load, import, local]
  force_source:
    description:
      - Use O(source) even if there is an image of this name. With V(pull) the registry is asked whether it has a newer
        one, and layers that are on the host are kept.
    type: bool
    default: false
  force_absent:
    description:
      - Remove all names of an image that is given by its id and has more than one.
      - Remove the name of an image that a container was made from, and keep the image for that container.
    type: bool
    default: false
  pull:
    description:
      - How to pull.
    type: dict
    suboptions:
      platform:
        description:
          - Which variant to pull, such as V(linux/arm64). Not given, it is the host's.
        type: str
  load_path:
    description:
      - A file as C(docker save) or C(skopeo copy ... oci-archive:) writes it, or an OCI layout directory.
      - If it holds one image, that gets the name O(name). If it holds several, O(name) must be among them. The names
        in it come along.
    type: path
  import_path:
    description:
      - A tarball of a root file system, plain or compressed with gzip, bzip2, xz or zstd.
    type: path
  import_changes:
    description:
      - Lines of a Dockerfile that describe the imported image, such as V(CMD ["/bin/sh"]).
    type: list
    elements: str
  import_message:
    description:
      - A remark for the image's history.
    type: str
  username:
    description:
      - Who pulls. Not given, C(registries.json) in O(hull_config) decides.
    type: str
  password:
    description:
      - The password or token for O(username).
    type: str
seealso:
  - module: hull.engine.container_image_info
  - module: hull.engine.container
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: Have an image
  hull.engine.container_image:
    name: debian:12

- name: Have the newest one under that name
  hull.engine.container_image:
    name: registry.example.org/team/app:stable
    force_source: true
    username: deploy
    password: "{{ registry_token }}"

- name: Load what another tool has saved
  hull.engine.container_image:
    name: app:1.4
    source: load
    load_path: /srv/images/app-1.4.tar

- name: Make an image of a template
  hull.engine.container_image:
    name: ubuntu:14.04
    source: import
    import_path: /srv/templates/ubuntu-14.04-x86_64.tar.gz
    import_changes:
      - CMD ["/bin/bash"]

- name: Remove it
  hull.engine.container_image:
    name: ubuntu:14.04
    state: absent
"""

RETURN = r"""
image:
  description:
    - The image after the task (in check mode, and when it was removed, before it) in the shape of
      C(docker image inspect).
  returned: when there is one
  type: dict
  sample:
    Id: sha256:8f2b3c...
    RepoTags: [debian:12]
    Architecture: amd64
    Os: linux
    Size: 116550000
actions:
  description:
    - What was done, or would be done in check mode, in order.
    - Each has one key that says what, with the object as its value, and RV(actions[].reason) where there is one.
  returned: always
  type: list
  elements: dict
  contains:
    reason:
      description: Why.
      returned: where it is known
      type: str
      sample: not here
  sample:
    - pulled_image: debian:12
      reason: not here
"""

from ansible_collections.hull.engine.plugins.module_utils._module.results import outcome_result  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._module.runner import Task, run_module  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "tag": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "source": {"type": "str", "choices": ["pull", "load", "import", "local"]},
    "force_source": {"type": "bool", "default": False},
    "force_absent": {"type": "bool", "default": False},
    "pull": {"type": "dict", "options": {"platform": {"type": "str"}}},
    "load_path": {"type": "path"},
    "import_path": {"type": "path"},
    "import_changes": {"type": "list", "elements": "str"},
    "import_message": {"type": "str"},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
}


def with_tag(name: str, tag: str | None) -> str:
    """The reference with the tag, unless it has one or is a digest or an id."""
    last = name.rpartition("/")[2]
    return name if not tag or ":" in last or "@" in last else f"{name}:{tag}"


def default_source(options: dict[str, Any]) -> str:
    """Where the image comes from if the task does not say."""
    return options["source"] or ("load" if options["load_path"] else "import" if options["import_path"] else "pull")


def ensure_image(task: Task) -> dict[str, Any]:
    """Bring the image to what the task says."""
    from ansible_collections.hull.engine.plugins.module_utils._engine.image_task import ImageRequest, ensure

    options = task.options
    request = ImageRequest(
        name=with_tag(options["name"], options["tag"]),
        state=options["state"],
        source=default_source(options),
        force_source=options["force_source"],
        force_absent=options["force_absent"],
        platform=(options["pull"] or {}).get("platform") or "",
        load_path=options["load_path"] or "",
        import_path=options["import_path"] or "",
        changes=tuple(options["import_changes"] or ()),
        message=options["import_message"] or "",
        username=options["username"] or "",
        password=options["password"] or "",
    )
    return outcome_result(ensure(task.engine, request, check=task.check), "image")


def main() -> None:
    """Run the module."""
    run_module(
        ensure_image,
        ARGUMENTS,
        required_together=[("username", "password")],
        mutually_exclusive=[("load_path", "import_path")],
    )


if __name__ == "__main__":
    main()
