# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import os
import re
import time

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base import errors
from ansible_collections.hull.engine.plugins.module_utils._kernel import cgroup_files
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroup_files import Setting


def test_a_refused_setting_restores_those_before_it(tmp_path):
    (tmp_path / "memory.max").write_text("max\n")
    settings = [
        Setting("memory", f"{tmp_path}/memory.max", "1000"),
        Setting("pids_limit", f"{tmp_path}/pids.peak", "50"),
    ]
    with pytest.raises(errors.Unsupported, match="pids_limit: this kernel has no"):
        cgroup_files.apply(settings, undo=True)
    assert (tmp_path / "memory.max").read_text() == "max"


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        (errno.EINVAL, errors.Invalid, "pids_limit: the kernel refuses '50'"),
        (errno.ERANGE, errors.Invalid, "pids_limit: the kernel refuses '50'"),
        (errno.EBUSY, errors.Conflict, "pids_limit: .*in use"),
        (errno.ENOENT, errors.Unsupported, "pids_limit: this kernel has no /c/pids.max"),
        (errno.EROFS, errors.Denied, "pids_limit: .*; run as root"),
        (errno.EIO, errors.SyscallError, "pids_limit: .*EIO"),
    ],
)
def test_a_refused_write_names_the_option_and_what_it_means(number, kind, text):
    error = cgroup_files.setting_error(Setting("pids_limit", "/c/pids.max", "50"), OSError(number, os.strerror(number)))
    assert type(error) is kind
    assert re.search(text, str(error))


def test_a_shorter_value_replaces_the_longer_one(tmp_path):
    (tmp_path / "cpu.max").write_text("1000000 1000000\n")
    cgroup_files.write_text(f"{tmp_path}/cpu.max", "max")
    assert (tmp_path / "cpu.max").read_text() == "max"


def test_an_empty_value_is_written_as_a_line(tmp_path):
    (tmp_path / "cpuset.cpus").write_text("0-1\n")
    cgroup_files.write_text(f"{tmp_path}/cpuset.cpus", "")
    assert (tmp_path / "cpuset.cpus").read_text() == "\n"


@pytest.mark.parametrize(("text", "number"), [("12\n", 12), ("max\n", -1), ("", 7), (None, 7)])
def test_numbers(tmp_path, text, number):
    if text is not None:
        (tmp_path / "file").write_text(text)
    assert cgroup_files.read_int(f"{tmp_path}/file", 7) == number


def test_tables_skip_what_is_no_number(tmp_path):
    (tmp_path / "file").write_text("low 0\noom_kill 3\nsome avg10=0.00\n")
    assert cgroup_files.read_table(f"{tmp_path}/file") == {"low": 0, "oom_kill": 3}
    assert cgroup_files.read_table(f"{tmp_path}/none") == {}


def test_processes_are_collected_from_the_whole_tree(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "cgroup.procs").write_text("")
    (tmp_path / "a/cgroup.procs").write_text("10\n0\n")
    (tmp_path / "a/b/cgroup.procs").write_text("11\n12\n")
    assert sorted(cgroup_files.pids_in(str(tmp_path))) == [10, 11, 12]
    assert cgroup_files.pids_in(f"{tmp_path}/gone") == []


def test_a_tree_is_removed_from_the_leaves_and_again_without_error(tmp_path):
    (tmp_path / "c/a/b").mkdir(parents=True)
    (tmp_path / "c/d").mkdir()
    for _ in range(2):
        cgroup_files.remove_tree(f"{tmp_path}/c", time.monotonic())
        assert not (tmp_path / "c").exists()


def test_a_tree_in_use_is_a_timeout(tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c/file").write_text("")
    with pytest.raises(errors.Timeout, match="still in use"):
        cgroup_files.remove_tree(f"{tmp_path}/c", time.monotonic() + 0.01)
