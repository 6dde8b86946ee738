# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The defaults that keep a container in: what is masked, read-only, limited and let through.

Never weaker than Docker's newest defaults, stricter where it is free: the files of /proc and /sys that tell about the
host's kernel, which root in a Docker container can read, are masked as well.
"""

from __future__ import annotations

MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/key-users",
    "/proc/keys",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/modules",
    "/proc/mtrr",
    "/proc/pagetypeinfo",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
    "/sys/dev/block",
    "/sys/devices/system/cpu/cpu*/thermal_throttle",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/bpf",
    "/sys/fs/selinux",
    "/sys/kernel/debug",
    "/sys/kernel/security",
    "/sys/kernel/tracing",
    "/sys/kernel/vmcoreinfo",
)

READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

# ping and low ports without the capabilities that they would otherwise take
NETWORK_SYSCTLS = {"net.ipv4.ping_group_range": "0 2147483647", "net.ipv4.ip_unprivileged_port_start": "0"}

# a network that has no IPv6 does not get it from whoever sends router advertisements; where the kernel has IPv6 at all
IPV6_OFF = {"net.ipv6.conf.all.disable_ipv6": "1", "net.ipv6.conf.lo.disable_ipv6": "0"}
IPV6_DIRECTORY = "/proc/sys/net/ipv6"

# A container with userns_mode auto has so many ids, from a part that nobody else uses: below it is what systemd-nspawn
# takes, above it are numbers that some programs can't hold. Source: systemd's "Users, Groups, UIDs and GIDs"
ID_COUNT = 65536
ID_POOL = range(1879048192, 2147352576, ID_COUNT)

RLIMITS = {"nofile": (1024, 524288), "core": (0, 0)}

# settings of an IPC namespace, beside fs.mqueue.*
IPC_SYSCTLS = tuple(
    f"kernel.{name}" for name in "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced".split()
)

DEFAULT_SHM_BYTES = 64 * 1024 * 1024

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
