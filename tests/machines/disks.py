# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Makes the disks of virtual machines: Debian as it is installed, with systemd and ssh, without an initial ramdisk.

What a machine may install later lies on its disk (`/opt/packages`, `/opt/wheels`), so a machine needs no network.
A disk is kept in a directory of its own:

    CACHE/disks/<release>-<variant>-<hash of the recipe>/
        disk.img    raw, one ext4 file system without partitions
        vmlinuz     the kernel, to be started directly; it has NVMe and ext4 built in
        key         whose holder may log in as root, with key.pub

A tree is the same for a container that is a machine: `CACHE/trees/<release>-container-<hash>/root.tar`, whose network
and keys come from whoever starts the container.

The variant `plain` is for the role, which has to find a bare machine. `test` has what the tests need, as
`requirements/test.debian.txt` and `requirements/test.txt` name it, in `/opt/test`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
REQUIREMENTS = CHECKOUT / "requirements"
RELEASES = {"11": "bullseye", "12": "bookworm", "13": "trixie"}
VARIANTS = {"plain": "3G", "test": "12G"}
COMMAND_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What every installation of Debian has, then what the tests ask and serve with.
INSTALLED = """
    systemd systemd-sysv dbus libpam-systemd udev kmod openssh-server ca-certificates linux-image-cloud-amd64
    python3 iproute2 procps util-linux e2fsprogs less
    busybox-static curl docker-registry nftables
""".split()
# What a role may want to install.
OFFERED = """
    nftables zstd python3-pyroute2 python3-venv python3-pip python3-apt firewalld ufw iptables bash-completion man-db
    xfsprogs
""".split()
OFFERED_WHEELS = ("pyroute2==0.9.5", "pyroute2==0.9.7")
# Whichever of these the host has set names a file of the host's; pip prefers the second to the first.
CERTIFICATES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
DISABLED_UNITS = ("docker-registry.service", "nftables.service")
MASKED_UNITS = """
    systemd-networkd-wait-online.service systemd-timesyncd.service apt-daily.timer apt-daily-upgrade.timer
    e2scrub_reap.service e2scrub_all.timer fstrim.timer dpkg-db-backup.timer
""".split()
# What a container has no use for.
KERNEL_FILES = ("./boot/*", "./usr/lib/modules/*", "./lib/modules/*")
# Features that the kernel and the tools of every release know.
FILE_SYSTEM = """
    none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,
    dir_nlink,extra_isize,metadata_csum
"""


class Unbuildable(Exception):
    """A disk cannot be made here; says why."""


def cache() -> Path:
    """Where disks and machines are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hull.engine/machines"


def disk(release: str, variant: str) -> Path:
    """The directory of a disk, which is made if there is none."""
    directory = cache() / "disks" / f"{release}-{variant}-{_recipe(variant)}"
    with _made_once(directory) as workplace:
        if workplace:
            _make(release, variant, workplace)
    return directory


def tree(release: str) -> Path:
    """A tar archive of a root directory for a container, without a kernel; made if there is none."""
    base = _installed(release)
    directory = cache() / "trees" / f"{release}-container-{_recipe('plain')}"
    with _made_once(directory) as workplace:
        if workplace:
            with open(f"{directory}.log", "wb") as output:
                build = _Build(workplace / "root", output)
                build.unpack(base)
                build.offer()
                build.settle()
                build.archive(workplace / "root.tar", without=KERNEL_FILES)
    return directory / "root.tar"


def _installed(release: str) -> Path:
    """A tar archive of Debian as it is installed, with a kernel and nothing configured; made if there is none."""
    contents = hashlib.sha256(" ".join(INSTALLED).encode()).hexdigest()[:12]
    directory = cache() / "trees" / f"{release}-{contents}"
    with _made_once(directory) as workplace:
        if workplace:
            with open(f"{directory}.log", "wb") as output:
                build = _Build(workplace / "root", output)
                build.install(RELEASES[release])
                build.archive(workplace / "root.tar")
    return directory / "root.tar"


def _recipe(variant: str) -> str:
    """Changes with whatever a disk is made from."""
    files = [Path(__file__)]
    if variant == "test":
        files += [REQUIREMENTS / name for name in ("test.debian.txt", "test.txt", "demo.txt")]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:12]


@contextmanager
def _made_once(directory: Path) -> Iterator[Path | None]:
    """Where to make what becomes the directory, or None if it is there. Who comes while another makes it waits."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{directory}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if directory.exists():
            yield None
            return
        _check(directory.name)
        print(f"making {directory.name}, which takes minutes; see {directory}.log", file=sys.stderr)
        for left in directory.parent.glob(f".{directory.name}.*"):
            shutil.rmtree(left)
        workplace = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
        try:
            yield workplace
            os.rename(workplace, directory)
        finally:
            shutil.rmtree(workplace, ignore_errors=True)


