# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What running containers use: their cgroups' counters and those of their network interfaces.

A container costs a few reads of small files; nothing of its record is parsed.
"""

from __future__ import annotations

from time import monotonic_ns

from .._base.values import Value
from . import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._kernel.cgroup_host import CgroupHost
    from .._store.records import ContainerRecord
    from .engine import Engine

_MAX_DEVICES = 65536


class Sample(Value):
    """The counters of one container at one moment; zeros of one that does not run. Memory without inactive cache."""

    time_ns: int
    cpu_ns: int = 0
    memory_bytes: int = 0
    memory_limit_bytes: int = 0  # the host's memory where the container has no limit
    received_bytes: int = 0
    sent_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    pids: int = 0


def cpu_percent(before: Sample, after: Sample) -> float:
    """The CPU time between two samples, of the time that passed; 100 is one CPU."""
    passed_ns = after.time_ns - before.time_ns
    return max(after.cpu_ns - before.cpu_ns, 0) * 100 / passed_ns if passed_ns > 0 else 0.0


class Sampler:
    """Takes samples. What is the same for all containers is found out once."""

    def __init__(self, engine: Engine) -> None:
        from .._kernel.cgroup_host import detect

        self._engine = engine
        self._host: CgroupHost = detect()
        self._memory_bytes = host_memory_bytes()
        self._own_network = _network_of("self")

    def sample(self, record: ContainerRecord) -> Sample:
        """The counters of a container now."""
        from .._kernel.cgroups import Cgroup
        from .._runtime.state import read_state

        if containers.state(self._engine, record).status not in ("running", "paused"):
            return Sample(monotonic_ns())
        found = read_state(self._engine.paths.container_run(record.id))
        if found is None:
            return Sample(monotonic_ns())
        moment = monotonic_ns()
        used = Cgroup(self._host, str(found["cgroup"])).usage()
        received, sent = self._network(int(found["pid"]))
        return Sample(
            moment,
            used.cpu_ns,
            max(used.memory_bytes - used.memory_inactive_file_bytes, 0),
            min(used.memory_limit_bytes or self._memory_bytes, self._memory_bytes),
            received,
            sent,
            used.io_read_bytes,
            used.io_write_bytes,
            used.pids,
        )

    def _network(self, pid: int) -> tuple[int, int]:
        """Bytes received and sent by the container's interfaces; the host's are nobody's."""
        if _network_of(str(pid)) in ("", self._own_network):
            return 0, 0
        try:
            with open(f"/proc/{pid}/net/dev", "rb", buffering=0) as file:
                return network_bytes(file.read(_MAX_DEVICES).decode("ascii", "replace"))
        except OSError:
            return 0, 0


def network_bytes(table: str) -> tuple[int, int]:
    """Bytes received and sent by all interfaces of a /proc/net/dev but the loopback."""
    received = sent = 0
    for line in table.splitlines()[2:]:
        name, _, counters = line.partition(":")
        fields = counters.split()
        if name.strip() != "lo" and len(fields) >= 9:
            received, sent = received + int(fields[0]), sent + int(fields[8])
    return received, sent


def host_memory_bytes() -> int:
    """The host's memory."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return int(file.readline().split()[1]) * 1024


def _network_of(pid: str) -> str:
    from os import readlink

    try:
        return readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""
