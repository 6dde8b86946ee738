# SPDX-License-Identifier: GPL-3.0-or-later
"""Launching for real: a busybox layer, the kernel of this host, and what the processes inside see of it."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Conflict, HullError, LaunchError
from ansible_collections.hull.engine.plugins.module_utils._base.values import replace
from ansible_collections.hull.engine.plugins.module_utils._runtime import client
from ansible_collections.hull.engine.plugins.module_utils._runtime.launch_plan import DevicePlan, MountPlan

from tests.support.box import Box, open_box, read_all, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with open_box() as opened:
        yield opened


def test_a_command_runs_and_its_status_comes_back(box: Box) -> None:
    assert box.run(box.plan("true")).code == 0
    assert box.sh("exit 7").code == 7


def test_a_killed_command_gives_128_and_the_signal(box: Box) -> None:
    assert box.run(box.plan("sh", "-c", "kill -TERM $$", init=True)).code == 143


def test_streams_are_kept_apart(box: Box) -> None:
    result = box.sh("echo out; echo err >&2")
    assert (result.stdout, result.stderr) == (b"out\n", b"err\n")


def test_nothing_of_a_container_is_left_after_its_exit(box: Box) -> None:
    plan = box.plan("true")
    box.run(plan)
    wait_for(lambda: not os.path.exists(plan.run_directory), "the run directory to go")
    assert not [root for root in os.listdir("/sys/fs/cgroup") if os.path.isdir(f"/sys/fs/cgroup/{root}/{plan.cgroup}")]
    with open("/proc/self/mountinfo") as file:
        assert box.top not in file.read()


def test_environment_is_the_plans_and_the_defaults_only(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_CANARY", "1")
    result = box.run(box.plan("/bin/env", process={"env": ("A=b=c", "EMPTY=")}))
    assert sorted(result.text.split("\n")[:-1]) == [
        "A=b=c",
        "EMPTY=",
        "HOME=/root",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]


def test_user_groups_and_home_come_from_the_images_files(box: Box) -> None:
    result = box.sh("id; echo $HOME", process={"user": "alice", "groups": ("extra", "5000")})
    assert result.text.split("\n")[:2] == [
        "uid=1000(alice) gid=1001(alice) groups=10(wheel),77(extra),1001(alice),5000",
        "/home/alice",
    ]


def test_a_numeric_user_without_entry_has_group_0(box: Box) -> None:
    assert box.sh("id -u; id -g; id -G", process={"user": "4711"}).text == "4711\n0\n0\n"


def test_a_user_can_write_to_dev_stdout(box: Box) -> None:
    assert box.sh("echo x > /dev/stdout", process={"user": "alice"}).text == "x\n"


@pytest.mark.parametrize("user", ["nobody-here", "4294967296", "-1", "0:0:0", "1_0", "alice:nogroup", "0x0", " 0"])
def test_a_bad_user_is_refused_before_the_command_runs(box: Box, user: str) -> None:
    with pytest.raises(LaunchError, match="user: "):
        box.start(box.plan("true", process={"user": user}))


def test_working_directory_is_made_inside_the_container(box: Box) -> None:
    assert box.sh("pwd; stat -c '%u %a' .", process={"working_dir": "/a/b"}).text == "/a/b\n0 755\n"
    assert not os.path.exists("/a/b")


def test_a_file_as_working_directory_is_refused(box: Box) -> None:
    with pytest.raises(LaunchError, match="working_dir: /etc/passwd"):
        box.start(box.plan("true", process={"working_dir": "/etc/passwd"}))


@pytest.mark.parametrize("path", [f"/proc/self/fd/{number}" for number in range(3, 10)] + ["/proc/1/cwd/../.."])
def test_working_directory_never_leaves_the_root(box: Box, path: str) -> None:
    try:
        result = box.sh("ls /", process={"working_dir": path})
    except LaunchError:
        return
    assert "rootfs" not in result.text and "bin" in result.text


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("nothing",), 127, "no such file in the image's PATH"),
        (("/bin/nothing",), 127, "no such file in the image"),
        (("/etc/passwd",), 126, "not an executable file"),
        (("/bin",), 126, "not an executable file"),
        (("/bin/text",), 126, "ENOEXEC"),
        (("/bin/script",), 127, "interpreter or loader"),
    ],
)
def test_a_command_that_can_not_be_executed(box: Box, args: tuple[str, ...], code: int, message: str) -> None:
    for name, text in (("text", "no binary"), ("script", "#!/no/such\n")):
        path = f"{box.rootfs}/bin/{name}"
        if not os.path.exists(path):
            with open(path, "w") as file:
                file.write(text)
            os.chmod(path, 0o755)
    plan = box.plan(*args)
    with pytest.raises(LaunchError, match=message) as caught:
        box.start(plan)
    assert caught.value.exit_code == code
    assert args[0] in str(caught.value)
    assert not os.path.exists(plan.run_directory)
    assert box.observe(plan).status == "created"


def test_the_container_has_its_own_namespaces_and_name(box: Box) -> None:
    result = box.sh(
        "hostname; echo $$; ls /sys/class/net; for n in mnt pid net ipc uts cgroup; do readlink /proc/self/ns/$n; done"
    )
    name, pid, link, *spaces = result.text.split("\n")[:-1]
    assert (name, pid, link) == ("box", "1", "lo")
    ours = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("mnt", "pid", "net", "ipc", "uts", "cgroup")]
    assert not set(spaces) & set(ours)


def test_pid_1_has_three_descriptors(box: Box) -> None:
    plan = box.plan("sleep", "1000")
    pid = box.start(plan).pid
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]
    client.stop(box.paths, plan.container_id, 9, 0)


def test_signals_and_umask_are_as_new(box: Box) -> None:
    result = box.run(box.plan("grep", "-E", "^Sig(Blk|Ign)|^Umask", "/proc/self/status"))
    assert result.text.split() == ["Umask:", "0022", "SigBlk:", "0" * 16, "SigIgn:", "0" * 16]


def test_what_the_starter_of_the_spawner_ignores_is_not_ignored_inside() -> None:
    """Signal 32 is the C library's own: no signal(2) resets it, and a background job may be given it ignored."""
    with open_box() as fresh:
        starter = os.fork()
        if starter == 0:
            status = 1
            try:
                _ignore_signal_32()
                plan = fresh.plan("grep", "-E", "^SigIgn", "/proc/self/status")
                status = int(fresh.run(plan).text.split() != ["SigIgn:", "0" * 16])
            finally:
                os._exit(status)
        assert os.waitpid(starter, 0)[1] == 0


