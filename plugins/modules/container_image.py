#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.container_image: one image, present or absent."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_image
short_description: Pull, load, import, tag, push, archive and remove an image
description:
  - Makes one image present on the host or absent from it.
  - An image comes from a registry, from an archive or layout directory that another tool has written, or from a
    tarball of a root file system. It can be written to an archive, get another name and be pushed, in this order.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.engine.attributes
  - hull.engine.docker
attributes:
  check_mode:
    details:
      - With O(source=pull) the registry is asked which image would come; archives and tarballs are read. The diff tells
        its id.
options:
  name:
    description:
      - The image, as a reference such as V(debian:12), V(registry.example.org:5000/team/app:1.4) or
        V(debian@sha256:...). Without a tag it is V(latest).
      - With O(state=absent), O(source=local) and O(source=load) also an image's id, V(sha256:...). To remove one, the
        first 12 digits of its id are enough.
    type: str
    required: true
  tag:
    description:
      - The tag, where O(name) has none. Without either it is V(latest).
    type: str
  state:
    description:
      - V(present) has the image on the host, from O(source) where it is not there.
      - V(absent) removes the name and, where that was its last, the image with its layers. The last name of an image
        that a container was made from is refused.
      - V(verified) is V(present), and every byte of the image is looked at. What is damaged is brought from O(source)
        once more, the same image, while containers that use it go on running.
    type: str
    choices: [present, verified, absent]
    default: present
  source:
    description:
      - V(pull) gets it from the registry that O(name) says.
      - V(load) takes it from O(load_path), V(import) makes it of O(import_path).
      - V(local) only checks that it is there.
      - V(build) does the same, because this engine does not build images. A task that would have to build is refused.
      - Not given, it is V(load), V(import) or V(build) where O(load_path), O(import_path) or O(build) is given, else
        V(pull).
    type: str
    choices: [build, load, pull, import, local]
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
  force_tag:
    description:
      - Give the name in O(repository) to this image even if another one has it.
    type: bool
    default: false
  repository:
    description:
      - Another name for the image, such as V(registry.example.org:5000/team/app:1.4). Without a tag it gets that of
        O(name), or O(tag).
      - A name that another image has stays where it is, unless O(force_tag) is set.
    type: str
  push:
    description:
      - Push the image to the registry that O(repository) says, or O(name) where that is not given.
      - Nothing is sent that the registry has. A push that changes nothing there is no change.
    type: bool
    default: false
  archive_path:
    description:
      - Write the image to this file as C(docker save) does. One that holds this image under this name stays as it is.
    type: path
  build:
    description:
      - What O(source=build) would build. Accepted for tasks that come from community.docker; see O(source).
    type: dict
    suboptions:
      path:
        description: The directory of the context.
        type: path
        required: true
      dockerfile:
        description: The file with the instructions, below the context.
        type: str
      args:
        description: Arguments of the build.
        type: dict
      cache_from:
        description: Images whose layers may be used again.
        type: list
        elements: str
      pull:
        description: Whether base images are looked for anew.
        type: bool
        default: false
      rm:
        description: Whether containers of the build are removed.
        type: bool
        default: true
      nocache:
        description: Whether every step is done anew.
        type: bool
        default: false
      network:
        description: The network of the steps.
        type: str
      etc_hosts:
        description: Further lines of C(/etc/hosts).
        type: dict
      http_timeout:
        description: Seconds that a request to the daemon may take.
        type: int
      use_config_proxy:
        description: Whether the client's proxies are those of the build.
        type: bool
      container_limits:
        description: Limits of the build's containers.
        type: dict
      target:
        description: The stage that becomes the image.
        type: str
      platform:
        description: What the image is for.
        type: str
      shm_size:
        description: The size of C(/dev/shm).
        type: str
      labels:
        description: Labels of the image.
        type: dict
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
      - Who pulls, and who pushes, unless the image was pulled from another registry than it is pushed to. Not given,
        the configuration in O(hull_config) and what C(hull login) kept decide.
    type: str
  password:
    description:
      - The password or token for O(username).
    type: str
seealso:
  - module: hull.engine.container_image_info
  - module: hull.engine.container_image_pull
  - module: hull.engine.container_image_tag
  - module: hull.engine.container_image_remove
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

