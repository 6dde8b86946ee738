# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""net.ipv4.ip_forward: on as long as there are bridges of ours, and then as it was.

Whether it was off is kept by one of the bridges: in its setting `tag`, a number that the kernel gives no meaning. That
dies with a reboot, as the setting itself, and a bridge that goes hands it on to another one, also another engine's: all
of them make and remove bridges under the network namespace's lock (`lock_namespace`).

Source: the kernel's networking/ip-sysctl.rst.
"""

from __future__ import annotations

import os

from .sysctls import read_sysctl, write_sysctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._kernel.rtnetlink import Link, Route

ALIAS = "hull "  # what every ifalias of ours begins with
_IP_FORWARD = "/proc/sys/net/ipv4/ip_forward"
_WAS_OFF = "1"
_NAMES = ("net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding")
FILE = "/etc/sysctl.conf"
DIRECTORIES = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d")


def turn_on_forwarding(bridge: str) -> None:
    """Have the host forward packets; where it did not, let the bridge, which has its alias by now, keep that.

    The caller holds the lock where the bridge is new.
    """
    if read_sysctl(_IP_FORWARD) == "0":
        write_sysctl(_tag(bridge), _WAS_OFF)
    write_sysctl(_IP_FORWARD, "1")


def remove_bridge_link(route: Route, link: Link) -> None:
    """Delete a bridge of ours. With the last one forwarding ends, unless it was on before the first, is set in the
    host's configuration, or another bridge came since, which may count on it. The caller holds the lock."""
    was_off = read_sysctl(_tag(link.name)) == _WAS_OFF
    route.delete_link(link.index)
    if was_off:
        _hand_on(route, link)


def _hand_on(route: Route, gone: Link) -> None:
    bridges = [other for other in route.links() if other.kind == "bridge"]
    ours = [other for other in bridges if other.alias.startswith(ALIAS)]
    if ours:
        write_sysctl(_tag(ours[0].name), _WAS_OFF)
    elif not any(other.index > gone.index for other in bridges) and not _is_configured():
        write_sysctl(_IP_FORWARD, "0")


def _tag(bridge: str) -> str:
    return f"/proc/sys/net/ipv4/conf/{bridge}/tag"


def _is_configured() -> bool:
    """Whether a file of sysctl.d(5) turns forwarding on."""
    files = [FILE]
    for directory in DIRECTORIES:
        if os.path.isdir(directory):
            files += [f"{directory}/{name}" for name in os.listdir(directory) if name.endswith(".conf")]
    return any(_turns_on(path) for path in files)


def _turns_on(path: str) -> bool:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            settings = [line.strip().lstrip("-").partition("=") for line in file]
    except OSError:
        return False
    return any(name.strip().replace("/", ".") in _NAMES and value.strip() == "1" for name, _, value in settings)
