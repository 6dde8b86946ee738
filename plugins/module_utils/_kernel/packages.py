# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Where Python packages of others lie for the interpreter that runs: those of the system, which `-S` leaves out for the
hull command, and the engine's own environment, which the host role makes where the system has none or an old one.
"""

from __future__ import annotations

import os
import sys

ENVIRONMENT = "/opt/hull"


def package_directories(environment: str = ENVIRONMENT) -> list[str]:
    """Directories to search beside `sys.path`, those that exist, the environment's first."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    found = [f"{environment}/lib/{version}/site-packages"]
    if sys.flags.no_site:
        from site import getsitepackages

        found += [*getsitepackages(), "/usr/lib/python3/dist-packages"]
    return [path for path in found if path not in sys.path and os.path.isdir(path)]


def package_version(name: str, environment: str = ENVIRONMENT) -> str:
    """The version of an installed distribution; empty where there is none."""
    from importlib.metadata import distributions

    for distribution in distributions(name=name, path=[*package_directories(environment), *sys.path]):
        return distribution.version
    return ""