def _ignore_signal_32() -> None:
    action = (1).to_bytes(8, sys.byteorder) + bytes(24)  # SIG_IGN
    number = {"x86_64": 13}.get(os.uname().machine, 134)
    assert ctypes.CDLL(None).syscall(number, 32, action, None, 8) == 0
    with open("/proc/self/status") as file:
        assert any(line.startswith("SigIgn") and int(line.split()[1], 16) >> 31 & 1 for line in file)


def test_capability_sets(box: Box) -> None:
    text = box.run(box.plan("grep", "^Cap", "/proc/self/status")).text
    sets = dict(line.split(":\t") for line in text.strip().split("\n"))
    assert sets["CapInh"] == sets["CapAmb"] == "0" * 16
    assert sets["CapPrm"] == sets["CapEff"] == sets["CapBnd"] == "00000000800405fb"
    text = box.run(box.plan("grep", "^Cap", "/proc/self/status", process={"user": "alice"})).text
    sets = dict(line.split(":\t") for line in text.strip().split("\n"))
    assert sets["CapPrm"] == sets["CapEff"] == sets["CapInh"] == "0" * 16
    assert sets["CapBnd"] == "00000000800405fb"


def test_limits_are_seen_inside(box: Box) -> None:
    limits = {"memory_bytes": 64 << 20, "cpu_quota_us": 50_000, "cpu_period_us": 100_000, "pids": 50}
    script = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us pids/pids.max"
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        script = "cd /sys/fs/cgroup; cat memory.max; cut -d' ' -f1 cpu.max; cat pids.max"
    assert box.sh(script, limits=limits).text.split() == [str(64 << 20), "50000", "50"]


def test_cgroups_can_not_be_written(box: Box) -> None:
    assert box.sh("mkdir /sys/fs/cgroup/x || mkdir /sys/fs/cgroup/*/x").code != 0


def test_rlimits(box: Box) -> None:
    process = {"rlimits": (("nofile", 100, 200), ("core", 0, 0))}
    assert box.sh("ulimit -Sn; ulimit -Hn; ulimit -c", process=process).text.split() == ["100", "200", "0"]


