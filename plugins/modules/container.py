#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The module hull.engine.container: one container, made what the task says."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container
short_description: Create, start, change, stop and remove a container
description:
  - Makes one container what the task says, and changes nothing where it already is that.
  - Options and return values are named as those of M(community.docker.docker_container) and mean the same.
  - Limits, labels, the health check, stop signal and timeout, the restart policy and the size of logs are changed while
    the container runs. A difference in anything else, or in the image, means that the container is stopped, removed
    and made anew.
  - Compared is what the task gives. An option that the task leaves out is not compared, unless O(compare=exact).
  - An option that can't work on the host, such as a limit without its cgroup controller, gives a warning; the rest is
    done.
extends_documentation_fragment:
  - hull.engine.docker
  - hull.engine.engine
  - hull.engine.engine.attributes
attributes:
  idempotent:
    support: partial
    details:
      - With O(detach=false), O(recreate=true) or O(restart=true) the container is started every time.
options:
  name:
    description:
      - The name of the container.
    type: str
    required: true
  image:
    description:
      - The image, as a reference such as V(debian:12), V(registry.example.org/team/app:1.4) or
        V(debian@sha256:...), or as the id of an image that is on the host.
      - Needed to create a container. An existing container keeps its image where this is not given.
    type: str
  state:
    description:
      - V(started) has it exist and run, V(healthy) also waits for its health check, if it has one.
      - V(present) has it exist as described and starts nothing. A container that must be made anew stays stopped.
      - V(stopped) has it exist and not run.
      - V(absent) stops and removes it.
    type: str
    choices: [absent, present, stopped, started, healthy]
    default: started
  pull:
    description:
      - V(missing) pulls the image if it is not on the host, V(never) fails then, V(always) asks the registry each time
        and pulls what is newer.
      - V(true) means V(always), V(false) means V(missing).
    type: raw
    choices: [missing, always, never, true, false]
    default: missing
  platform:
    description:
      - Which variant of the image to pull, such as V(linux/arm64). Not given, it is the host's.
    type: str
  pull_check_mode_behavior:
    description:
      - What check mode tells of O(pull=always). It asks the registry and tells the truth here in either case; accepted
        for tasks that come from community.docker.
    type: str
    choices: [image_not_present, always]
    default: image_not_present
  image_comparison:
    description:
      - Whose variables, labels and commands complete those of the task when it is compared with the container, those of
        the image that the task names (V(desired-image)) or of the one that the container has (V(current-image)).
    type: str
    choices: [desired-image, current-image]
    default: desired-image
  image_label_mismatch:
    description:
      - What to do where the image has labels that the task does not give, V(ignore) them or V(fail).
      - Counts only where O(comparisons) has labels, or everything, V(strict), or with O(compare=exact).
    type: str
    choices: [ignore, fail]
    default: ignore
  image_name_mismatch:
    description:
      - Whether a container whose image is the right one, but was asked for by another name, is made anew.
    type: str
    choices: [recreate, ignore]
    default: recreate
  command:
    description:
      - What to execute, as a list of words, or as one string that is split like a shell would. No shell runs it.
      - Not given, or an empty list, the image decides.
    type: raw
  entrypoint:
    description:
      - Words that come before O(command). An empty list removes those of the image.
    type: list
    elements: str
  command_handling:
    description:
      - V(correct) takes lists as they are. V(compatibility) joins the words of a list by spaces and splits them again
        like a shell would, and takes an empty O(command) or O(entrypoint) as not given, as docker_container once did.
    type: str
    choices: [correct, compatibility]
    default: correct
  env:
    description:
      - Environment variables. Values are strings; put numbers and booleans into quotes.
    type: dict
  env_file:
    description:
      - A file on the managed host with a C(NAME=value) on each line. O(env) wins over it.
    type: path
  user:
    description:
      - Who executes the command, as V(name), V(uid), V(name:group) or V(uid:gid), looked up in the container.
    type: str
  groups:
    description:
      - Further groups of the command, as names or numbers.
    type: list
    elements: str
  working_dir:
    description:
      - The directory in which the command starts, made where it does not exist.
    type: str
  hostname:
    description:
      - The host name that the container sees, up to 64 letters, digits, C(-), C(.) and C(_). Not given, it is the
        beginning of the container's id.
    type: str
  domainname:
    description:
      - The domain name that the container sees.
    type: str
  labels:
    description:
      - Labels. Values are strings or whole numbers; put anything else into quotes.
      - Those that the container or its image has beyond these are left alone.
    type: dict
  tty:
    description:
      - Give the command a pseudo-terminal.
    type: bool
  interactive:
    description:
      - Keep the command's standard input open when nobody is attached.
    type: bool
  init:
    description:
      - Run the command below a small process 1 that reaps orphans and forwards signals.
    type: bool
  detach:
    description:
      - With V(false) the task waits until the command ends, returns its output and status, and fails where that is
        not 0. Only if this task starts it.
    type: bool
  output_logs:
    description:
      - With O(detach=false), write what the command wrote to the log of Ansible's modules on the managed host too.
    type: bool
    default: false
  auto_remove:
    description:
      - Remove the container when its command ends.
    type: bool
  cleanup:
    description:
      - With O(detach=false), remove the container after its output has been taken.
    type: bool
    default: false
  recreate:
    description:
      - Remove and create the container even where it is as described.
    type: bool
    default: false
  restart:
    description:
      - Stop and start a container that runs already.
    type: bool
    default: false
  paused:
    description:
      - Whether the processes of the container stand still. Not given, that is left as it is.
    type: bool
  restart_policy:
    description:
      - When a container that has ended is started again. Not given, it is V(no).
      - V(unless-stopped) is V(always), but a container that was stopped on purpose stays so after a boot.
      - Does not go with O(auto_remove).
    type: str
    choices: ['no', 'on-failure', 'always', 'unless-stopped']
  restart_retries:
    description:
      - How often V(on-failure) tries, V(0) is without end. Only with O(restart_policy=on-failure).
    type: int
  healthcheck:
    description:
      - A command in the container that tells by its exit status whether the container is well.
      - What is not given here is as the image says, or else the default that is named. Durations are written like
        V(1m30s) or V(500ms); a number without unit is seconds.
    type: dict
    suboptions:
      test:
        description:
          - V(["CMD", "word", ...]), V(["CMD-SHELL", "line"]), a string for the container's shell, or V(["NONE"])
            to switch off the image's check.
          - Without it the image's check is switched off as well, unless O(healthcheck.test_cli_compatible=true).
        type: raw
      interval:
        description:
          - Time between two checks. The default is V(30s).
        type: str
      timeout:
        description:
          - How long a check may take. The default is V(30s).
        type: str
      start_period:
        description:
          - For how long after the start failures do not count. The default is V(0s).
        type: str
      start_interval:
        description:
          - Time between two checks during O(healthcheck.start_period). The default is V(5s).
        type: str
      retries:
        description:
          - How many failures in a row make it unhealthy. The default is V(3).
        type: int
      test_cli_compatible:
        description:
          - With V(true) and no O(healthcheck.test), the image's test is kept and the other suboptions change how it is
            done.
        type: bool
        default: false
  healthy_wait_timeout:
    description:
      - How many seconds O(state=healthy) waits. 0 or less is without end.
    type: float
    default: 300
  removal_wait_timeout:
    description:
      - Accepted for tasks that come from community.docker. A removal is done when the task is.
    type: float
  stop_signal:
    description:
      - The signal that asks the command to end, as a name such as V(SIGINT) or V(SIGRTMIN+3), or as a number. Not
        given, it is the image's, or else C(SIGTERM).
    type: str
  stop_timeout:
    description:
      - How many seconds the command has after that before it is killed, V(-1) is without end. Not given, it is 10.
      - Not compared unless O(comparisons) says so.
    type: int
  force_kill:
    description:
      - Kill the command instead of asking it to end, wherever this task stops the container.
    type: bool
    default: false
    aliases: [forcekill]
  kill_signal:
    description:
      - The signal for O(force_kill). Not given, it is C(SIGKILL).
    type: str
  keep_volumes:
    description:
      - Keep the volumes without a name of a container that is removed.
    type: bool
    default: true
  volumes:
    description:
      - What to mount, as V(/host/path:/target), V(volume:/target) or V(/target) for a volume without a name, each of
        the first two with modes after another colon, such as V(:ro) or V(:ro,rslave).
      - A path of the host may begin with C(~) or C(.). The directory is made where it does not exist. A volume is made
        where it does not exist, and filled with what the image has at the target.
      - Modes are V(ro) and V(rw), V(nocopy) for a volume that shall not be filled, V(rprivate), V(private), V(rshared),
        V(shared), V(rslave) and V(slave) for a path of the host. V(z), V(Z), V(consistent), V(cached) and V(delegated)
        change nothing.
    type: list
    elements: str
  volume_driver:
    description:
      - The driver of volumes that are made. Only V(local) exists.
    type: str
  volumes_from:
    description:
      - Containers, by name, id or at least its first 12 digits, whose volumes, bind mounts and images this one gets as
        well. V(:ro) makes them read-only. The container's own mounts win, and those of a later container over those of
        an earlier one.
    type: list
    elements: str
  mounts:
    description:
      - What to mount, in the long form.
    type: list
    elements: dict
    suboptions:
      target:
        description:
          - Where, an absolute path in the container.
        type: str
        required: true
      source:
        description:
          - A path on the host for V(bind), which must exist, the name of a volume, or that of an image.
          - Without it V(volume) makes one without a name.
        type: str
      type:
        description:
          - The kind of mount. V(image) shows the files of an image, which must be on the host, read-only.
          - V(npipe) and V(cluster) are refused.
        type: str
        choices: [bind, volume, tmpfs, image, npipe, cluster]
        default: volume
      read_only:
        description:
          - Forbid writing. What is mounted below a bind mount is read-only too.
        type: bool
      consistency:
        description:
          - Accepted; all views are consistent.
        type: str
        choices: [cached, consistent, default, delegated]
      propagation:
        description:
          - Whether mounts made later on one side of a bind mount appear on the other. For all but V(rprivate) and
            V(private) the source must be on a shared mount.
        type: str
        choices: [private, rprivate, shared, rshared, slave, rslave]
      create_mountpoint:
        description:
          - Make the directory of O(mounts[].source) of a bind mount where it does not exist.
        type: bool
      non_recursive:
        description:
          - Leave out what is mounted below O(mounts[].source) of a bind mount.
        type: bool
      read_only_non_recursive:
        description:
          - Leave what is mounted below a read-only bind mount writable.
        type: bool
      read_only_force_recursive:
        description:
          - Fail where what is mounted below can't be made read-only, which is always so here.
        type: bool
      no_copy:
        description:
          - Do not fill a new volume with what the image has at O(mounts[].target).
        type: bool
      labels:
        description:
          - Labels of a volume that is made.
        type: dict
      volume_driver:
        description:
          - The driver of a volume that is made. Only V(local) exists.
        type: str
      volume_options:
        description:
          - Options of the driver, V(type), V(device) and V(o), as O(hull.engine.volume#module:driver_options).
        type: dict
      subpath:
        description:
          - A file or directory in the volume or image, to be shown instead of the whole. It must exist. Links in it
            lead nowhere else.
        type: str
      tmpfs_size:
        description:
          - The size of a tmpfs, such as V(64M).
        type: str
      tmpfs_mode:
        description:
          - The permissions of a tmpfs, octal and in quotes, such as V('1777').
        type: str
      tmpfs_options:
        description:
          - Further options of a tmpfs, each a dictionary with one key, such as C(uid) with V(1000), or C(exec), which
            has no value, with V(null).
        type: list
        elements: dict
  tmpfs:
    description:
      - Where to mount a tmpfs, a list of V(/target) or V(/target:size=64m,mode=1777,exec), or a dictionary of targets
        and their options.
      - Options are V(size), V(mode), V(uid), V(gid), V(nr_inodes), V(nr_blocks), V(mpol), V(ro), V(exec), V(suid),
        V(dev), V(noatime). It is V(noexec,nosuid,nodev) where nothing else is said.
    type: raw
  network_mode:
    description:
      - V(bridge) is a network of its own on the host, with an address there and a way out, V(none) has only a
        loopback device, V(host) is the host's own network, V(container:name) that of another container.
    type: str
  published_ports:
    description:
      - Ports of the container that the host's ports lead to, as V(8080:80), V(127.0.0.1:8080:80),
        V(8000-8002:80-82) or V(80) for a free port of the host, with V(/udp) where it is not TCP.
    type: list
    elements: str
    aliases: [ports]
  dns_servers:
    description:
      - Name servers for the container. Not given, they are the host's.
    type: list
    elements: str
  etc_hosts:
    description:
      - Further entries of the container's C(/etc/hosts), name to address.
    type: dict
  memory:
    description:
      - How much memory the container may use, such as V(64M), at least V(6M). V(0) is without limit.
      - A number without unit is bytes; the units are V(K), V(M), V(G), V(T) and V(P), powers of 1024. This is so for
        all sizes.
    type: str
  memory_swap:
    description:
      - How much memory and swap together, at least as much as O(memory), or V(unlimited) or V(-1). Not given, it is
        twice O(memory).
    type: str
  memory_reservation:
    description:
      - How much the container keeps when the host's memory runs short, not more than O(memory).
    type: str
  memory_swappiness:
    description:
      - How willingly the kernel swaps the container's memory, V(0) to V(100). Version 1 of control groups only.
    type: int
  kernel_memory:
    description:
      - How much of the kernel's memory the container may cause to be used. Few kernels have this limit.
    type: str
  oom_killer:
    description:
      - V(true) switches the killing of processes off when the memory limit is reached; they wait then. This is what
        the option means in docker_container, whatever its name says. Version 1 of control groups only.
    type: bool
  oom_score_adj:
    description:
      - How readily the kernel ends the container's processes when the host's memory runs out, V(-1000) to V(1000).
    type: int
  cpus:
    description:
      - How many CPUs' time the container may use, such as V(0.5), at least V(0.01). V(0) is without limit.
      - Does not go with O(cpu_period) and O(cpu_quota), which say the same in microseconds.
    type: float
  cpu_period:
    description:
      - The period in microseconds in which O(cpu_quota) counts, V(1000) to V(1000000). Not given, it is 100000.
    type: int
  cpu_quota:
    description:
      - How many microseconds of CPU time the container may use in a period, at least V(1000). V(0) and V(-1) are
        without limit. Does not go with O(cpus).
    type: int
  cpu_shares:
    description:
      - Its weight against others when CPU time runs short, V(2) to V(262144). 1024 is usual.
    type: int
  cpuset_cpus:
    description:
      - On which CPUs it may run, such as V(0-2,5).
    type: str
  cpuset_mems:
    description:
      - From which memory nodes it gets its memory.
    type: str
  pids_limit:
    description:
      - How many processes and threads it may have, V(-1) is without limit. Not given, it is 2048.
    type: int
  blkio_weight:
    description:
      - Its weight against others when disk time runs short, V(10) to V(1000).
    type: int
  device_read_bps:
    description:
      - How many bytes a second the container may read from a block device.
    type: list
    elements: dict
    suboptions:
      path:
        description:
          - The device on the host, such as V(/dev/sda).
        type: str
        required: true
      rate:
        description:
          - Bytes a second, such as V(10M). V(0) is without limit.
        type: str
        required: true
  device_write_bps:
    description:
      - How many bytes a second the container may write to a block device.
    type: list
    elements: dict
    suboptions:
      path:
        description:
          - The device on the host, such as V(/dev/sda).
        type: str
        required: true
      rate:
        description:
          - Bytes a second, such as V(10M). V(0) is without limit.
        type: str
        required: true
  device_read_iops:
    description:
      - How many operations a second the container may read from a block device.
    type: list
    elements: dict
    suboptions:
      path:
        description:
          - The device on the host, such as V(/dev/sda).
        type: str
        required: true
      rate:
        description:
          - Operations a second. V(0) is without limit.
        type: int
        required: true
  device_write_iops:
    description:
      - How many operations a second the container may write to a block device.
    type: list
    elements: dict
    suboptions:
      path:
        description:
          - The device on the host, such as V(/dev/sda).
        type: str
        required: true
      rate:
        description:
          - Operations a second. V(0) is without limit.
        type: int
        required: true
  cgroup_parent:
    description:
      - The control group below which the container's is made, from the root of the hierarchies, such as V(/tenants/a)
        or V(machine.slice). Not given, it is the engine's own.
    type: str
  cgroupns_mode:
    description:
      - V(private) shows the container its own control group as the root, V(host) shows the host's tree.
    type: str
    choices: [private, host]
  shm_size:
    description:
      - The size of its C(/dev/shm), in bytes or such as V(256M). Not given, or V(0), it is 64M.
    type: str
  ulimits:
    description:
      - Limits of each process, as V(nofile:1024:2048), soft and hard, or V(nofile:1024) for both. V(-1) is unlimited.
      - The names are V(as), V(core), V(cpu), V(data), V(fsize), V(locks), V(memlock), V(msgqueue), V(nice), V(nofile),
        V(nproc), V(rss), V(rtprio), V(rttime), V(sigpending) and V(stack). Not given, V(nofile) is 1024:524288, V(core)
        is 0, and the others are the host's.
    type: list
    elements: str
  sysctls:
    description:
      - Kernel parameters of the container's own namespaces, such as V(net.core.somaxconn); C(net.*), C(kernel.shm*),
        C(kernel.msg*), C(kernel.sem*) and C(fs.mqueue.*). Put what could be a boolean into quotes.
    type: dict
  privileged:
    description:
      - Give the container all capabilities and devices and take the seccomp filter and path masks away. Whoever
        is root in it is then root on the host.
    type: bool
  capabilities:
    description:
      - Capabilities to add to the usual eleven, such as V(NET_ADMIN), or V(ALL). What the host itself lacks is left
        out, with a warning.
      - The usual ones are C(CHOWN), C(DAC_OVERRIDE), C(FOWNER), C(FSETID), C(KILL), C(NET_BIND_SERVICE), C(SETFCAP),
        C(SETGID), C(SETPCAP), C(SETUID) and C(SYS_CHROOT).
    type: list
    elements: str
  cap_drop:
    description:
      - Capabilities to take away. With V(ALL) only those in O(capabilities) are left.
    type: list
    elements: str
  security_opts:
    description:
      - V(no-new-privileges), which is the default, or V(no-new-privileges:false).
      - V(seccomp=/path/of/profile.json) on the managed host, in Docker's format, or the JSON itself instead of its
        path, or V(seccomp=unconfined). V(seccomp-compat) lets 32-bit programs in, which are refused otherwise.
      - V(apparmor=profile) and V(label=...) where the host has AppArmor or SELinux.
      - V(mask=/path:/path) hides further paths, V(unmask=/path) or V(unmask=ALL) shows what is hidden by default;
        V(systempaths=unconfined) is V(unmask=ALL).
    type: list
    elements: str
  read_only:
    description:
      - Mount the root file system read-only.
    type: bool
  devices:
    description:
      - Devices of the host to show, as V(/dev/fuse), V(/dev/sda:/dev/xvda), V(/dev/sda:r) or V(/dev/sda:/dev/xvda:r).
        The letters are V(r) for reading, V(w) for writing and V(m) for making it with C(mknod), all if not given.
    type: list
    elements: str
  device_cgroup_rules:
    description:
      - Devices that may be used though they are not shown, as V(c 42:* rwm), character (V(c)) or block (V(b)) devices
        by their numbers.
    type: list
    elements: str
  device_requests:
    description:
      - Devices by a driver, as for GPUs. There is no such driver here, so any request is refused; name device nodes in
        O(devices).
    type: list
    elements: dict
    suboptions:
      capabilities:
        description:
          - See community.docker.
        type: list
        elements: list
      count:
        description:
          - See community.docker.
        type: int
      device_ids:
        description:
          - See community.docker.
        type: list
        elements: str
      driver:
        description:
          - See community.docker.
        type: str
      options:
        description:
          - See community.docker.
        type: dict
  storage_opts:
    description:
      - V(size) limits the writable layer where the host's file system can do so, which no engine directory can yet; a
        warning says so.
    type: dict
  runtime:
    description:
      - The container format. V(native) is the engine's own and the only one yet.
    type: str
  pid_mode:
    description:
      - V(host) shows the host's processes, V(container:name) those of another container.
    type: str
  ipc_mode:
    description:
      - V(host) shares System V IPC and C(/dev/shm) with the host, V(container:name) with another container.
      - V(private) and V(shareable) have their own, V(none) has no C(/dev/shm).
    type: str
  uts:
    description:
      - V(host) shares the host's name.
    type: str
  userns_mode:
    description:
      - V(auto) gives the container 65536 users and groups of its own, which nobody else on the host has. Its root is
        one of them, so what breaks out owns nothing on the host. Image, volumes and bind mounts show the same owners
        inside as on disk; ids beyond 65535 show as 65534.
      - V(host) does not, its root is the host's. This is the default.
      - V(auto) does not go with O(privileged), with O(network_mode=host) or V(container:), with O(pid_mode=host), with
        O(ipc_mode=host) and with mounts of shared propagation. It needs Linux 5.19, and file systems that can be
        idmapped (ext4, xfs, btrfs; tmpfs from Linux 6.3) for the state directory and every mount.
    type: str
  log_driver:
    description:
      - V(json-file) keeps the output in files of a limited size, V(none) keeps nothing. Not given, it is V(json-file);
        V(local) is the same.
      - V(journald) and V(syslog) send it there and keep files as well.
    type: str
  log_options:
    description:
      - V(max-size) and V(max-file) of the files, 10M and 3 if not given. V(max-size) of V(-1) is without limit.
      - V(tag), the name in journald and syslog, with V({{.Name}}), V({{.ID}}) and the like.
      - V(mode), V(non-blocking) (the default, a log that can't keep up loses lines) or V(blocking); V(max-buffer-size),
        how much waits for a slow journald or syslog, V(1m) if not given.
      - V(syslog-address), V(syslog-facility), V(syslog-format).
    type: dict
    aliases: [log_opt]
  comparisons:
    description:
      - How options are compared with an existing container, option to V(strict) (equal), V(ignore), or
        V(allow_more_present) (for lists and dictionaries, the container may have more). The option C(*) stands for all.
      - Not given, values and lists are compared strictly, sets and dictionaries may have more.
    type: dict
  compare:
    description:
      - V(declared) compares what the task gives, as docker_container does. What an earlier task gave and this one no
        longer does stays.
      - V(exact) compares also what an earlier task gave, so that removing a variable, a label, a volume or a limit from
        the task is a change. What comes from the image never is one.
    type: str
    choices: [declared, exact]
    default: declared
  container_default_behavior:
    description:
      - V(compatibility) compares O(auto_remove), O(detach), O(init), O(interactive), O(memory), O(paused),
        O(privileged), O(read_only) and O(tty) with their defaults where the task does not give them.
    type: str
    choices: [compatibility, no_defaults]
    default: no_defaults
seealso:
  - module: hull.engine.container_image
  - module: hull.engine.container_info
  - module: hull.engine.container_exec
  - module: hull.engine.volume
author:
  - the hull.engine authors
"""

EXAMPLES = r"""
- name: A web server with limits, started again after a crash
  hull.engine.container:
    name: web
    image: docker.io/library/nginx:1.29
    published_ports:
      - "8080:80"
    volumes:
      - web-content:/usr/share/nginx/html:ro
    memory: 256M
    cpus: 0.5
    pids_limit: 100
    restart_policy: unless-stopped

- name: Run one command to its end and keep nothing
  hull.engine.container:
    name: hello
    image: debian:12
    command: [/bin/echo, Hello world]
    detach: false
    cleanup: true
  register: hello

- name: What it said
  ansible.builtin.debug:
    msg: "{{ hello.container.Output }}"

- name: A database, waiting until it answers
  hull.engine.container:
    name: db
    image: docker.io/library/postgres:17
    state: healthy
    env:
      POSTGRES_PASSWORD: "{{ db_password }}"
    mounts:
      - target: /var/lib/postgresql/data
        source: db-data
    healthcheck:
      test: [CMD, pg_isready, -U, postgres]
      interval: 2s
      retries: 5

- name: A job with limits on time, disk and files, and its log in syslog
  hull.engine.container:
    name: report
    image: debian:12
    command: [/bin/sh, -c, "sleep 3600"]
    cpu_period: 50000
    cpu_quota: 20000
    memory: 256M
    memory_swap: 256M
    device_write_bps:
      - path: /dev/sda
        rate: 10M
    ulimits:
      - nofile:1024:2048
    log_driver: syslog
    log_options:
      tag: "{{ '{{.Name}}' }}"

- name: Nothing beyond this task stays, also what an earlier one gave
  hull.engine.container:
    name: web
    image: docker.io/library/nginx:1.29
    compare: exact
    env:
      MODE: production

- name: A shell that can do next to nothing
  hull.engine.container:
    name: sandbox
    image: debian:12
    command: sleep infinity
    network_mode: none
    read_only: true
    tmpfs:
      - /tmp:size=16m,noexec
    cap_drop: [ALL]
    user: nobody

- name: Remove it, and the volumes that only it had
  hull.engine.container:
    name: sandbox
    state: absent
    keep_volumes: false
"""

RETURN = r"""
container:
  description:
    - The container after the task (in check mode, before it) in the shape of C(docker inspect).
    - Not there where there is no such container.
    - With O(detach=false), C(Output) is what the command wrote.
  returned: when the container exists, or existed for O(detach=false)
  type: dict
  sample:
    Id: 3f0c9a4be0d1f1c8a2a7e2f1f4f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3
    Name: /web
    State:
      Status: running
      Running: true
      Pid: 4711
      ExitCode: 0
status:
  description:
    - The exit status of the command.
  returned: with O(detach=false), if this task started it
  type: int
  sample: 0
actions:
  description:
    - What was done, or would be done in check mode, in order.
    - Each has one key that says what, with the object as its value, and RV(actions[].reason) where there is one.
    - The keys are V(pulled_image), V(created), V(recreated), V(updated), V(started), V(restarted), V(stopped),
      V(killed), V(paused), V(unpaused) and V(removed).
  returned: always
  type: list
  elements: dict
  contains:
    reason:
      description:
        - Why. Of V(recreated) the options that forced it, of V(updated) those that were changed live.
      returned: where it is known
      type: str
      sample: env, volumes
  sample:
    - stopped: web
    - recreated: web
      reason: env, volumes
    - started: web
"""

from ansible_collections.hull.engine.plugins.module_utils._module.arguments import given  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._module.docker_connection import (  # noqa: E402
    DOCKER_ARGUMENTS,
    refuse_other_hosts,
)
from ansible_collections.hull.engine.plugins.module_utils._module.results import outcome_result  # noqa: E402
from ansible_collections.hull.engine.plugins.module_utils._module.runner import (  # noqa: E402
    Task,
    TaskFailed,
    run_module,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ansible_collections.hull.engine.plugins.module_utils._engine.container_task import ContainerRequest

_HEALTHCHECK = {
    "test": {"type": "raw"},
    "interval": {"type": "str"},
    "timeout": {"type": "str"},
    "start_period": {"type": "str"},
    "start_interval": {"type": "str"},
    "retries": {"type": "int"},
    "test_cli_compatible": {"type": "bool", "default": False},
}
_BYTES_RATE = {"path": {"type": "str", "required": True}, "rate": {"type": "str", "required": True}}
_OPERATIONS_RATE = {"path": {"type": "str", "required": True}, "rate": {"type": "int", "required": True}}
_DEVICE_REQUEST = {
    "capabilities": {"type": "list", "elements": "list"},
    "count": {"type": "int"},
    "device_ids": {"type": "list", "elements": "str"},
    "driver": {"type": "str"},
    "options": {"type": "dict"},
}
_MOUNT = {
    "target": {"type": "str", "required": True},
    "source": {"type": "str"},
    "type": {
        "type": "str",
        "choices": ["bind", "volume", "tmpfs", "image", "npipe", "cluster"],
        "default": "volume",
    },
    "read_only": {"type": "bool"},
    "consistency": {"type": "str", "choices": ["cached", "consistent", "default", "delegated"]},
    "propagation": {"type": "str", "choices": ["private", "rprivate", "shared", "rshared", "slave", "rslave"]},
    "create_mountpoint": {"type": "bool"},
    "non_recursive": {"type": "bool"},
    "read_only_non_recursive": {"type": "bool"},
    "read_only_force_recursive": {"type": "bool"},
    "no_copy": {"type": "bool"},
    "labels": {"type": "dict"},
    "volume_driver": {"type": "str"},
    "volume_options": {"type": "dict"},
    "subpath": {"type": "str"},
    "tmpfs_size": {"type": "str"},
    "tmpfs_mode": {"type": "str"},
    "tmpfs_options": {"type": "list", "elements": "dict"},
}
# What the container is: compared with the one that exists. The engine knows these by the same names.
SPEC_ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "image": {"type": "str"},
    "command": {"type": "raw"},
    "entrypoint": {"type": "list", "elements": "str"},
    "env": {"type": "dict"},
    "env_file": {"type": "path"},
    "user": {"type": "str"},
    "groups": {"type": "list", "elements": "str"},
    "working_dir": {"type": "str"},
    "hostname": {"type": "str"},
    "domainname": {"type": "str"},
    "labels": {"type": "dict"},
    "tty": {"type": "bool"},
    "interactive": {"type": "bool"},
    "init": {"type": "bool"},
    "auto_remove": {"type": "bool"},
    "restart_policy": {"type": "str", "choices": ["no", "on-failure", "always", "unless-stopped"]},
    "restart_retries": {"type": "int"},
    "healthcheck": {"type": "dict", "options": _HEALTHCHECK},
    "stop_signal": {"type": "str"},
    "stop_timeout": {"type": "int"},
    "volumes": {"type": "list", "elements": "str"},
    "volume_driver": {"type": "str"},
    "volumes_from": {"type": "list", "elements": "str"},
    "mounts": {"type": "list", "elements": "dict", "options": _MOUNT},
    "tmpfs": {"type": "raw"},
    "network_mode": {"type": "str"},
    "published_ports": {"type": "list", "elements": "str", "aliases": ["ports"]},
    "dns_servers": {"type": "list", "elements": "str"},
    "etc_hosts": {"type": "dict"},
    "memory": {"type": "str"},
    "memory_swap": {"type": "str"},
    "memory_reservation": {"type": "str"},
    "memory_swappiness": {"type": "int"},
    "kernel_memory": {"type": "str"},
    "oom_killer": {"type": "bool"},
    "oom_score_adj": {"type": "int"},
    "cpus": {"type": "float"},
    "cpu_period": {"type": "int"},
    "cpu_quota": {"type": "int"},
    "cpu_shares": {"type": "int"},
    "cpuset_cpus": {"type": "str"},
    "cpuset_mems": {"type": "str"},
    "pids_limit": {"type": "int"},
    "blkio_weight": {"type": "int"},
    "device_read_bps": {"type": "list", "elements": "dict", "options": _BYTES_RATE},
    "device_write_bps": {"type": "list", "elements": "dict", "options": _BYTES_RATE},
    "device_read_iops": {"type": "list", "elements": "dict", "options": _OPERATIONS_RATE},
    "device_write_iops": {"type": "list", "elements": "dict", "options": _OPERATIONS_RATE},
    "cgroup_parent": {"type": "str"},
    "cgroupns_mode": {"type": "str", "choices": ["private", "host"]},
    "shm_size": {"type": "str"},
    "ulimits": {"type": "list", "elements": "str"},
    "sysctls": {"type": "dict"},
    "privileged": {"type": "bool"},
    "capabilities": {"type": "list", "elements": "str"},
    "cap_drop": {"type": "list", "elements": "str"},
    "security_opts": {"type": "list", "elements": "str"},
    "read_only": {"type": "bool"},
    "devices": {"type": "list", "elements": "str"},
    "device_cgroup_rules": {"type": "list", "elements": "str"},
    "device_requests": {"type": "list", "elements": "dict", "options": _DEVICE_REQUEST},
    "storage_opts": {"type": "dict"},
    "runtime": {"type": "str"},
    "pid_mode": {"type": "str"},
    "ipc_mode": {"type": "str"},
    "uts": {"type": "str"},
    "userns_mode": {"type": "str"},
    "log_driver": {"type": "str"},
    "log_options": {"type": "dict", "aliases": ["log_opt"]},
}
# What to do with it.
REQUEST_ARGUMENTS: dict[str, dict[str, Any]] = {
    "state": {
        "type": "str",
        "choices": ["absent", "present", "stopped", "started", "healthy"],
        "default": "started",
    },
    "pull": {"type": "raw", "choices": ["missing", "always", "never", True, False], "default": "missing"},
    "platform": {"type": "str"},
    "pull_check_mode_behavior": {
        "type": "str",
        "choices": ["image_not_present", "always"],
        "default": "image_not_present",
    },
    "image_comparison": {"type": "str", "choices": ["desired-image", "current-image"], "default": "desired-image"},
    "image_label_mismatch": {"type": "str", "choices": ["ignore", "fail"], "default": "ignore"},
    "command_handling": {"type": "str", "choices": ["correct", "compatibility"], "default": "correct"},
    "output_logs": {"type": "bool", "default": False},
    "paused": {"type": "bool"},
    "removal_wait_timeout": {"type": "float"},
    "compare": {"type": "str", "choices": ["declared", "exact"], "default": "declared"},
    "container_default_behavior": {
        "type": "str",
        "choices": ["compatibility", "no_defaults"],
        "default": "no_defaults",
    },
    "image_name_mismatch": {"type": "str", "choices": ["recreate", "ignore"], "default": "recreate"},
    "detach": {"type": "bool"},
    "cleanup": {"type": "bool", "default": False},
    "recreate": {"type": "bool", "default": False},
    "restart": {"type": "bool", "default": False},
    "healthy_wait_timeout": {"type": "float", "default": 300},
    "force_kill": {"type": "bool", "default": False, "aliases": ["forcekill"]},
    "kill_signal": {"type": "str"},
    "keep_volumes": {"type": "bool", "default": True},
    "comparisons": {"type": "dict"},
}
ARGUMENTS = {**SPEC_ARGUMENTS, **REQUEST_ARGUMENTS}
# What container_default_behavior=compatibility fills in.
_OLD_DEFAULTS: dict[str, Any] = {
    "auto_remove": False,
    "detach": True,
    "init": False,
    "interactive": False,
    "memory": "0",
    "paused": False,
    "privileged": False,
    "read_only": False,
    "tty": False,
}
# Options and values that older releases of docker_container had.
_CURES = {
    "got: restarted": "use state: started with restart: true",
    "ignore_image": "use comparisons: {image: ignore}",
    "purge_networks": "leave it out, a container has the one network that network_mode names",
    "trust_image_content": "leave it out, signatures are checked as the host's configuration says",
}
_PULL = {"True": "always", "False": "missing"}


def request_of(options: dict[str, Any]) -> ContainerRequest:
    """The engine's request for the task's options. Raises Invalid, naming the option."""
    from ansible_collections.hull.engine.plugins.module_utils._engine.container_task import ContainerRequest
    from ansible_collections.hull.engine.plugins.module_utils._engine.options import container_spec, signal_number

    if options["container_default_behavior"] == "compatibility":
        options = {**options, **{name: old for name, old in _OLD_DEFAULTS.items() if options[name] is None}}
    wanted = given(options, frozenset(SPEC_ARGUMENTS))
    spec = container_spec({**wanted, "command_handling": options["command_handling"]})
    pull = str(options["pull"])
    return ContainerRequest(
        spec=spec,
        given=frozenset(spec.given),
        state=options["state"],
        pull=_PULL.get(pull, pull),
        platform=options["platform"] or "",
        recreate=options["recreate"],
        restart=options["restart"],
        detach=options["detach"] is not False,
        cleanup=options["cleanup"],
        force_kill=options["force_kill"],
        kill_signal=signal_number(options["kill_signal"] or "SIGKILL", option="kill_signal"),
        stop_timeout_s=options["stop_timeout"],
        keep_volumes=options["keep_volumes"],
        comparisons=options["comparisons"] or {},
        image_name_mismatch=options["image_name_mismatch"],
        image_comparison=options["image_comparison"],
        image_label_mismatch=options["image_label_mismatch"],
        compare=options["compare"],
        paused=options["paused"],
        healthy_wait_timeout_s=options["healthy_wait_timeout"],
    )


def ensure_container(task: Task) -> dict[str, Any]:
    """Bring the container to what the task says. Raises TaskFailed where its command ends with another status."""
    from ansible_collections.hull.engine.plugins.module_utils._engine.container_task import ensure

    refuse_other_hosts(task.options)
    outcome = ensure(task.engine, request_of(task.options), check=task.check)
    result = outcome_result(outcome, "container")
    if outcome.status is not None:
        result["status"] = outcome.status
        if task.options["output_logs"]:
            task.log(outcome.output or "")
        if outcome.status != 0:
            name = task.options["name"]
            raise TaskFailed(
                (outcome.output or "").strip() or f"container {name}: its command ended with status {outcome.status}",
                result,
            )
    return result


def main() -> None:
    """Run the module."""
    run_module(
        ensure_container,
        {**ARGUMENTS, **DOCKER_ARGUMENTS},
        cures=_CURES,
        required_if=[("state", "present", ["image"])],
    )


if __name__ == "__main__":
    main()
