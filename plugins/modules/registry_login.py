#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.registry_login: credentials for a registry, kept or forgotten."""

from __future__ import annotations

DOCUMENTATION = r"""
module: registry_login
short_description: Log in to a registry and out of it
description:
  - Asks a registry whether it accepts a user name and password, and keeps them in a file on the host, from which later
    pulls and pushes take them.
  - Options that name credentials in other modules, and C(credentials) in C(registries.json), go before the file.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.engine.attributes
  - hull.engine.docker
options:
  registry_url:
    description:
      - The registry, as V(registry.example.org:5000), or a path in one, as V(registry.example.org/team). A scheme and
        C(/v1/) at the end are ignored. Not given, it is the default registry of C(registries.json) in O(hull_config).
    type: str
    aliases: [registry, url]
  username:
    description:
      - Who logs in. Required with O(state=present).
    type: str
  password:
    description:
      - The password, or a token that the registry accepts as one. Required with O(state=present).
    type: str
  reauthorize:
    description:
      - Ask the registry even if the file has these credentials already. The file does not change by that.
    type: bool
    default: false
    aliases: [reauth]
  config_path:
    description:
      - The file, in the form of Docker's C(config.json) or of Podman's C(auth.json). What else is in it stays. Where it
        names a credential helper for the registry, that helper keeps the secret.
      - Not given, it is C(auth.json) in O(hull_config).
    type: path
    aliases: [dockercfg_path]
  state:
    description:
      - V(present) logs in, V(absent) forgets the credentials without asking the registry.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: hull.engine.registry_info
  - module: hull.engine.container_image_pull
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: Log in to a registry
  hull.engine.registry_login:
    registry_url: registry.example.org
    username: deploy
    password: "{{ registry_password }}"

- name: For Docker on the same host, too
  hull.engine.registry_login:
    registry_url: registry.example.org
    username: deploy
    password: "{{ registry_password }}"
    config_path: /root/.docker/config.json

- name: Log out
  hull.engine.registry_login:
    registry_url: registry.example.org
    state: absent
"""

RETURN = r"""
login_result:
  description:
    - Who is known at the registry after the task. Never the password.
  returned: always
  type: dict
  contains:
    registry:
      description: The registry, or the path in one.
      returned: always
      type: str
      sample: registry.example.org
    logged_in:
      description: Whether the file has credentials for it.
      returned: always
      type: bool
      sample: true
    username:
      description: Whose, or none.
      returned: always
      type: str
      sample: deploy
config_path:
  description:
    - The file that keeps them.
  returned: always
  type: str
  sample: /etc/hull/auth.json
actions:
  description:
    - What was done, or would be done in check mode. The registry is asked in check mode, too.
  returned: always
  type: list
  elements: dict
  sample:
    - logged_in: registry.example.org
      reason: not logged in
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
    "registry_url": {"type": "str", "aliases": ["registry", "url"]},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "reauthorize": {"type": "bool", "default": False, "aliases": ["reauth"]},
    "config_path": {"type": "path", "aliases": ["dockercfg_path"]},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def ensure_login(task: Task) -> dict[str, Any]:
    """Have the credentials, or have none."""
    from ansible_collections.hull.engine.plugins.module_utils._engine import registries

    options = task.options
    refuse_other_hosts(options)
    server, path = options["registry_url"] or "", options["config_path"] or ""
    if options["state"] == "absent":
        outcome = registries.log_out(task.engine, server, path=path, check=task.check)
    else:
        login = registries.Login(
            server, options["username"], options["password"], path=path, reauthorize=options["reauthorize"]
        )
        outcome = registries.log_in(task.engine, login, check=task.check)
    result = outcome_result(outcome, "login")
    return {**result, "login_result": outcome.after, "config_path": registries.credential_file(task.engine, path)}


def main() -> None:
    """Run the module."""
    required = [("state", "present", ["username", "password"])]
    run_module(ensure_login, {**ARGUMENTS, **DOCKER_ARGUMENTS}, required_if=required)


if __name__ == "__main__":
    main()
