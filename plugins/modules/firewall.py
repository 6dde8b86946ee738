#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.firewall: a way for containers through the rules of others."""

from __future__ import annotations

DOCUMENTATION = r"""
module: firewall
short_description: Let containers through other programs' nftables rules
description:
  - A packet of a container is forwarded only if every chain at the kernel's forward hook lets it through, whatever the
    engine's own rules say. This module follows the rules that are loaded with a packet from a container to another
    host and with one to a published port, and inserts two rules before those of each chain that drops one of them.
    One lets through what comes from the engine's bridges and the other what goes to them. What containers do not
    publish stays closed by the engine's own rules.
  - Rules that iptables of today writes, as Docker's, are nftables rules too. Chains of firewalld and ufw are left
    alone, since these write them anew; the role C(hull.engine.host) tells these programs in their own language.
  - The rules last until the firewall is loaded anew. The role has a unit that opens the way again then.
extends_documentation_fragment:
  - hull.engine.engine
  - hull.engine.engine.attributes
options:
  state:
    description:
      - V(open) inserts the rules where a chain is in the way. V(closed) removes them, wherever they are.
    type: str
    choices: [open, closed]
    default: open
seealso:
  - module: hull.engine.engine_info
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: Let containers through the host's own rules
  hull.engine.firewall:

- name: No longer
  hull.engine.firewall:
    state: closed
"""

RETURN = r"""
actions:
  description:
    - What was done, or would be done in check mode. Each names a chain by family, table and name.
  returned: always
  type: list
  elements: dict
  sample:
    - opened: inet filter forward
      reason: chain inet filter forward drops by its policy
managers:
  description:
    - The programs that keep a firewall of their own in the kernel, of V(firewalld), V(ufw) and V(docker).
  returned: always
  type: list
  elements: str
  sample: [docker]
lacks:
  description:
    - What is in the way of containers after that (in check mode, before), as C(Lacks) of M(hull.engine.engine_info).
  returned: always
  type: list
  elements: dict
  sample: []
"""

from ansible_collections.hull.engine.plugins.module_utils._module.results import outcome_result  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._module.runner import Task, run_module  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARGUMENTS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["open", "closed"], "default": "open"},
}


def ensure_ways(task: Task) -> dict[str, Any]:
    """Open or close the ways, as the task says."""
    from ansible_collections.hull.engine.plugins.module_utils._engine import firewall

    outcome = firewall.ensure(task.engine, opened=task.options["state"] == "open", check=task.check)
    return {
        **outcome_result(outcome, "firewall"),
        "managers": firewall.managers(),
        "lacks": [lack.fields() for lack in firewall.lacks(task.engine)],
    }


def main() -> None:
    """Run the module."""
    run_module(ensure_ways, ARGUMENTS)


if __name__ == "__main__":
    main()
