# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base import errors
from ansible_collections.hull.engine.plugins.module_utils._module import runner


def _caught(error):
    try:
        raise error
    except Exception as caught:
        return caught


def test_an_error_of_the_engine_is_its_message_and_cure():
    error = _caught(errors.Conflict("port 80: in use", hint="publish another"))
    assert runner.failure_result(error, traced=False) == {
        "msg": "port 80: in use; publish another",
        "error": "Conflict",
    }


def test_an_error_of_the_system_names_its_file():
    error = _caught(OSError(errno.ENOSPC, "No space left on device", "/var/lib/hull/tmp/x"))
    assert runner.failure_result(error, traced=False)["msg"] == "/var/lib/hull/tmp/x: No space left on device"


def test_a_surprise_tells_its_place_and_no_values():
    result = runner.failure_result(_caught(ValueError("the password is swordfish")), traced=False)
    assert "swordfish" not in str(result)
    assert result["msg"].startswith("the engine stumbled: ValueError in ") and "test_runner.py:" in result["msg"]


def test_a_traceback_that_was_asked_for_has_no_values_either():
    result = runner.failure_result(_caught(ValueError("the password is swordfish")), traced=True)
    assert result["traceback"] and "swordfish" not in str(result)


def test_a_failed_command_keeps_its_result():
    error = _caught(runner.TaskFailed("no such table", {"changed": True, "status": 2}))
    assert runner.failure_result(error, traced=True) == {"changed": True, "status": 2, "msg": "no such table"}


def test_a_user_without_rights_is_told_the_cure(monkeypatch):
    monkeypatch.setattr(runner.os, "geteuid", lambda: 1000)
    with pytest.raises(errors.Denied, match="become: true"):
        runner.check_host()


def test_an_old_python_is_told_the_cure(monkeypatch):
    monkeypatch.setattr(runner.sys, "version_info", (3, 8, 1))
    with pytest.raises(errors.Unsupported, match="ansible_python_interpreter"):
        runner.check_host()


def test_another_system_is_refused(monkeypatch):
    monkeypatch.setattr(runner.sys, "platform", "freebsd14")
    with pytest.raises(errors.Unsupported, match="need Linux"):
        runner.check_host()
