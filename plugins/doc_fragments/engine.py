# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The options that all modules share, as documentation."""

from __future__ import annotations


class ModuleDocFragment:
    """Options that say where the engine keeps its things, and what holds for every module."""

    DOCUMENTATION = r"""
options:
  hull_root:
    description:
      - The state directory, absolute. Two engines with different ones do not see each other.
      - If not given, the environment variable E(HULL_ROOT) decides, else it is V(/var/lib/hull).
    type: path
  hull_run:
    description:
      - The directory of run-time files, absolute and on a tmpfs.
      - If not given, the environment variable E(HULL_RUN) decides, else it is V(/run/hull), or a directory
        beside it that belongs to O(hull_root) where that is not the default.
    type: path
  hull_config:
    description:
      - The directory of the configuration, absolute.
      - If not given, the environment variable E(HULL_CONFIG) decides, else it is V(/etc/hull).
    type: path
requirements:
  - Linux 5.10 or newer with overlayfs, and root
  - Python 3.9 or newer on the managed host, nothing else
notes:
  - The engine travels with the module. No daemon runs on the host, and no package has to be installed.
"""

    ATTRIBUTES = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and tell what would change without changing anything on disk or in the kernel.
    support: full
  diff_mode:
    description: Tells what changed, or would change in check mode, when in diff mode.
    support: full
  idempotent:
    description: When run twice in a row, the second time changes nothing.
    support: full
"""

    INFO_ATTRIBUTES = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and tell what would change without changing anything on disk or in the kernel.
    support: full
    details:
      - This module changes nothing.
  diff_mode:
    description: Tells what changed, or would change in check mode, when in diff mode.
    support: N/A
    details:
      - This module changes nothing.
  idempotent:
    description: When run twice in a row, the second time changes nothing.
    support: full
"""
