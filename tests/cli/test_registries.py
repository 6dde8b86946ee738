# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`login logout search tags`."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.faulty_registry import FaultyRegistry
from tests.support.images import DOCKER, make_image

IMAGE = make_image([{"a": b"1"}], types=DOCKER)


@pytest.fixture
def closed() -> Iterator[FaultyRegistry]:
    """A registry that lets only `ci` in."""
    server = FaultyRegistry(need_basic=True, users={"ci": "s3cret"})
    server.add("app", "1", IMAGE)
    with server:
        yield server


def _kept(hull) -> str:
    return f"{hull.paths.config}/auth.json"


def test_who_logs_in_can_pull_until_he_logs_out(hull, closed):
    assert "registry denies access" in hull.fails(1, "pull", f"{closed.host}/app:1")
    done = hull.run("login", "-u", "ci", "--password-stdin", closed.host, stdin=b"s3cret\n")
    assert (done.returncode, done.stdout) == (0, b"Login Succeeded\n")
    assert f"credentials for {closed.host} are kept in {_kept(hull)}" in done.stderr.decode()
    assert stat.S_IMODE(os.stat(_kept(hull)).st_mode) == 0o600
    hull("pull", "-q", f"{closed.host}/app:1")
    assert hull("logout", closed.host) == f"Removed login credentials for {closed.host}\n"
    assert hull("logout", closed.host) == f"Not logged in to {closed.host}\n"
    assert json.loads(Path(_kept(hull)).read_text()) == {"auths": {}}


def test_a_helper_that_the_file_names_keeps_the_password(hull, closed, tmp_path):
    helper, file = tmp_path / "docker-credential-vault", tmp_path / "config.json"
    helper.write_text(
        f"#!/bin/sh\n[ $1 = store ] && cat > {tmp_path}/stored || echo 'credentials not found'; [ $1 = store ]\n"
    )
    helper.chmod(0o755)
    file.write_text(json.dumps({"credHelpers": {closed.host: "vault"}}))
    words = ["login", "-u", "ci", "--password-stdin", "--authfile", str(file), closed.host]
    done = hull.run(*words, stdin=b"s3cret", env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert done.stderr.decode() == f"credentials for {closed.host} are kept by docker-credential-vault\n"
    assert json.loads((tmp_path / "stored").read_text())["Secret"] == "s3cret"
    assert "s3cret" not in file.read_text()


def test_a_wrong_password_is_not_kept(hull, closed):
    message = hull.fails(1, "login", "-u", "ci", "--password-stdin", closed.host, stdin=b"hunter2")
    assert f"registry {closed.host}: the registry denies access to user ci" in message
    assert message.endswith("; check the user name and password\n")  # and not: log in
    assert "hunter2" not in message
    assert not os.path.exists(_kept(hull))


def test_at_a_terminal_name_and_password_are_asked_for(hull, closed):
    with hull.terminal("login", closed.host) as terminal:
        terminal.wait_for("Username: ")
        terminal.type("ci\n")
        terminal.wait_for("Password: ")
        terminal.type("s3cret\n")
        shown = terminal.wait_for("Login Succeeded")
        assert terminal.exit_code() == 0
    assert b"s3cret" not in shown


def test_a_password_in_the_words_is_warned_about(hull, closed):
    done = hull.run("login", "--username=ci", "-ps3cret", closed.host)
    assert done.returncode == 0
    assert "a password on the command line can be seen" in done.stderr.decode()


def test_another_file_may_keep_it(hull, closed, tmp_path):
    file = tmp_path / "docker" / "config.json"
    hull("login", "-u", "ci", "--password-stdin", "--authfile", str(file), closed.host, stdin=b"s3cret")
    assert json.loads(file.read_text())["auths"] == {closed.host: {"auth": "Y2k6czNjcmV0"}}
    assert not os.path.exists(_kept(hull))
    env = {"DOCKER_CONFIG": str(file.parent)}
    assert hull("pull", "-q", f"{closed.host}/app:1", env=env).strip() == f"{closed.host}/app:1"
    assert hull("logout", "--all", "--authfile", str(file)) == f"Removed login credentials for {closed.host}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["login"], "there is nobody to ask for a user name; use --username and --password-stdin"),
        (["login", "-u", "x"], "there is nobody to ask for a password; use --password-stdin"),
        (["login", "--password-stdin"], "--password-stdin needs --username"),
        (["login", "-u", "x", "-p", "y", "--password-stdin"], "--password and --password-stdin exclude each other"),
        (["login", "-u", "x", "-p", "y", "no/registry"], "'no/registry' is not a registry; write host"),
        (["logout", "https:///v2/"], "'https:///v2/' is not a registry; write host"),
        (["logout", "--all", "x"], "--all goes without a registry"),
        (["tags", "app:1"], "a tag or digest does not go with tags"),
        (["search", "--limit", "0", "x"], "--limit: '0' is not a number between 1 and 100"),
    ],
)
def test_what_can_not_be_meant_is_refused(hull, words, message):
    assert message in hull.fails(1, *words)


def test_tags_and_repositories_are_listed(hull, registry):
    assert hull("tags", "centos") == "latest\n"
    assert "check the name" in hull.fails(1, "tags", "nowhere")
    lines = hull("search", "bus").splitlines()
    assert lines[0].split() == ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]
    assert [line.split()[0] for line in lines[1:]] == ["busybox", "library/busybox"]
    names = hull("search", "--format", "{{.Name}}", f"{registry.host}/library/")
    assert {"library/busybox", "library/centos", "library/ubuntu"} <= set(names.split())
    assert {"busybox", *names.split()} <= set(
        hull("search", "--limit", "100", "--format", "{{.Name}}", registry.host).split()
    )


def test_a_search_shows_what_the_registry_says(hull):
    server = FaultyRegistry()
    results = [{"name": "a/web", "description": "\x1b[31mred " + "x" * 60, "star_count": 7, "is_official": True}]
    server.add_page("/v1/search?q=web&n=25", {"results": results})
    with server:
        shown = hull("search", f"{server.host}/web")
        assert f"{server.host}/a/web" in shown and "[OK]" in shown and "…" in shown
        found = json.loads(hull("search", "--no-trunc", "--format", "json", f"{server.host}/web"))
        assert found["Description"].endswith("x" * 60)


def test_a_short_name_and_a_mirror_of_the_settings_are_used(hull):
    mirror = FaultyRegistry()
    mirror.add("hub/team/app", "1", IMAGE)
    mirror.fault("GET", "/manifests/", _warning)
    settings = {
        "short_names": {"app": "closed.test/team/app"},
        "registries": {"closed.test": {"mirrors": [{"location": f"{mirror.host}/hub"}]}},
    }
    Path(hull.paths.config, "registries.json").write_text(json.dumps(settings))
    with mirror:
        shown = hull("pull", "app:1")
    assert shown.splitlines()[-1] == "closed.test/team/app:1"
    assert "WARNING: soon gone" in shown


def _warning(answer) -> None:
    answer.headers["Warning"] = '299 - "soon gone"'
