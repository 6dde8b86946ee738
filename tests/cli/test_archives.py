# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`load save import` as they are typed: files, pipes, terminals, several images; and what they say when it fails."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest

from tests.cli.conftest import Hull
from tests.support.images import busybox_image, digest_of, make_image, tar_of, write_layout


@pytest.fixture
def images(hull: Hull, tmp_path: Path) -> tuple[str, str]:
    """The ids of `example.com/app`, which has the tags 1 and 2, and of `other/thing:latest`."""
    first, second = busybox_image(), make_image([{"f": b"x"}])
    for image, name in ((first, "example.com/app:1"), (second, "example.com/other/thing:latest")):
        layout = str(tmp_path / name.rpartition("/")[2])
        write_layout(image, layout, name)
        assert hull("load", "-q", "-i", layout).startswith("Loaded image: ")
    hull("tag", "example.com/app:1", "example.com/app:2")
    return first.id, second.id


def names_in(path: Path | str) -> list[list[str]]:
    with tarfile.open(path) as tar:
        return [entry["RepoTags"] for entry in json.load(tar.extractfile("manifest.json"))]  # type: ignore[arg-type]


def test_an_archive_goes_through_pipes_into_another_engine(hull: Hull, images: tuple[str, str], tmp_path: Path) -> None:
    there = {f"HULL_{name}": str(tmp_path / f"there/{name}") for name in ("ROOT", "RUN", "CONFIG")}
    other = " ".join(f"{key}={value}" for key, value in there.items())
    thing = "example.com/other/thing:latest"
    for filters in ("", "| gzip ", "| zstd -q ", "| xz -0 "):
        told = hull.shell(f"hull save example.com/app {thing} {filters}| env {other} hull load")
        assert told.splitlines() == [
            "Loaded image: example.com/app:1",
            "Loaded image: example.com/app:2",
            f"Loaded image: {thing}",
        ]
        told = hull.shell(f"hull save {images[1]} {filters}| env {other} hull load")
        assert told == f"Loaded image ID: {images[1]}\n"
        assert hull.shell(f"env {other} hull rmi -f {images[0]} {images[1]} > {tmp_path}/removed") == ""


def test_names_in_an_archive_are_those_that_were_asked_for(hull: Hull, images: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "saved.tar"
    one, two = "example.com/app:1", "example.com/app:2"
    for words, expected in (
        (["example.com/app:2"], [[two]]),
        (["example.com/app"], [[one, two]]),  # all tags of a name without one, as for `docker save`
        ([images[0]], [[]]),
        ([images[0][7:19], "example.com/app:1"], [[one]]),
        (["example.com/other/thing", "example.com/app:1"], [["example.com/other/thing:latest"], [one]]),
    ):
        hull("save", "-o", str(path), *words)
        assert names_in(path) == expected
    hull("image", "save", "--output", str(path), "example.com/app:1")
    assert names_in(path) == [[one]]


def test_archives_are_equal_whenever_they_are_made(hull: Hull, images: tuple[str, str], tmp_path: Path) -> None:
    for form in ("docker-archive", "oci-archive"):
        script = f"hull save --format {form} example.com/app:1 | sha256sum"
        hull("save", "--format", form, "-o", str(tmp_path / form), "example.com/app:1")
        assert hull.shell(script) == hull.shell(script)
        assert digest_of((tmp_path / form).read_bytes())[7:] == hull.shell(script).split()[0]
    assert hull("load", "-i", str(tmp_path / "oci-archive")) == "Loaded image: example.com/app:1\n"


def test_nothing_is_written_to_a_terminal_or_read_from_one(hull: Hull, images: tuple[str, str]) -> None:
    for words, message in (
        (("save", "example.com/app:1"), "standard output is a terminal; name a file with --output, or redirect"),
        (("load",), "standard input is a terminal, not an archive; give a file, or a pipe"),
        (("import", "-"), "standard input is a terminal, not a tarball"),
    ):
        with hull.terminal(*words) as terminal:
            terminal.wait_for(message[:60])
            assert terminal.exit_code() == 1


def test_what_can_not_be_saved_is_told_and_leaves_no_file(hull: Hull, images: tuple[str, str], tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    assert "image nothing: no such image here" in hull.fails(
        1, "save", "-o", str(place / "a"), "example.com/app:1", "nothing"
    )
    assert "--format: 'zip' is not known; use docker-archive" in hull.fails(
        1, "save", "--format", "zip", "-o", str(place / "a"), "example.com/app:1"
    )
    assert "make the directory first" in hull.fails(1, "save", "-o", str(place / "no/a"), "example.com/app:1")
    assert "needs at least 1 argument" in hull.fails(1, "save", "-o", str(place / "a"))
    assert "name one with --output" in hull.fails(1, "save", "--format", "oci-dir", "example.com/app:1")
    assert os.listdir(place) == []


def test_a_reader_that_goes_away_is_no_error_of_ours(hull: Hull, images: tuple[str, str]) -> None:
    told = hull.shell("set +o pipefail; hull save example.com/app:1 2>&1 | head -c 100 | wc -c")
    assert told.strip() == "100"


def test_an_import_by_the_words_of_docker(hull: Hull, tmp_path: Path) -> None:
    path = tmp_path / "rootfs.tar"
    path.write_bytes(tar_of({"etc/motd": b"hello"}))
    words = ["-c", "CMD /bin/sh", "--change", "ENV A=1 B=$A", "-m", "from a tar", "--platform", "linux/arm64"]
    first = hull("import", *words, str(path), "example.com/made:1").strip()
    second = hull("import", *words, "-", "example.com/made:2", stdin=path.read_bytes()).strip()
    assert first == second
    facts = json.loads(hull("image", "inspect", "example.com/made:1"))[0]
    assert facts["Id"] == first and sorted(facts["RepoTags"]) == ["example.com/made:1", "example.com/made:2"]
    assert facts["Config"]["Cmd"] == ["/bin/sh", "-c", "/bin/sh"] and facts["Config"]["Env"] == ["A=1", "B="]
    assert (facts["Architecture"], facts["Comment"]) == ("arm64", "from a tar")
    digest = digest_of(path.read_bytes())
    assert hull("import", *words, "--checksum", digest, str(path)).strip() == first
    assert "its checksum is" in hull.fails(1, "import", "--checksum", "sha256:" + "0" * 64, str(path))
    assert "--checksum: 'md5:1' is not a digest" in hull.fails(1, "import", "--checksum", "md5:1", str(path))
    assert "--platform: 'none' is not a known" in hull.fails(1, "import", "--platform", "none", str(path))
    assert "--change: 'RUN x' is not allowed" in hull.fails(1, "import", "-c", "RUN x", str(path))
    assert "pack it first: tar -C" in hull.fails(1, "import", str(tmp_path))
