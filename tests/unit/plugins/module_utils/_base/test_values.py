# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base import clock, digests, names, spec
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths, find_paths
from ansible_collections.hull.engine.plugins.module_utils._base.values import Value, replace


class Point(Value):
    x: int
    y: int = 2


class Named(Point):
    name: str = ""


def test_fields_by_position_and_keyword_with_defaults():
    assert (Point(1).y, Point(1, y=3).y, Named(1, name="a").name) == (2, 3, "a")
    assert Point(1) == Point(1, 2) != Point(1, 3)
    assert hash(Point(1)) == hash(Point(1, 2))
    assert replace(Named(1, 2, "a"), y=5) == Named(1, 5, "a")


def test_values_of_different_types_differ():
    assert Point(1) != Named(1)


def test_a_value_is_frozen():
    with pytest.raises(AttributeError, match="frozen"):
        Point(1).x = 2


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"x": 1}), ((1,), {"z": 1})])
def test_wrong_fields_are_refused(args, kwargs):
    with pytest.raises(TypeError):
        Point(*args, **kwargs)


def test_a_spec_survives_its_record():
    whole = spec.ContainerSpec(
        name="a",
        image="b",
        command=("x",),
        mounts=(spec.MountSpec("bind", "/x", options=("a",)),),
        ports=(spec.PortSpec(80),),
        health=spec.HealthSpec(("CMD", "a")),
        ulimits={"nofile": (1, 2)},
        limits=spec.Limits(memory_bytes=5),
    )
    assert spec.spec_from_record(spec.to_record(whole)) == whole


def test_fields_of_a_newer_version_are_ignored():
    record = {**spec.to_record(spec.ContainerSpec(name="a", image="b")), "future": 1}
    record["limits"]["future"] = 1
    assert spec.spec_from_record(record) == spec.ContainerSpec(name="a", image="b")


def test_a_moved_root_moves_the_run_directory_and_the_kernel_names(monkeypatch):
    for name in ("HULL_ROOT", "HULL_RUN", "HULL_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    assert find_paths() == Paths()
    moved = find_paths("/srv/hull/")
    assert moved.root == "/srv/hull"
    assert moved.run == f"/run/hull-{moved.instance}"
    assert moved.cgroup == f"hull-{moved.instance}"
    assert Paths().cgroup == "hull"


def test_directories_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("HULL_ROOT", "/a")
    monkeypatch.setenv("HULL_RUN", "/b")
    assert (find_paths().root, find_paths().run, find_paths("/c").root) == ("/a", "/b", "/c")
    monkeypatch.setenv("HULL_ROOT", "relative")
    with pytest.raises(Invalid, match="HULL_ROOT"):
        find_paths()


@pytest.mark.parametrize("text", ["sha256:../../x", "sha256:" + "A" * 64, "md5:" + "0" * 32, "sha256:" + "0" * 63, ""])
def test_a_digest_that_could_be_a_path_is_refused(text):
    assert not digests.is_digest(text)
    with pytest.raises(Invalid):
        digests.check_digest(text)


def test_new_names_are_valid():
    for _ in range(50):
        assert names.check_name(names.new_name())
    assert names.is_id_prefix(names.new_id())


def test_times():
    assert clock.format_time(0) == "0001-01-01T00:00:00Z"
    assert clock.format_time(1_500_000_000_000_000_001) == "2017-07-14T02:40:00.000000001Z"
    for text in ("2017-07-14T02:40:00.000000001Z", "2017-07-14T03:40:00.000000001+01:00"):
        assert clock.parse_time(text, option="since") == 1_500_000_000_000_000_001
    assert clock.parse_time("2017-07-14", option="since") == 1_499_990_400 * 10**9
    with pytest.raises(Invalid, match="since"):
        clock.parse_time("yesterday", option="since")
