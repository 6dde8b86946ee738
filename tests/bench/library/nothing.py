#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A module that does nothing: what a task costs before it does anything."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    AnsibleModule(argument_spec={"name": {"type": "str"}}).exit_json(changed=False)


if __name__ == "__main__":
    main()
