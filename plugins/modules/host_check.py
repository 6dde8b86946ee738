#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.host_check: refuses a host that can't run containers, before anything is changed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_check
short_description: Refuse a host that can't run containers
description:
  - Fails where the host lacks what containers need, and tells everything that is in the way with its cure. For the
    beginning of a play; the role P(hull.engine.host#role) begins with it.
  - Looks for a kernel of 5.10 or newer with overlayfs and seccomp, control groups with the controllers of
    O(controllers), the capabilities of root in the host's own user namespace, and free space. What containers can do
    without, such as swap accounting, is no reason to fail; M(hull.engine.engine_info) tells that.
  - Whether the file system of the state directory can have the writable layer of overlayfs is tried, in a directory
    that is removed again. Where O(hull_root) does not exist yet, the nearest directory above it is looked at.
  - Firewalls are not looked at; M(hull.engine.engine_info) does that.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.engine.info_attributes
options:
  controllers:
    description:
      - The controllers of control groups that the host has to have, by their names in version 2.
    type: list
    elements: str
    choices: [cpu, cpuset, io, memory, pids]
    default: [cpu, cpuset, io, memory, pids]
  min_free_bytes:
    description:
      - How much has to be free on the file system of the state directory, in bytes. V(0) asks for nothing.
    type: int
    default: 0
  writable_layers:
    description:
      - Whether the file system of the state directory has to be one that overlayfs can write its layers to. In check
        mode this is not tried where overlayfs is a kernel module that is not loaded.
    type: bool
    default: true
  kernel_modules:
    description:
      - Kernel modules to look for; those that are installed and not loaded are returned in RV(unloaded_modules).
        A missing one is no reason to fail.
    type: list
    elements: str
    default: []
  kernel_parameters:
    description:
      - Kernel parameters that are to be set, such as V(net.ipv4.ip_forward). Their values are returned in
        RV(kernel_parameters).
      - One that the kernel does not have is a reason to fail, unless there are RV(unloaded_modules), which may bring
        it.
    type: list
    elements: str
    default: []
  engine_settings:
    description:
      - What is to be written to C(engine.json). Where the engine would not take it, the task fails with what is wrong.
    type: dict
    default: {}
  registries_settings:
    description:
      - The same for C(registries.json). Credentials are better left out of it, since they would be logged.
    type: dict
    default: {}
  policy_settings:
    description:
      - The same for C(policy.json). Keys are not read. Empty is no policy.
    type: dict
    default: {}
  certificates:
    description:
      - Certificates in PEM form by the names of the registries that they are for. Where one can't be read, the task
        fails.
    type: dict
    default: {}
seealso:
  - module: hull.engine.engine_info
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: Go on only where containers can run
  hull.engine.host_check:
    min_free_bytes: 10737418240 # 10 GiB

- name: See what is in the way, and go on
  hull.engine.host_check:
    controllers: [memory, pids]
  register: checked
  failed_when: false

- name: Tell it
  ansible.builtin.debug:
    msg: "{{ item.what }}: {{ item.why }}; {{ item.cure }}"
  loop: "{{ checked.problems }}"
  loop_control:
    label: "{{ item.what }}"
"""

RETURN = r"""
problems:
  description:
    - What is in the way, the most important first. Each has C(what), C(why) and C(cure). Empty where the task does
      not fail.
  returned: when the options are in order
  type: list
  elements: dict
unloaded_modules:
  description:
    - Those of O(kernel_modules) that are installed for the running kernel and not loaded.
  returned: always
  type: list
  elements: str
  sample: [overlay]
kernel_parameters:
  description:
    - The values of those of O(kernel_parameters) that the kernel has now.
  returned: always
  type: dict
  sample: {net.ipv4.ip_forward: "0"}
firewalls:
  description:
    - Which of C(firewalld) and C(ufw) are installed, whether they run or not.
  returned: always
  type: list
  elements: str
  sample: [ufw]
python:
  description:
    - The Python that executes modules on the host.
  returned: always
  type: str
  sample: /usr/bin/python3.11
python_version:
  description:
    - Its version, without what comes after the second number.
  returned: always
  type: str
  sample: "3.11"
pyroute2:
  description:
    - The version of pyroute2 that this Python finds; empty without one.
  returned: always
  type: str
  sample: 0.7.2
"""

from ansible_collections.hull.engine.plugins.module_utils._module.runner import (  # noqa: E402
    Task,
    TaskFailed,
    run_module,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTROLLERS = ["cpu", "cpuset", "io", "memory", "pids"]
ARGUMENTS: dict[str, dict[str, Any]] = {
    "controllers": {"type": "list", "elements": "str", "choices": CONTROLLERS, "default": CONTROLLERS},
    "min_free_bytes": {"type": "int", "default": 0},
    "writable_layers": {"type": "bool", "default": True},
    "kernel_modules": {"type": "list", "elements": "str", "default": []},
    "kernel_parameters": {"type": "list", "elements": "str", "default": []},
    "engine_settings": {"type": "dict", "default": {}},
    "registries_settings": {"type": "dict", "default": {}},
    "policy_settings": {"type": "dict", "default": {}},
    "certificates": {"type": "dict", "default": {}},
}


def check(task: Task) -> dict[str, Any]:
    """Look at the host; the task fails where something is in the way."""
    import sys

    from ansible_collections.hull.engine.plugins.module_utils._engine.host_check import Demand, check_host

    _check_settings(task)
    _check_certificates(task)
    paths = task.engine.paths
    demand = Demand(
        controllers=tuple(task.options["controllers"]),
        min_free_bytes=task.options["min_free_bytes"],
        writable_layers=task.options["writable_layers"],
        kernel_modules=tuple(task.options["kernel_modules"]),
        kernel_parameters=tuple(task.options["kernel_parameters"]),
    )
    findings = check_host(paths, demand, check=task.check)
    result = {
        "changed": False,
        "problems": [{"what": lack.what, "why": lack.why, "cure": lack.cure} for lack in findings.problems],
        "unloaded_modules": list(findings.unloaded_modules),
        "kernel_parameters": findings.kernel_parameters,
        "firewalls": list(findings.firewalls),
        "python": sys.executable,
        "python_version": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "pyroute2": findings.features.pyroute2,
    }
    if findings.problems:
        told = "; ".join(f"no {lack.what}: {lack.why} ({lack.cure})" for lack in findings.problems)
        raise TaskFailed(f"this host can't run containers: {told}", result)
    return result


def _check_settings(task: Task) -> None:
    """Refuse what the engine would not take from its files. Raises Invalid, naming the option."""
    from ansible_collections.hull.engine.plugins.module_utils._base.codec import render
    from ansible_collections.hull.engine.plugins.module_utils._base.engine_file import check_document, file_path
    from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
    from ansible_collections.hull.engine.plugins.module_utils._engine.engine_settings import settings_of
    from ansible_collections.hull.engine.plugins.module_utils._image.policy_file import parse_policy
    from ansible_collections.hull.engine.plugins.module_utils._image.settings_file import parse_settings

    paths = task.engine.paths
    option, file = "engine_settings", file_path(paths)
    try:
        settings_of(paths, check_document(paths, task.options[option]))
        option = file = "registries_settings"
        parse_settings(render(task.options[option]).encode(), file)
        option = file = "policy_settings"
        if task.options[option]:
            parse_policy(render(task.options[option]).encode(), file)
    except Invalid as error:  # says that it reads a file, which is not written yet
        raise Invalid(error.message.removeprefix(f"read {file}: "), option=option, hint=error.hint) from error


def _check_certificates(task: Task) -> None:
    """Refuse what is no certificate. Raises Invalid, naming the registry."""
    if not task.options["certificates"]:
        return
    from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
    from ansible_collections.hull.engine.plugins.module_utils._image.certificates import check_certificates

    for name, text in task.options["certificates"].items():
        try:
            check_certificates(str(text))
        except Invalid as error:
            raise Invalid(error.message, option=f"certificates.{name}", hint=error.hint) from error


def main() -> None:
    """Run the module."""
    run_module(check, ARGUMENTS)


if __name__ == "__main__":
    main()
