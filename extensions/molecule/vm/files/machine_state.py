#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a machine is like, one fact per line: for a comparison of before and after.

Mounts, links with their addresses and masters, routes, rules of the packet filter, units and whether they run, control
groups, settings of the kernel that an engine changes, accounts, and all files outside of what the system itself keeps
writing, those in /etc and /usr/local with their content. What packages own, and what their installation leaves, is not
looked at.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import stat
import subprocess
from collections.abc import Iterator

# The system writes these as it lives. /run has its own: only what carries the engine's name counts there.
MOVING = (
    "/boot /dev /home/.ansible /lost+found /proc /root/.ansible /root/.bash_history /root/.cache /run /sys "
    "/tmp /var/cache /var/backups /var/lib/apt /var/lib/dpkg /var/lib/private /var/lib/systemd /var/lib/ucf "
    "/var/lib/dbus /var/lib/python /var/log /var/tmp /etc/ld.so.cache /etc/mtab /etc/resolv.conf /etc/adjtime "
    "/srv/registry /etc/.pwd.lock /var/.updated /etc/.updated"
).split()
WITH_CONTENT = ("/etc/", "/usr/local/")
SETTINGS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/conf/all/rp_filter",
    "net/bridge/bridge-nf-call-iptables",
    "kernel/pid_max",
    "fs/inotify/max_user_instances",
    "user/max_user_namespaces",
)


def _output(*command: str) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    return done.stdout


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def mounts() -> Iterator[str]:
    """Mount points with file system and options; not the ones that systemd mounts when they are touched."""
    for line in _read("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()[0]
        if kind not in ("autofs", "binfmt_misc") and not fields[4].startswith(("/run/user", "/run/credentials")):
            yield f"{fields[4]} {kind} {fields[5]}"


def links() -> Iterator[str]:
    """Network interfaces, their addresses, and routes."""
    for link in json.loads(_output("ip", "-j", "address") or "[]"):
        addresses = sorted(
            f"{found['local']}/{found['prefixlen']}" for found in link["addr_info"] if found["family"] == "inet"
        )
        yield f"{link['ifname']} {link.get('master', '')} {' '.join(addresses)}"
    yield from (f"route {line.partition(' proto')[0]}" for line in _output("ip", "route").splitlines())


def rules() -> Iterator[str]:
    """The packet filter's tables, chains and rules."""
    table = ""
    for line in _output("nft", "list", "ruleset").splitlines():
        table = line if line.startswith("table ") else table
        if line.strip() not in ("", "}"):
            yield f"{table} {line.strip()}"


def units() -> Iterator[str]:
    """Files of units with their state, and what is active but for what comes and goes by itself, as sessions do."""
    for unit in json.loads(_output("systemctl", "list-unit-files", "-o", "json") or "[]"):
        if unit["unit_file"].startswith("session-"):
            continue
        yield f"{unit['unit_file']} {unit['state']}"
    for unit in json.loads(_output("systemctl", "list-units", "-o", "json") or "[]"):
        kind = unit["unit"].rpartition(".")[2]
        if kind in ("slice", "timer", "socket", "path") and not unit["unit"].startswith(
            ("user", "system-", "apt-", "dpkg-", "man-db")
        ):
            yield f"{unit['unit']} {unit['active']}"
    yield from (f"failed {unit['unit']}" for unit in json.loads(_output("systemctl", "--failed", "-o", "json") or "[]"))


def cgroups() -> Iterator[str]:
    """Control groups that carry the engine's name."""
    for directory, _names, _files in os.walk("/sys/fs/cgroup"):
        if "hull" in directory:
            yield directory


def settings() -> Iterator[str]:
    """Settings of the kernel."""
    for name in SETTINGS:
        yield f"{name} = {_read('/proc/sys/' + name).strip()}"


def processes() -> Iterator[str]:
    """Processes that carry the engine's name or lie in its control groups."""
    for directory in glob.glob("/proc/[0-9]*"):
        words = _read(f"{directory}/cmdline").replace("\0", " ").strip()
        if "/hull" in _read(f"{directory}/cgroup") or words.startswith("hull"):
            yield words


def _owned() -> set[str]:
    """All that some package brought, by the paths that it gave and by those that they lead to."""
    paths = {line for name in glob.glob("/var/lib/dpkg/info/*.list") for line in _read(name).splitlines()}
    real = {directory: os.path.realpath(directory) for directory in {os.path.dirname(path) for path in paths}}
    return paths | {f"{real[os.path.dirname(path)].rstrip('/')}/{os.path.basename(path)}" for path in paths}


def _made_by_packages(path: str) -> bool:
    """What installation scripts make: links of alternatives and of enabled units, and compiled Python."""
    target = os.readlink(path) if os.path.islink(path) else ""
    return "__pycache__" in path or path.startswith("/etc/alternatives") or target.startswith("/etc/alternatives")


def files() -> Iterator[str]:
    """All files but what packages own: type, mode, owner, and content or target where that does not move."""
    owned = _owned()
    waiting = ["/"]
    while waiting:
        for entry in os.scandir(waiting.pop()):
            path = entry.path
            if path in MOVING or (entry.is_dir(follow_symlinks=False) and os.path.ismount(path)):
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append(path)
            if path in owned or _made_by_packages(path):
                continue
            status = entry.stat(follow_symlinks=False)
            owner, content = f"{status.st_uid}:{status.st_gid}", _content(path, status.st_mode)
            yield f"{path} {stat.filemode(status.st_mode)} {owner} {content}"
    yield from (f"{path} {_content(path, 0)}" for path in glob.glob("/run/*hull*") + glob.glob("/tmp/*hull*"))


def _content(path: str, mode: int) -> str:
    if stat.S_ISLNK(mode):
        return os.readlink(path)
    if stat.S_ISREG(mode) and path.startswith(WITH_CONTENT):
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    return ""


KINDS = {
    "mount": mounts,
    "link": links,
    "rule": rules,
    "unit": units,
    "cgroup": cgroups,
    "setting": settings,
    "process": processes,
    "file": files,
}

if __name__ == "__main__":
    for kind, look in KINDS.items():
        for fact in sorted(set(look())):
            print(f"{kind}: {fact}".rstrip())