def test_masked_and_read_only_paths(box: Box) -> None:
    result = box.sh(
        "wc -c < /proc/kallsyms; ls -A /sys/firmware; echo 1 > /proc/sys/kernel/core_pattern",
        masked_paths=("/proc/kallsyms", "/sys/firmware", "/proc/not-there", "/proc/scsi"),
        read_only_paths=("/proc/sys",),
    )
    assert result.text == "0\n"
    assert b"Read-only" in result.stderr


def test_read_only_root(box: Box) -> None:
    result = box.sh("touch /x; touch /dev/shm/y && echo ok", read_only=True)
    assert b"Read-only" in result.stderr and result.text == "ok\n"


def test_a_device_node_of_the_image_is_dead(box: Box) -> None:
    node = f"{box.rootfs}/imagenull"
    if not os.path.exists(node):
        os.mknod(node, 0o20666, os.makedev(1, 3))
    assert box.sh("cat /imagenull").code != 0


def test_devices_of_the_plan_are_there_and_others_refused(box: Box) -> None:
    plan = box.plan("sh", "-c", "ls -l /dev/x/kmsg; cat /dev/null; cat /dev/zero | head -c 3 | wc -c")
    result = box.run(replace(plan, devices=(DevicePlan("/dev/x/kmsg", "c", 1, 11, "r", 0o600),)))
    assert "crw-------" in result.text and result.text.endswith("3\n")


def test_bind_tmpfs_and_read_only_mounts(box: Box) -> None:
    source = f"{box.top}/source"
    os.makedirs(f"{source}/below", exist_ok=True)
    with open(f"{source}/file", "w") as file:
        file.write("host")
    mounts = (
        MountPlan("bind", "/data/in", source, flags=("rbind", "nodev", "nosuid")),
        MountPlan("bind", "/data/ro", source, True, ("rbind", "nodev", "nosuid")),
        MountPlan("bind", "/etc/hosts", f"{source}/file", flags=("bind",)),
        MountPlan("tmpfs", "/scratch", flags=("nosuid", "nodev", "noexec"), data="mode=1777,size=65536"),
    )
    result = box.sh(
        "cat /data/in/file /etc/hosts; echo new > /data/in/new; touch /data/ro/x; "
        "df -k /scratch | tail -1 | awk '{print $2}'",
        mounts=mounts,
    )
    assert result.text == "hosthost64\n"
    assert b"Read-only" in result.stderr
    assert os.path.exists(f"{source}/new")


def test_a_missing_bind_source_is_named(box: Box) -> None:
    with pytest.raises(LaunchError, match="/no/such/thing"):
        box.start(box.plan("true", mounts=(MountPlan("bind", "/x", "/no/such/thing"),)))


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_an_image_with_a_link_for_proc_is_refused(box: Box, name: str) -> None:
    layer = f"{box.top}/linked-{name}"
    os.makedirs(layer, exist_ok=True)
    if not os.path.islink(f"{layer}/{name}"):
        os.symlink("/elsewhere", f"{layer}/{name}")
    with pytest.raises(HullError, match=f"/{name}"):
        box.start(box.plan("true", layers=(layer, box.rootfs)))
    assert not os.path.exists("/elsewhere")


def test_a_passwd_fifo_does_not_hang_the_launch(box: Box) -> None:
    layer = f"{box.top}/fifo"
    os.makedirs(f"{layer}/etc", exist_ok=True)
    if not os.path.exists(f"{layer}/etc/passwd"):
        os.mkfifo(f"{layer}/etc/passwd")
    with pytest.raises(LaunchError, match="/etc/passwd"):
        box.start(box.plan("true", layers=(layer, box.rootfs)))


def test_sysctls_of_the_containers_network(box: Box) -> None:
    sysctls = {"net.ipv4.ping_group_range": "0 2147483647", "net.ipv4.ip_unprivileged_port_start": "0"}
    result = box.sh(
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start", sysctls=sysctls, read_only_paths=("/proc/sys",)
    )
    assert result.text == "0\n"
    with pytest.raises(LaunchError, match="net.no.such"):
        box.start(box.plan("true", sysctls={"net.no.such": "1"}))


def test_shm_has_the_size_that_was_asked_for(box: Box) -> None:
    assert box.sh("df -k /dev/shm | tail -1 | awk '{print $2}'", shm_size_bytes=1 << 20).text == "1024\n"


