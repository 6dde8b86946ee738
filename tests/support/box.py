# SPDX-License-Identifier: GPL-3.0-or-later
"""A place to launch containers in: private directories, a root file system of busybox, and a check of what is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._base.values import replace
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroup_host import detect
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroups import remove_if_empty
from ansible_collections.hull.engine.plugins.module_utils._runtime import client, state
from ansible_collections.hull.engine.plugins.module_utils._runtime.launch_plan import (
    LaunchPlan,
    LogPlan,
    ProcessPlan,
)

CAPABILITIES = tuple(
    "CAP_" + name
    for name in (
        "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE SYS_CHROOT SETFCAP".split()
    )
)
BUSYBOX = "/bin/busybox"


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = 60) -> Any:
    """The first true value of the condition. Fails the test when the time is over."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.005)


class Result:
    """What a run gave."""

    def __init__(self) -> None:
        self.stdout = b""
        self.stderr = b""
        self.code = -1
        self.oom_killed = False
        self.last = ""

    @property
    def text(self) -> str:
        return self.stdout.decode()


class Box:
    """Containers of one busybox layer under private directories."""

    def __init__(self, top: str) -> None:
        self.top = top
        self.paths = Paths(f"{top}/root", f"{top}/run", f"{top}/etc")
        self.rootfs = f"{top}/rootfs"
        self.plans: list[LaunchPlan] = []
        make_rootfs(self.rootfs)

    def plan(self, *args: str, process: dict[str, Any] | None = None, **fields: Any) -> LaunchPlan:
        """A plan for a command, as strict as the engine's default but without network and seccomp."""
        container_id = os.urandom(32).hex()
        root = self.paths.container(container_id)
        for name in ("upper", "work"):
            os.makedirs(f"{root}/{name}")
        plan = LaunchPlan(
            container_id=container_id,
            name=f"box-{container_id[:6]}",
            instance=self.paths.instance,
            root_directory=root,
            run_directory=self.paths.container_run(container_id),
            layers=(self.rootfs,),
            process=ProcessPlan(args=args, env=("PATH=/bin",), capabilities=CAPABILITIES),
            hostname="box",
            cgroup=f"{self.paths.cgroup}/{container_id}",
            log=LogPlan(f"{root}/container.log", 1024 * 1024, 3),
        )
        plan = replace(plan, process=replace(plan.process, **(process or {})), **fields)
        self.plans.append(plan)
        return plan

    def start(self, plan: LaunchPlan, *, attach: bool = False) -> client.Started:
        return client.start(self.paths, plan, attach=attach)

    def run(self, plan: LaunchPlan, stdin: bytes | None = None) -> Result:
        """Run to the end, attached."""
        started = self.start(plan, attach=True)
        assert started.session is not None
        with started.session as session:
            return read_all(session, stdin)

    def sh(self, script: str, stdin: bytes | None = None, **fields: Any) -> Result:
        """Run a shell script to its end."""
        return self.run(self.plan("sh", "-c", script, **fields), stdin)

    def observe(self, plan: LaunchPlan) -> state.RunState:
        return state.observe(self.paths, plan.container_id)

    def state(self, plan: LaunchPlan) -> dict[str, Any]:
        record = state.read_state(plan.run_directory)
        assert record is not None
        return record

    def log(self, plan: LaunchPlan) -> str:
        try:
            with open(f"{plan.root_directory}/container.log") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def processes(self) -> list[int]:
        """The engine's processes of this box: spawner, monitors, exec helpers."""
        marker = self.top.encode()
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid():
                try:
                    with open(f"/proc/{name}/cmdline", "rb") as file:
                        if b"hull" in (line := file.read()) and marker in line and comm(int(name)).startswith("hull-"):
                            found.append(int(name))
                except OSError:
                    pass
        return found

    def spawner(self) -> int:
        """The pid of the spawner."""
        (pid,) = [pid for pid in self.processes() if comm(pid) == "hull-spawner"]
        return pid

    def close(self) -> None:
        """Stop everything."""
        for plan in self.plans:
            client.stop(self.paths, plan.container_id, 9, 0)
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        wait_for(lambda: not self.processes(), "the engine's processes to end")
        wait_for(self._cgroups_gone, "the engine's cgroups to go")
        shutil.rmtree(self.top)

    def _cgroups_gone(self) -> bool:
        remove_if_empty(detect(), self.paths.cgroup)
        return self.leftovers() == []

    def leftovers(self) -> list[str]:
        """What the kernel still knows of this box's containers."""
        found = []
        with open("/proc/self/mountinfo") as file:
            found += [line for line in file if self.top in line]
        host = detect()
        for root in {*host.mounts.values(), host.unified}:
            if root and os.path.isdir(f"{root}/{self.paths.cgroup}"):
                found.append(f"{root}/{self.paths.cgroup}")
        return found


def read_all(session: Any, stdin: bytes | None = None) -> Result:
    """Everything that a session gives."""
    result, stdout, stderr = Result(), bytearray(), bytearray()
    if stdin is not None:
        session.write_stdin(stdin)
        session.close_stdin()
    while (frame := session.read(timeout_s=30)) is not None:
        result.last = frame.kind
        if frame.kind == "stdout":
            stdout += frame.data
        elif frame.kind == "stderr":
            stderr += frame.data
        elif frame.kind == "exit":
            result.code, result.oom_killed = int(frame.data), frame.oom_killed
    result.stdout, result.stderr = bytes(stdout), bytes(stderr)
    return result


def comm(pid: int) -> str:
    """A process's name, empty where it is gone."""
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except OSError:
        return ""


def make_rootfs(rootfs: str) -> None:
    for name in ("bin", "etc", "home", "tmp"):
        os.makedirs(f"{rootfs}/{name}")
    os.chmod(f"{rootfs}/tmp", 0o1777)
    shutil.copy2(BUSYBOX, f"{rootfs}/bin/busybox")
    listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout
    for applet in listed.split():
        if applet != "busybox":
            os.symlink("busybox", f"{rootfs}/bin/{applet}")
    with open(f"{rootfs}/etc/passwd", "w") as file:
        file.write("root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001:Alice:/home/alice:/bin/sh\n")
    with open(f"{rootfs}/etc/group", "w") as file:
        file.write("root:x:0:\nwheel:x:10:alice\nalice:x:1001:\nextra:x:77:\n")


@contextmanager
def open_box() -> Iterator[Box]:
    """A Box that is emptied and removed at the end, and proves that it was."""
    with open("/proc/self/mountinfo") as file:
        before = file.read()
    box = Box(tempfile.mkdtemp(prefix="hull-box-"))
    try:
        yield box
    finally:
        box.close()
    assert box.leftovers() == []
    with open("/proc/self/mountinfo") as file:
        assert [line for line in file if "hull-box" in line] == []
    assert before
