# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged, Denied, NotFound, Timeout
from ansible_collections.hull.engine.plugins.module_utils._image.credential_helpers import ask, erase, store
from ansible_collections.hull.engine.plugins.module_utils._image.settings import Credentials


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a helper named `test` in PATH; what is written to it is what it does."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    path = tmp_path / "docker-credential-test"
    path.touch(0o755)
    return path


def test_what_is_stored_is_told_and_forgotten(helper: Path) -> None:
    kept = helper.parent / "kept"
    helper.write_text(f"""#!/bin/sh
case "$1" in
store) cat > {kept} ;;
get) [ -e {kept} ] && cat {kept} || {{ echo 'credentials not found in native keychain'; exit 1; }} ;;
erase) rm {kept} ;;
esac
""")
    assert ask("test", "r.example", os.environ) is None
    store("test", "r.example", Credentials("u", 'p"\\'), os.environ)
    assert '"ServerURL":"r.example"' in kept.read_text()
    assert ask("test", "r.example", os.environ) == Credentials("u", 'p"\\')
    store("test", "r.example", Credentials(identity_token="it"), os.environ)
    assert ask("test", "r.example", os.environ) == Credentials(identity_token="it")
    erase("test", "r.example", os.environ)
    assert not kept.exists()


@pytest.mark.parametrize(
    ("script", "kind", "message"),
    [
        ("echo locked; exit 3", Denied, "docker-credential-test get for r.example: it ended with status 3: locked"),
        ("echo '{'", Damaged, "what docker-credential-test says about r.example"),
        ("echo '{\"Username\": 5}'", Damaged, "no Username and Secret"),
        ("kill -9 $$", Denied, "status -9"),
    ],
)
def test_a_helper_that_fails_is_named(helper: Path, script: str, kind: type[Exception], message: str) -> None:
    helper.write_text(f"#!/bin/sh\n{script}\n")
    with pytest.raises(kind, match=message):
        ask("test", "r.example", os.environ)


@pytest.mark.parametrize("script", ["exec sleep 60", "exec cat /dev/zero", "exec >&-; exec sleep 60"])
def test_a_helper_that_does_not_end_is_ended(helper: Path, script: str) -> None:
    helper.write_text(f"#!/bin/sh\n{script}\n")
    started = time.monotonic()
    with pytest.raises(Timeout, match="run docker-credential-test get: no end"):
        ask("test", "r.example", os.environ, timeout_s=0.3)
    assert time.monotonic() - started < 30  # not a minute, or for ever


def test_a_helper_that_is_missing_or_no_name_is_told() -> None:
    with pytest.raises(NotFound, match="run docker-credential-none-such: No such file"):
        ask("none-such", "r.example", os.environ)
    with pytest.raises(Damaged, match="not the name of one"):
        ask("../evil", "r.example", os.environ)