def _check(what: str) -> None:
    for command in ("debootstrap", "depmod", "mke2fs", "ssh-keygen", "unshare"):
        if not shutil.which(command, path=f"{os.environ['PATH']}:{COMMAND_PATH}"):
            raise Unbuildable(f"make {what}: {command} is missing; run requirements/install machines")
    if os.geteuid() != 0:
        raise Unbuildable(f"make {what}: only root can")


def _make(release: str, variant: str, workplace: Path) -> None:
    base = _installed(release)
    name = workplace.name.lstrip(".").rpartition(".")[0]
    with open(workplace.parent / f"{name}.log", "wb") as output:
        build = _Build(workplace / "root", output)
        build.unpack(base)
        build.offer()
        if variant == "test":
            build.equip()
        build.connect(workplace / "key")
        build.settle()
        build.pack(workplace, VARIANTS[variant])


class _Build:
    """One root directory that becomes a disk. Mounts live in namespaces that end with the command that needs them."""

    def __init__(self, root: Path, output) -> None:
        self.root = root
        self.output = output
        self.mirror = _mirror()

    def install(self, suite: str) -> None:
        """Install Debian with its kernel; packages are configured, services are not started."""
        packages = cache() / "packages"
        packages.mkdir(parents=True, exist_ok=True)
        self._write("etc/dpkg/dpkg.cfg.d/unsafe-io", "force-unsafe-io\n")
        debootstrap = [
            "debootstrap",
            "--variant=minbase",
            f"--cache-dir={packages}",
            f"--include={','.join(INSTALLED)}",
        ]
        self._run(["unshare", "--mount", "--", *debootstrap, suite, str(self.root), self.mirror], INITRD="No")
        self._enter("apt-get", "clean")

    def archive(self, file: Path, *, without: tuple[str, ...] = ()) -> None:
        """Make an archive of it, but for what matches these patterns, and have it no more."""
        tar = ["tar", "-C", str(self.root), "--xattrs", "--numeric-owner", *(f"--exclude={each}" for each in without)]
        self._run([*tar, "-cf", str(file), "."])
        shutil.rmtree(self.root)

    def unpack(self, file: Path) -> None:
        """Take it from an archive; services are not started in it."""
        self.root.mkdir()
        self._run(["tar", "-C", str(self.root), "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", str(file)])
        self._write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", mode=0o755)

    def offer(self) -> None:
        """Put packages with all that they need, and wheels, where the machine's own apt and pip find them."""
        self._write("etc/apt/sources.list", f"deb {self.mirror} {self._suite()} main\n")
        self._enter("apt-get", "update")
        archives = self.root / "opt/packages"
        (archives / "partial").mkdir(parents=True)
        for package in OFFERED:
            self._apt("--download-only", "-o", "Dir::Cache::archives=/opt/packages/", package)
        (archives / "partial").rmdir()
        (archives / "lock").unlink()
        _index(archives)
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--ignore-requires-python"]
        for wheel in OFFERED_WHEELS:
            self._run([*pip, "--dest", str(self.root / "opt/wheels"), wheel])

    def equip(self) -> None:
        """Install what the tests need."""
        self._apt("python3-venv", *_names(REQUIREMENTS / "test.debian.txt"))
        requirements = self.root / "opt/requirements"
        requirements.mkdir()
        for name in ("demo.txt", "test.txt"):
            shutil.copy(REQUIREMENTS / name, requirements)
        certificates = os.environ.get("PIP_CERT") or ssl.get_default_verify_paths().cafile
        if certificates:
            shutil.copy(certificates, requirements / "ca.pem")
        trusted = "/opt/requirements/ca.pem"
        self._enter("python3", "-m", "venv", "/opt/test")
        pip = ("/opt/test/bin/python", "-m", "pip", "install", "--disable-pip-version-check", "--no-cache-dir")
        self._enter(*pip, "-r", "/opt/requirements/test.txt", **dict.fromkeys(CERTIFICATES, trusted))
        shutil.rmtree(requirements)

    def connect(self, key: Path) -> None:
        """Give it a file system, a network, and a key that opens it."""
        self._run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "machines", "-f", str(key)])
        self._write("root/.ssh/authorized_keys", Path(f"{key}.pub").read_text(), mode=0o600)
        self._write("etc/hostname", "machine\n")
        self._write("etc/hosts", "127.0.0.1 localhost\n127.0.1.1 machine\n")
        self._write("etc/fstab", "/dev/nvme0n1 / ext4 defaults 0 1\n")
        self._write("etc/resolv.conf", "nameserver 10.0.2.3\n")
        self._write("etc/systemd/network/10-wired.network", "[Match]\nName=en* eth*\n[Network]\nDHCP=yes\n")
        self._enter("systemctl", "enable", "systemd-networkd.service")

    def settle(self) -> None:
        """Make a machine of it: ssh, packages from its own disk, no work at odd times, services may start."""
        self._write("etc/apt/sources.list", "deb [trusted=yes] file:/opt/packages ./\n")
        self._write("etc/pip.conf", "[global]\nno-index = true\nfind-links = /opt/wheels\n")
        self._enter("systemctl", "enable", "ssh.service")
        self._enter("systemctl", "mask", *MASKED_UNITS)
        self._enter("systemctl", "disable", *DISABLED_UNITS)
        self._enter("apt-get", "clean")
        shutil.rmtree(self.root / "var/lib/apt/lists")
        self._enter("apt-get", "update")
        (self.root / "usr/sbin/policy-rc.d").unlink()
        (self.root / "etc/dpkg/dpkg.cfg.d/unsafe-io").unlink()

    def pack(self, workplace: Path, size: str) -> None:
        """Take the kernel out and make a file system of the rest."""
        kernel = next((self.root / "boot").glob("vmlinuz-*"))
        self._run(["depmod", "--basedir", str(self.root), kernel.name.partition("-")[2]])
        shutil.copy(kernel, workplace / "vmlinuz")
        features = "".join(FILE_SYSTEM.split())
        mke2fs = ["mke2fs", "-q", "-t", "ext4", "-O", features, "-d", str(self.root)]
        self._run([*mke2fs, str(workplace / "disk.img"), size])
        shutil.rmtree(self.root)

    def _suite(self) -> str:
        release = (self.root / "etc/os-release").read_text()
        return next(line.partition("=")[2] for line in release.splitlines() if line.startswith("VERSION_CODENAME="))

    def _write(self, path: str, content: str, mode: int = 0o644) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if file.parent.name == ".ssh" else 0o755)
        file.unlink(missing_ok=True)
        file.write_text(content)
        file.chmod(mode)

    def _apt(self, *arguments: str) -> None:
        self._enter("apt-get", "install", "-y", "-q", "--no-install-recommends", *arguments)

    def _enter(self, *command: str, **environment: str) -> None:
        """Run a command in the root directory, with processes and mounts that end with it."""
        prepare = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--", "sh", "-c", prepare]
        self._run([*unshare, str(self.root), *command], **environment)

    def _run(self, command: list[str], **environment: str) -> None:
        settings = {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", **environment}
        path = f"{os.environ['PATH']}:{COMMAND_PATH}"
        self.output.write(f"+ {' '.join(command)}\n".encode())
        self.output.flush()
        done = subprocess.run(
            command,
            env={**os.environ, "PATH": path, **settings},
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
        )
        if done.returncode != 0:
            raise Unbuildable(f"make disk: {' '.join(command)} ended with {done.returncode}; see {self.output.name}")


def _mirror() -> str:
    """Whence this host has its own Debian packages."""
    select = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"]
    found = subprocess.run(select, stdout=subprocess.PIPE, text=True).stdout.split()
    if not found:
        raise Unbuildable("make disk: this host's apt knows no mirror of Debian; add one and run apt-get update")
    return found[0]


def _names(packages: Path) -> list[str]:
    """The names in a list of packages."""
    lines = (line.partition("#")[0] for line in packages.read_text().splitlines())
    return [name for line in lines for name in line.split()]


def _index(archives: Path) -> None:
    """Make a repository for apt of a directory with packages."""
    with open(archives / "Packages", "wb") as index:
        for archive in sorted(archives.glob("*.deb")):
            control = subprocess.run(["dpkg-deb", "--field", archive], stdout=subprocess.PIPE, check=True).stdout
            digest = hashlib.sha256(archive.read_bytes()).hexdigest()
            about = f"Filename: ./{archive.name}\nSize: {archive.stat().st_size}\nSHA256: {digest}\n\n"
            index.write(control + about.encode())
