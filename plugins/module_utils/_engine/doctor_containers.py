# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A doctor's look at containers: records beside files, run-time state, monitors and cgroups."""

from __future__ import annotations

import os
from functools import partial

from .._base.errors import Conflict, Damaged
from .._kernel.cgroup_host import detect
from .._kernel.cgroups import Cgroup
from .._runtime import state
from .creation import MARK, ROOT_PARTS, describe_root
from .doctor_view import is_id, names_in, refuse_living, stopped
from .findings import Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._base.paths import Paths
    from .._runtime.launch_plan import LaunchPlan
    from .._store.records import ContainerRecord
    from .doctor_view import Patient, View
    from .engine import Engine

_SIGCONT = 18


def look_at_containers(view: View) -> Iterator[Finding]:
    """What is wrong with recorded containers, and what is there of containers without a record."""
    for patient in view.patients.values():
        if patient.is_busy:
            continue
        if patient.plan is None:
            yield _damaged_record(view, patient)
            continue
        yield from _files(view, patient, patient.plan)
        if patient.now.is_up or patient.now.abandoned:
            yield from _supervision(view, patient)
        else:
            yield from _remains(view, patient, patient.plan)
    yield from _strangers(view)
    if view.database is not None:
        yield from _directories_without_record(view)
    yield from _run_directories_without_record(view)


def _damaged_record(view: View, patient: Patient) -> Finding:
    engine, record = view.engine, patient.record
    what = f"its record can't be read: {patient.damage}"
    if patient.is_living:
        return Finding("container", record.name, what, "restore hull.db from a backup; the container runs on as it is")
    cure = f"forget the container, and set its files aside in {lost_directory(view.paths)}"
    return Finding("container", record.name, what, cure, partial(_forget, engine, record))


def _forget(engine: Engine, record: ContainerRecord) -> None:
    with stopped(engine, record), engine.records.transaction():
        engine.records.delete_container(record.id)
        set_aside(engine.paths, engine.paths.container(record.id))


def lost_directory(paths: Paths) -> str:
    """Where files go whose owner is not known and which may be worth something."""
    return f"{paths.root}/lost"


def set_aside(paths: Paths, directory: str) -> None:
    """Move a directory to the lost ones; nothing there is no error."""
    target = lost_directory(paths)
    os.makedirs(target, 0o700, exist_ok=True)
    try:
        os.rename(directory, f"{target}/{os.path.basename(directory)}-{os.urandom(4).hex()}")
    except FileNotFoundError:
        pass


def _files(view: View, patient: Patient, plan: LaunchPlan) -> Iterator[Finding]:
    record, directory = patient.record, view.paths.container(patient.record.id)
    missing = [name for name in ROOT_PARTS if not os.path.isdir(f"{directory}/{name}")]
    if missing:
        lost = "; what it had written is lost" if "upper" in missing else ""
        what = f"{' and '.join(missing)} of its files are missing in {directory}{lost}"
        if patient.is_living:
            yield Finding("container", record.name, what, "stop it, then look again")
        else:
            cure = "make them anew, empty"
            yield Finding("container", record.name, what, cure, partial(_make_files, view.engine, record, plan))
    if view.database is not None and view.database.image(record.image_id) is None:
        gone = [layer for layer in plan.layers if not os.path.isdir(layer)]
        if gone:
            what = f"{gone[0]}, of which its root consists, is missing, and its image is not here any more"
            yield Finding("container", record.name, what, f"pull or load {record.image_name}, and make it anew")


def _make_files(engine: Engine, record: ContainerRecord, plan: LaunchPlan) -> None:
    directory = engine.paths.container(record.id)
    with stopped(engine, record):
        os.makedirs(directory, 0o700, exist_ok=True)
        for name in ROOT_PARTS:
            if not os.path.isdir(f"{directory}/{name}"):
                os.mkdir(f"{directory}/{name}", 0o755)
                if name == "upper":
                    describe_root(f"{directory}/{name}", plan.layers)


def _supervision(view: View, patient: Patient) -> Iterator[Finding]:
    """A container that is up has a monitor that answers."""
    from .._kernel.processes import is_stopped

    record, run_directory = patient.record, view.paths.container_run(patient.record.id)
    if patient.now.abandoned:
        what = "its monitor was killed" if patient.now.is_up else "it ended after its monitor was killed"
        cure = "give it another" if patient.now.is_up else "record its end, and let its restart policy act"
        yield Finding("monitor", record.name, what, cure, partial(_adopt, view.engine, record))
        return
    found = state.read_state(run_directory) or {}
    pid, started = int(found.get("monitor_pid", 0)), int(found.get("monitor_start_time", 0))
    if is_stopped(pid, started):
        what = f"its monitor, process {pid}, is stopped by a signal"
        yield Finding("monitor", record.name, what, "let it go on", partial(_go_on, pid, started))
    if pid and not os.path.exists(f"{run_directory}/monitor.sock"):
        what = f"the socket of its monitor, process {pid}, is gone"
        cure = f"kill -KILL {pid}, after which another one takes over"
        yield Finding("monitor", record.name, what, cure)


