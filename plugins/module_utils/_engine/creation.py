# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Making a container: its volumes, its address, its directory, its record. All or nothing.

Until the record is committed the container's id stands in `tmp/<id>.creating`, locked by its maker, and in the file the
names of its new anonymous volumes. What a killed maker leaves is found by that mark and removed by the next creation.
"""

from __future__ import annotations

import fcntl
import os

from .._base.clock import now_ns
from .._base.codec import render
from .._base.errors import Conflict, Invalid, NotFound
from .._base.names import new_id
from .._base.spec import to_record
from .._base.values import replace
from .._runtime.launch_plan import NetworkPlan
from .._runtime.run_directory import GONE
from .._store.files import remove_tree
from .._store.records import ContainerRecord
from .container_mounts import Provision, check_sources, wanted_mounts
from .declared import launch_record
from .image_facts import read_config
from .mount_plans import plan_mounts
from .resolve import resolve
from .sensitive_mounts import refuse_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._base.spec import ContainerSpec, MountSpec
    from .._runtime.launch_plan import LaunchPlan
    from .._store.database import Database
    from .._store.records import ImageRecord, NetworkRecord
    from .engine import Engine
    from .image_facts import ImageConfig

MARK = ".creating"
_MAX_MARK = 1024 * 1024
ROOT_PARTS = ("upper", "work")  # what a container's directory has from the beginning: its own part of the overlay
BRIDGE_NETWORK = "bridge"


def create_container(engine: Engine, spec: ContainerSpec, image: ImageRecord) -> ContainerRecord:
    """Make a container from an image that is here. The caller holds the lock of its name.

    Raises Conflict where the name is taken, NotFound for a mount's missing source or a container of `volumes_from`,
    Invalid for what does not fit together. Nothing remains of a creation that fails.
    """
    database = engine.records
    if database.container_by_name(spec.name):
        raise Conflict(f"create container {spec.name}: the name is taken", hint="remove that container or rename it")
    sweep_creations(engine)
    container_id = new_id()
    spec, plan, wanted = prepare(engine, spec, image, container_id)
    made: list[str] = []
    mark = _mark(engine, container_id)
    try:
        mounts = Provision(engine, image, made, mark).provide(wanted)
        return _commit(engine, spec, image, plan, mounts)
    except BaseException:
        _undo(engine, container_id, made)
        raise
    finally:
        os.unlink(f"{engine.paths.temporary}/{container_id}{MARK}")
        os.close(mark)


def prepare(
    engine: Engine, spec: ContainerSpec, image: ImageRecord, container_id: str
) -> tuple[ContainerSpec, LaunchPlan, list[MountSpec]]:
    """What a creation comes to: the spec with the host's defaults, the plan, and the mounts that it wants.

    Refuses what can't be made, and makes nothing.
    """
    spec = engine.defaults().apply(spec)
    config = read_config(image)
    _check_platform(image, config)
    plan = resolve(engine.paths, spec, container_id, image, config)
    plan = replace(plan, process=replace(plan.process, seccomp_path=_seccomp(engine, spec, plan)))
    wanted = wanted_mounts(engine, spec, config)
    refuse_store(engine.paths, wanted)
    check_sources(wanted)
    if spec.userns_mode == "auto":
        from . import user_namespaces

        user_namespaces.check_host(engine.paths)
        user_namespaces.check_mounts(wanted)
    return spec, plan, wanted


def _check_platform(image: ImageRecord, config: ImageConfig) -> None:
    if config.os not in ("", "linux"):
        raise Invalid(f"image {image.id[:19]} is for {config.os}, not for linux", option="image")


def _seccomp(engine: Engine, spec: ContainerSpec, plan: LaunchPlan) -> str:
    """The path of the assembled filter; empty for an unconfined container."""
    from .._kernel.seccomp import profile_path, program_path

    if spec.privileged or spec.seccomp == "unconfined":
        return ""
    directory = f"{engine.paths.root}/seccomp"
    if spec.seccomp == "default":
        return program_path(directory, plan.process.capabilities, compat=spec.seccomp_compat)
    return profile_path(directory, spec.seccomp, plan.process.capabilities, compat=spec.seccomp_compat)


def _mark(engine: Engine, container_id: str) -> int:
    os.makedirs(engine.paths.temporary, mode=0o700, exist_ok=True)
    flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC
    while True:
        fd = os.open(f"{engine.paths.temporary}/{container_id}{MARK}", flags, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return fd
        os.close(fd)  # somebody has swept it away, unlocked for a moment as it was


def sweep_creations(engine: Engine) -> None:
    """Remove what creations left whose maker was killed, and what killed removals had set aside to delete."""
    for name in _names(engine.paths.temporary):
        if name.endswith(MARK):
            _sweep_one(engine, name[: -len(MARK)])
    if _names(engine.paths.trash):
        from .._store.garbage import empty_trash_later

        empty_trash_later(engine.paths)
    run_directories = os.path.dirname(engine.paths.container_run(""))
    for name in _names(run_directories):
        if GONE in name:
            remove_tree(f"{run_directories}/{name}")


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _sweep_one(engine: Engine, container_id: str) -> None:
    path = f"{engine.paths.temporary}/{container_id}{MARK}"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if engine.records.container(container_id) is None:
            _undo(engine, container_id, os.pread(fd, _MAX_MARK, 0).decode("ascii").split("\n")[:-1])
        os.unlink(path)
    except (BlockingIOError, FileNotFoundError):
        pass
    finally:
        os.close(fd)


def _undo(engine: Engine, container_id: str, volumes: list[str]) -> None:
    from .._store.locks import lock
    from .._store.removal import remove_volume

    remove_tree(engine.paths.container(container_id))
    for name in volumes:
        with lock(engine.paths, "volume", name):
            remove_volume(engine.paths, engine.records, name)


def _commit(
    engine: Engine, spec: ContainerSpec, image: ImageRecord, plan: LaunchPlan, mounts: tuple[MountSpec, ...]
) -> ContainerRecord:
    """The directory and, in one transaction, the lease, the range of ids and the record."""
    database = engine.records
    network = None
    if spec.network_mode == BRIDGE_NETWORK:
        from .._net.bridges import ensure_bridge  # 2 ms with netlink and nftables

        network = ensure_bridge(database, engine.paths, pools=engine.defaults().address_pools)
    directory = engine.paths.container(plan.container_id)
    os.makedirs(directory, mode=0o700)
    for name in ROOT_PARTS:
        os.mkdir(f"{directory}/{name}", 0o755)
    describe_root(f"{directory}/upper", plan.layers)
    with database.transaction():
        if database.image(image.id) is None:
            raise NotFound(f"image {spec.image}: was removed meanwhile", hint="run it again")
        plan = replace(plan, mounts=plan_mounts(engine.paths, database, mounts))
        if network is not None:
            plan = replace(plan, network=_network(database, network, plan.container_id))
        if spec.userns_mode == "auto":
            from .user_namespaces import take_range

            plan = replace(plan, userns=take_range(database, plan.container_id))
        record = ContainerRecord(
            id=plan.container_id,
            name=spec.name,
            image_id=image.id,
            image_name=spec.image,
            created_ns=now_ns(),
            spec=render(to_record(spec)),
            launch=launch_record(plan, mounts),
            volumes=tuple(mount.source for mount in mounts if mount.kind == "volume"),
        )
        database.put_container(record)
    return record


def describe_root(upper: str, layers: tuple[str, ...]) -> None:
    """Give the container's root what the image says of it: overlayfs shows the writable layer's."""
    os.chmod(upper, 0o755)  # whatever the umask is
    if layers:
        found = os.stat(layers[0])
        os.chown(upper, found.st_uid, found.st_gid)
        os.chmod(upper, found.st_mode & 0o7777)
        for name in os.listxattr(layers[0]):
            if name.startswith(("user.", "system.posix_acl_")):
                os.setxattr(upper, name, os.getxattr(layers[0], name))
        os.utime(upper, ns=(found.st_atime_ns, found.st_mtime_ns))


def _network(database: Database, network: NetworkRecord, container_id: str) -> NetworkPlan:
    from .._net.addresses import lease, link_name, mac_address

    address = lease(database, network, container_id)
    return NetworkPlan(
        bridge=network.bridge,
        link=link_name(container_id),
        address=address,
        gateway=network.gateway,
        mac=mac_address(address.partition("/")[0]),
    )
