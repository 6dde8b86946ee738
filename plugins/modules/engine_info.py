#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.engine_info: what this host can do, and what it lacks."""

from __future__ import annotations

DOCUMENTATION = r"""
module: engine_info
short_description: Tell what the engine has and what the host can do
description:
  - Tells the kernel's abilities that containers use (cgroup version and controllers, overlayfs, user namespaces,
    idmapped mounts and more), what is missing, and the cure for it.
  - Counts containers, images and volumes.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.engine.info_attributes
options: {}
seealso:
  - module: hull.engine.engine
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: What can this host do?
  hull.engine.engine_info:
  register: host

- name: Refuse a host that can't run containers
  ansible.builtin.assert:
    that: host.engine.Lacks | selectattr('needed') | length == 0
    fail_msg: "{{ host.engine.Warnings | join('; ') }}"
"""

RETURN = r"""
engine:
  description:
    - What there is, with the names that C(docker info) has for the same thing.
  returned: always
  type: dict
  contains:
    Containers:
      description: How many containers there are. C(ContainersRunning), C(ContainersPaused) and C(ContainersStopped)
        say how many of each.
      returned: always
      type: int
      sample: 3
    Images:
      description: How many images there are.
      returned: always
      type: int
      sample: 2
    Volumes:
      description: How many volumes there are.
      returned: always
      type: int
      sample: 1
    ServerVersion:
      description: The engine's version.
      returned: always
      type: str
      sample: 0.1.0
    RootDir:
      description: The state directory. C(RunDir) and C(ConfigDir) are the two others.
      returned: always
      type: str
      sample: /var/lib/hull
    KernelVersion:
      description: The kernel's release.
      returned: always
      type: str
      sample: 6.12.48
    CgroupVersion:
      description: V(2) is the unified hierarchy, V(1) has one per controller, V(hybrid) has both.
      returned: always
      type: str
      sample: "2"
    MemoryLimit:
      description: Whether the host can limit memory. C(SwapLimit), C(CpuCfsQuota), C(CPUShares), C(CPUSet),
        C(PidsLimit) and C(IOLimit) say the same of swap, CPU time, shares of it, CPUs, processes and I/O.
      returned: always
      type: bool
      sample: true
    Firewalls:
      description: The programs that keep a firewall of their own in the kernel, of V(firewalld), V(ufw) and V(docker).
      returned: always
      type: list
      elements: str
      sample: []
    CgroupParent:
      description: Where the engine's control groups lie, below the root of each hierarchy. Set by C(cgroup_parent) of
        C(engine.json).
      returned: always
      type: str
      sample: /hull.slice/hull
    DefaultLimits:
      description: What containers are limited to whose task does not say, as C(default_limits) of C(engine.json).
      returned: always
      type: dict
      sample: {}
    DefaultAddressPools:
      description: Where networks take their subnets from, each with C(Base) and C(Size). Empty for the engine's own.
      returned: always
      type: list
      elements: dict
      sample: []
    LoggingDriver:
      description: Where the output of containers goes whose task does not say.
      returned: always
      type: str
      sample: json-file
    Features:
      description: The kernel's abilities, one key each.
      returned: always
      type: dict
    Lacks:
      description: What is missing, the most important first. Each has C(what), C(why), C(cure) and C(needed), which
        is true where no container runs without it.
      returned: always
      type: list
      elements: dict
    Warnings:
      description: The same as lines for people.
      returned: always
      type: list
      elements: str
"""

from ansible_collections.hull.engine.plugins.module_utils._module.runner import Task, run_module  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARGUMENTS: dict[str, dict[str, Any]] = {}


def tell_engine(task: Task) -> dict[str, Any]:
    """What there is."""
    from ansible_collections.hull.engine.plugins.module_utils._engine.info import engine_info

    return {"changed": False, "engine": engine_info(task.engine)}


def main() -> None:
    """Run the module."""
    run_module(tell_engine, ARGUMENTS)


if __name__ == "__main__":
    main()
