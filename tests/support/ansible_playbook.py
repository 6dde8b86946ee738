# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`ansible-playbook` that shares the modules it has packed with other runs.

    python tests/support/ansible_playbook.py DIRECTORY PLAYBOOK...    DIRECTORY keeps the packed modules

Ansible packs every module once per run, which takes seconds for those that bring the engine along. All runs that share
a directory must see the same collections.
"""

from __future__ import annotations

import os
import sys

from ansible import constants
from ansible.cli.playbook import main

if __name__ == "__main__":
    os.symlink(sys.argv.pop(1), os.path.join(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache"))
    sys.exit(main())