def _adopt(engine: Engine, record: ContainerRecord) -> None:
    from .._runtime import client

    if not client.adopt(engine.paths, record.id):
        raise Conflict(f"container {record.name}: no monitor takes it over", hint="stop it and start it again")


def _go_on(pid: int, started: int) -> None:
    from .._kernel.processes import open_process, send_signal

    fd = open_process(pid, started)
    if fd is not None:
        try:
            send_signal(fd, _SIGCONT)
        finally:
            os.close(fd)


def _remains(view: View, patient: Patient, plan: LaunchPlan) -> Iterator[Finding]:
    """What a container that is not up should not have."""
    record = patient.record
    if patient.now.status == "dead":
        cure = "kill its monitor, after which another one takes over"
        yield Finding("monitor", record.name, patient.now.error, cure)
        return
    if patient.processes:
        processes = " ".join(map(str, patient.processes[:10]))
        what = f"it does not run, but processes {processes} live in its cgroup {plan.cgroup}"
        cure = f"hull start {record.name} ends them and starts it again, hull rm -f {record.name} removes it"
        yield Finding("container", record.name, what, cure)
        return
    remains = []
    if record.id in view.run_directories:
        remains.append(("run-time", view.paths.container_run(record.id), f"container {record.name} does not run"))
    if plan.cgroup in view.cgroups.get(record.id, ()):
        remains.append(("cgroup", plan.cgroup, f"container {record.name} does not run"))
    try:
        state.read_json(f"{view.paths.container(record.id)}/{state.EXIT_FILE}")
    except Damaged as error:
        remains.append(("container", record.name, f"how it ended can't be read: {error.message}"))
    for kind, where, what in remains:
        cure = "record that nobody knows how it ended" if kind == "container" else "remove it"
        yield Finding(kind, where, what, cure, partial(_reconcile, view.engine, record, plan))


def _reconcile(engine: Engine, record: ContainerRecord, plan: LaunchPlan) -> None:
    from .._runtime.reconcile import reconcile

    with stopped(engine, record):
        pids = Cgroup(detect(), plan.cgroup).pids()
        if pids:
            raise Conflict(f"mend container {record.name}: processes live in its cgroup by now")
        reconcile(engine.paths, plan)


def _strangers(view: View) -> Iterator[Finding]:
    for container_id, found in view.strangers.items():
        pid = int(found.get("monitor_pid", 0))
        what = "it runs, but there is no record of it"
        cure = f"restore hull.db from a backup, or end the container: kill -TERM {pid}, its monitor, stops it in order"
        yield Finding("container", container_id, what, cure)


def _directories_without_record(view: View) -> Iterator[Finding]:
    for name in names_in(os.path.dirname(view.paths.container(""))):
        directory = view.paths.container(name)
        if not is_id(name) or view.is_living(name) or os.path.exists(creation_mark(view.paths, name)):
            continue
        # asked anew: one that has just been made had its directory before its record
        if view.database is None or view.database.container(name) is not None or not os.path.isdir(directory):
            continue
        what = "no record speaks of this container"
        if names_in(f"{directory}/upper"):
            cure = f"set it aside in {lost_directory(view.paths)}, since something was written in it"
            yield Finding("files", directory, what, cure, partial(_keep, view.paths, name))
        else:
            yield Finding("files", directory, what, "remove it", partial(_bury, view.paths, name))


def creation_mark(paths: Paths, container_id: str) -> str:
    """The file that is there while a container is being made."""
    return f"{paths.temporary}/{container_id}{MARK}"


def _keep(paths: Paths, container_id: str) -> None:
    refuse_living(paths, container_id)
    set_aside(paths, paths.container(container_id))


def _bury(paths: Paths, container_id: str) -> None:
    from .._store.removal import bury, empty_graves

    refuse_living(paths, container_id)
    empty_graves([bury(paths, paths.container(container_id))])


def _run_directories_without_record(view: View) -> Iterator[Finding]:
    for name in view.run_directories:
        if name in view.patients or view.is_living(name):
            continue
        what, mend = "no container that runs has this directory", partial(_remove_run_directory, view.paths, name)
        yield Finding("run-time", view.paths.container_run(name), what, "remove it", mend)


def _remove_run_directory(paths: Paths, container_id: str) -> None:
    from .._store.files import remove_tree

    refuse_living(paths, container_id)
    remove_tree(paths.container_run(container_id))