def test_standard_input_reaches_the_command_and_ends(box: Box) -> None:
    data = os.urandom(300_000)
    result = box.run(box.plan("cat", process={"open_stdin": True}), stdin=data)
    assert (result.stdout, result.code) == (data, 0)


def test_without_standard_input_the_command_reads_nothing(box: Box) -> None:
    assert box.run(box.plan("cat")).stdout == b""


def test_a_terminal_is_the_containers_own(box: Box) -> None:
    started = client.start(
        box.paths,
        box.plan("sh", "-c", "tty; stty size; ls -l /dev/console | cut -c1; id -u", process={"tty": True}),
        attach=True,
        rows=33,
        columns=101,
    )
    assert started.session is not None and started.session.tty
    with started.session as session:
        result = read_all(session)
    assert result.text == "/dev/pts/0\r\n33 101\r\nc\r\n0\r\n"


def test_input_on_a_terminal_and_a_new_size(box: Box) -> None:
    plan = box.plan("sh", "-c", "read a; stty size; echo got $a", process={"tty": True, "open_stdin": True})
    started = box.start(plan, attach=True)
    assert started.session is not None
    with started.session as session:
        session.resize(40, 90)
        session.write_stdin(b"word\r")
        result = read_all(session)
    assert "40 90\r\n" in result.text and "got word\r\n" in result.text


def test_our_own_pid_1_tells_nothing_of_the_host(box: Box) -> None:
    result = box.sh("cat /proc/1/cmdline; ls -l /proc/1/exe", init=True)
    assert result.stdout.split(b"\0")[0] == b"init" and b"hull" not in result.stdout
    assert b"cannot read link" in result.stderr


def test_our_own_pid_1_reaps_and_forwards(box: Box) -> None:
    plan = box.plan(
        "sh", "-c", "trap 'echo got; exit 3' TERM; (sleep 0.01 &) ; echo ready; while :; do sleep 0.05; done", init=True
    )
    started = box.start(plan, attach=True)
    assert started.session is not None
    with started.session as session:
        frame = session.read(60)
        assert frame is not None and frame.data == b"ready\n"
        client.kill(box.paths, plan.container_id, 15)
        result = read_all(session)
    assert (result.text, result.code) == ("got\n", 3)


def test_host_namespaces_are_shared_where_asked(box: Box) -> None:
    plan = box.plan(
        "sh",
        "-c",
        "readlink /proc/self/ns/net; readlink /proc/self/ns/pid",
        namespaces=("mount", "ipc", "uts", "cgroup"),
    )
    assert box.run(plan).text.split() == [os.readlink("/proc/self/ns/net"), os.readlink("/proc/self/ns/pid")]


def test_a_shared_pid_namespace_leaves_no_process_behind(box: Box) -> None:
    plan = box.plan("sh", "-c", "sleep 4242 & exit 0", namespaces=("mount", "net", "ipc", "uts", "cgroup"))
    assert box.run(plan).code == 0
    assert not [pid for pid in os.listdir("/proc") if pid.isdigit() and b"sleep\x004242" in _cmdline(pid)]


def _cmdline(pid: str) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def test_starting_twice_is_a_conflict(box: Box) -> None:
    plan = box.plan("sleep", "1000")
    box.start(plan)
    try:
        with pytest.raises(Conflict, match="running already"):
            box.start(plan)
    finally:
        client.stop(box.paths, plan.container_id, 9, 0)


def test_the_interpreter_can_not_be_opened_for_writing_through_proc(box: Box) -> None:
    plan = box.plan("sleep", "1000")
    box.start(plan)
    monitor = box.state(plan)["monitor_pid"]
    for pid in (monitor, box.spawner()):
        with pytest.raises(OSError):
            os.close(os.open(f"/proc/{pid}/exe", os.O_WRONLY))
    client.stop(box.paths, plan.container_id, 9, 0)


def test_a_user_namespace_maps_ids(box: Box) -> None:
    result = box.sh(
        "id -u; cat /proc/self/uid_map; touch /x; stat -c %u /x /bin/busybox; echo > /dev/null && ls /dev",
        userns=(100000, 65536),
    )
    assert result.text.split()[:6] == ["0", "0", "100000", "65536", "0", "0"], result.stderr