- name: Pass an image on, under another name
  hull.engine.container_image:
    name: debian:12
    source: local
    repository: registry.example.org:5000/mirror/debian
    push: true

- name: Keep it in a file, too
  hull.engine.container_image:
    name: debian:12
    archive_path: /srv/images/debian-12.tar

- name: Remove it
  hull.engine.container_image:
    name: ubuntu:14.04
    state: absent
"""

RETURN = r"""
image:
  description:
    - The image after the task (in check mode, and when it was removed, before it) in the shape of
      C(docker image inspect). Empty where there is none.
  returned: always
  type: dict
  sample:
    Id: sha256:8f2b3c...
    RepoTags: [debian:12]
    RepoDigests: [debian@sha256:01ba47...]
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

from ansible_collections.hull.engine.plugins.module_utils._base.digests import is_digest  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._module.arguments import with_tag  # noqa: E402
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
    "name": {"type": "str", "required": True},
    "tag": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "verified", "absent"], "default": "present"},
    "source": {"type": "str", "choices": ["build", "load", "pull", "import", "local"]},
    "force_source": {"type": "bool", "default": False},
    "force_absent": {"type": "bool", "default": False},
    "force_tag": {"type": "bool", "default": False},
    "repository": {"type": "str"},
    "push": {"type": "bool", "default": False},
    "archive_path": {"type": "path"},
    "build": {
        "type": "dict",
        "options": {
            "path": {"type": "path", "required": True},
            "dockerfile": {"type": "str"},
            "args": {"type": "dict"},
            "cache_from": {"type": "list", "elements": "str"},
            "pull": {"type": "bool", "default": False},
            "rm": {"type": "bool", "default": True},
            "nocache": {"type": "bool", "default": False},
            "network": {"type": "str"},
            "etc_hosts": {"type": "dict"},
            "http_timeout": {"type": "int"},
            "use_config_proxy": {"type": "bool"},
            "container_limits": {"type": "dict"},
            "target": {"type": "str"},
            "platform": {"type": "str"},
            "shm_size": {"type": "str"},
            "labels": {"type": "dict"},
        },
    },
    "pull": {"type": "dict", "options": {"platform": {"type": "str"}}},
    "load_path": {"type": "path"},
    "import_path": {"type": "path"},
    "import_changes": {"type": "list", "elements": "str"},
    "import_message": {"type": "str"},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
}


def default_source(options: dict[str, Any]) -> str:
    """Where the image comes from if the task does not say."""
    if options["source"]:
        return str(options["source"])
    given = {"load": options["load_path"], "import": options["import_path"], "build": options["build"]}
    return next((source for source, value in given.items() if value), "pull")


def other_name(options: dict[str, Any], name: str) -> str:
    """The name in `repository`, by default with the tag that the image has."""
    tag = "" if is_digest(name) else name.rpartition("/")[2].partition("@")[0].partition(":")[2]
    return with_tag(options["repository"], tag or options["tag"]) if options["repository"] else ""


def ensure_image(task: Task) -> dict[str, Any]:
    """Bring the image to what the task says."""
    from ansible_collections.hull.engine.plugins.module_utils._engine.image_source import ImageRequest
    from ansible_collections.hull.engine.plugins.module_utils._engine.image_task import ensure

    options = task.options
    refuse_other_hosts(options)
    name = with_tag(options["name"], options["tag"])
    request = ImageRequest(
        name=name,
        state=options["state"],
        source=default_source(options),
        force_source=options["force_source"],
        force_absent=options["force_absent"],
        force_tag=options["force_tag"],
        repository=other_name(options, name),
        push=options["push"],
        archive_path=options["archive_path"] or "",
        platform=(options["pull"] or {}).get("platform") or "",
        load_path=options["load_path"] or "",
        import_path=options["import_path"] or "",
        changes=tuple(options["import_changes"] or ()),
        message=options["import_message"] or "",
        username=options["username"] or "",
        password=options["password"] or "",
    )
    return {"image": {}, **outcome_result(ensure(task.engine, request, check=task.check), "image")}


def main() -> None:
    """Run the module."""
    run_module(
        ensure_image,
        {**ARGUMENTS, **DOCKER_ARGUMENTS},
        required_together=[("username", "password")],
        mutually_exclusive=[("load_path", "import_path")],
    )


if __name__ == "__main__":
    main()
