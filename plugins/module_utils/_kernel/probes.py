# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Experiments that show whether the kernel can do a thing. Each raises an error where it can't.

They are run by `works` in a forked child, which takes its namespaces, links and detached mounts with it when it ends.
"""

from __future__ import annotations

import errno
import os

from .._base.errors import HullError
from .._sys import mount_calls, mount_flags, sched_flags
from .._sys.file_calls import openat2
from .._sys.process_calls import unshare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_NETLINK_NETFILTER = 12
_GET_GENERATION = 10 << 8 | 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
_MAPPED_FROM, _MAPPED_COUNT = 100_000, 65_536


def works(experiment: Callable[[], None]) -> bool:
    """Whether the experiment succeeds, in a child process of its own."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            experiment()
            code = 0
        except (OSError, HullError):
            pass
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


def available(module: str, experiment: Callable[[], None]) -> bool:
    """Whether the kernel has it: installed as a module that is not loaded, which trying would change, or it works."""
    return is_unloaded_module(module) or works(experiment)


def is_unloaded_module(name: str, modules: str = "", loaded: str = "/sys/module") -> bool:
    """Whether the module is installed for this kernel and not loaded. `modules` is the directory of its index."""
    if os.path.isdir(f"{loaded}/{name}"):
        return False
    directory = modules or f"/lib/modules/{os.uname().release}"
    try:
        with open(directory + "/modules.dep", encoding="utf-8", errors="replace") as index:
            files = (line.partition(":")[0].rpartition("/")[2] for line in index)
            return any(file.partition(".ko")[0].replace("-", "_") == name for file in files)
    except FileNotFoundError:
        return False


def release_numbers(release: str) -> tuple[int, int]:
    """(6, 1) from `6.1.0-28-amd64`."""
    major, _, rest = release.partition(".")
    minor = ""
    for character in rest:
        if not character.isdigit():
            break
        minor += character
    return int(major), int(minor or "0")


def _tmpfs() -> int:
    """A descriptor of a detached tmpfs."""
    context = mount_calls.fsopen("tmpfs")
    mount_calls.fsconfig_create(context)
    return mount_calls.fsmount(context)


def try_mount_api() -> None:
    """fsopen, fsconfig, fsmount (Linux 5.2) and openat2 (5.6)."""
    place = openat2(_tmpfs(), ".", os.O_PATH)
    os.close(place)


def _overlay(key_of_layer: str) -> None:
    # Before Linux 6.15 overlayfs takes no directory of a detached mount. Over `/` the mount is in nobody's way.
    unshare(sched_flags.CLONE_NEWNS)
    mount_calls.mount(None, "/", None, mount_flags.MS_REC | mount_flags.MS_PRIVATE)
    mount_fd = _tmpfs()
    mount_calls.move_mount(mount_fd, mount_flags.AT_FDCWD, "/")
    base = f"/proc/self/fd/{mount_fd}"
    for name in ("lower", "upper", "work"):
        os.mkdir(f"{base}/{name}")
    context = mount_calls.fsopen("overlay")
    mount_calls.fsconfig_string(context, key_of_layer, base + "/lower")
    mount_calls.fsconfig_string(context, "upperdir", base + "/upper")
    mount_calls.fsconfig_string(context, "workdir", base + "/work")
    mount_calls.fsconfig_create(context)
    mount_calls.fsmount(context)


def try_overlay() -> None:
    """An overlay file system with a writable layer."""
    _overlay("lowerdir")


def try_overlay_layers() -> None:
    """The option that adds one layer at a time (Linux 6.7)."""
    _overlay("lowerdir+")


def try_user_namespace() -> None:
    """A new user namespace."""
    unshare(sched_flags.CLONE_NEWUSER)


def try_time_namespace() -> None:
    """A new time namespace (Linux 5.6)."""
    unshare(sched_flags.CLONE_NEWTIME)


def try_idmapped_mount(directory: str) -> None:
    """A detached copy of the mount that `directory` is on, idmapped (Linux 5.12, depends on the file system)."""
    from .namespaces import make_user_namespace

    ids = ((0, _MAPPED_FROM, _MAPPED_COUNT),)
    namespace = make_user_namespace(ids, ids)
    tree = mount_calls.open_tree(mount_flags.AT_FDCWD, directory, mount_flags.OPEN_TREE_CLONE)
    mount_calls.mount_setattr(tree, "", 0, set_=mount_flags.MOUNT_ATTR_IDMAP, userns_fd=namespace)


def try_nftables() -> None:
    """nf_tables answers in a network namespace of its own."""
    from .netlink import Netlink

    unshare(sched_flags.CLONE_NEWNET)
    Netlink(_NETLINK_NETFILTER).ask("ask nf_tables for its generation", _GET_GENERATION, bytes(4))


def try_bridge() -> None:
    """A bridge in a network namespace of its own."""
    from .rtnetlink import Route

    unshare(sched_flags.CLONE_NEWNET)
    Route().create_bridge("probe")


def try_veth() -> None:
    """A veth pair on a bridge in a network namespace of its own."""
    from .rtnetlink import Route

    unshare(sched_flags.CLONE_NEWNET)
    with Route() as route:
        route.create_bridge("probe")
        index = route.link_index("probe")
        if index is None:
            raise OSError(errno.ENODEV, "the bridge is not there")
        route.plug_veth("probe0", index, "probe1", os.getpid())
