#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.engine_doctor: the whole state of an engine checked against the kernel, and mended."""

from __future__ import annotations

DOCUMENTATION = r"""
module: engine_doctor
short_description: Check an engine's whole state against the kernel and mend it
description:
  - Compares the records with what the kernel and the disk have. Finds control groups, mounts, links, rules, published
    ports and leases that no container accounts for, or that one which runs lacks; containers whose monitor was killed;
    records without files and files without records; missing and damaged layers; what killed processes left.
  - Mends what can be mended safely. In check mode it only tells, as C(hull doctor) does.
  - Never touches a container that runs, nor what another engine has. Files that may be worth something and have no
    owner are moved to C(lost) in the state directory.
  - What can't be mended does not make the task fail. Look at RV(sound).
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.engine.attributes
options:
  layers:
    description:
      - Read every byte of all images too. That takes as long as the disk needs for it.
    type: bool
    default: false
seealso:
  - module: hull.engine.engine_info
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: Mend what a crash of the host has left
  hull.engine.engine_doctor:
  register: doctor

- name: Nothing that needs somebody is left
  ansible.builtin.assert:
    that: doctor.sound
    fail_msg: "{{ doctor.findings | rejectattr('fixed') | list }}"

- name: Only look, at every byte
  hull.engine.engine_doctor:
    layers: true
  check_mode: true
  register: looked
"""

RETURN = r"""
findings:
  description:
    - What was found, in the order in which it is mended.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: What it is about, V(container), V(cgroup), V(port), V(layer) and so on.
      returned: always
      type: str
      sample: cgroup
    where:
      description: The path, name or id of the object.
      returned: always
      type: str
      sample: hull/8a0c6bb4f0a2b1f6c2a3e0b7c6a5f4e3d2c1b0a9f8e7d6c5b4a39281706f5e4d
    what:
      description: What is wrong with it.
      returned: always
      type: str
      sample: no container has this cgroup
    cure:
      description: What to do about it.
      returned: always
      type: str
      sample: remove it
    fixable:
      description: Whether this module does that.
      returned: always
      type: bool
    fixed:
      description: Whether it was done, and a second look showed that it helped. Always V(false) in check mode.
      returned: always
      type: bool
    error:
      description: Why mending did not succeed.
      returned: when it did not
      type: str
sound:
  description:
    - Whether nothing is wrong any more.
  returned: always
  type: bool
"""

from ansible_collections.hull.engine.plugins.module_utils._module.runner import Task, run_module  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARGUMENTS: dict[str, dict[str, Any]] = {
    "layers": {"type": "bool", "default": False},
}


def treat_engine(task: Task) -> dict[str, Any]:
    """Find what is wrong, and mend it unless the task only looks."""
    from ansible_collections.hull.engine.plugins.module_utils._engine.doctor import treat

    treatment = treat(task.engine, layers=task.options["layers"], check=task.check)
    documents = treatment.documents()
    mended = [found["fixable"] if task.check else found["fixed"] for found in documents]
    result = {"changed": any(mended), "findings": documents, "sound": not treatment.left}
    if any(mended):
        lines = [f"{found['kind']} {found['where']}: {found['what']}\n" for found in documents]
        after = [line for line, gone in zip(lines, mended) if not gone]
        result["diff"] = {"before": "".join(lines), "after": "".join(after)}
    return result


def main() -> None:
    """Run the module."""
    run_module(treat_engine, ARGUMENTS)


if __name__ == "__main__":
    main()
