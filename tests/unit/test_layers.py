# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The import rules of docs/architecture.md: down the layers only, and a few modules in one place only."""

from __future__ import annotations

import ast
import glob
import os
from collections.abc import Iterator
from functools import cache

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
UTILS = f"{ROOT}/plugins/module_utils"
FILES = sorted(os.path.relpath(path, UTILS) for path in glob.glob(f"{UTILS}/_*/*.py"))
RANKS = {
    "_base": 0,
    "_sys": 1,
    "_kernel": 2,
    "_store": 3,
    "_image": 4,
    "_net": 4,
    "_runtime": 5,
    "_engine": 6,
    "_module": 7,
    "_cli": 7,
}
MODULES = sorted(os.path.basename(path) for path in glob.glob(f"{ROOT}/plugins/modules/*.py"))
_ABSOLUTE = "ansible_collections.hull.engine.plugins.module_utils."
SLOW = {
    "typing",
    "dataclasses",
    "json",
    "enum",
    "re",
    "logging",
    "asyncio",
    "argparse",
    "subprocess",
    "typing_extensions",
}


def _tree(path: str) -> ast.Module:
    with open(f"{UTILS}/{path}", encoding="utf-8") as file:
        return ast.parse(file.read(), path)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _imports(node: ast.AST, *, types: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements below a node; with `types` also those that only a type checker reads."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        elif types or not _is_type_checking(child):
            yield from _imports(child, types=types)
        else:
            for other in child.orelse:
                yield from _imports(other, types=types)


def _own(path: str, *, types: bool) -> Iterator[tuple[str, str]]:
    """(layer, module) of every import from this collection; layer `.` is the file's own directory."""
    for node in _imports(_tree(path), types=types):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            for name in [node.module] if node.module else [alias.name for alias in node.names]:
                yield ".", name
        elif isinstance(node, ast.ImportFrom) and node.level == 2:
            layer, _, module = (node.module or "").partition(".")
            for name in [module] if module else [alias.name for alias in node.names]:
                yield layer, name


def _foreign(path: str) -> set[str]:
    """First names of the modules imported from outside the collection, wherever in the file."""
    found = set()
    for node in _imports(_tree(path), types=False):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif not node.level and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("path", FILES)
def test_a_file_imports_from_lower_layers_or_its_own(path: str) -> None:
    layer = path.partition("/")[0]
    assert layer in RANKS
    above = [
        f"{other}/{name}" for other, name in _own(path, types=True) if other != "." and RANKS[other] >= RANKS[layer]
    ]
    assert not above, f"{path} imports from a layer that is not below its own"


@pytest.mark.parametrize("path", FILES)
def test_what_a_file_imports_from_the_collection_exists(path: str) -> None:
    layer = path.partition("/")[0]
    missing = [
        f"{layer if other == '.' else other}/{name}.py"
        for other, name in _own(path, types=True)
        if f"{layer if other == '.' else other}/{name}.py" not in FILES
    ]
    assert not missing


@pytest.mark.parametrize("layer", sorted(RANKS))
def test_a_layer_has_no_cycle(layer: str) -> None:
    edges = {
        path.partition("/")[2][:-3]: {name for other, name in _module_level(path) if other == "."}
        for path in FILES
        if path.startswith(layer + "/")
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"{layer}: {' -> '.join((*trail, name))}"
        if name not in done:
            for other in edges.get(name, ()):
                visit(other, (*trail, name))
            done.add(name)

    for name in edges:
        visit(name, ())


def _module_level(path: str) -> Iterator[tuple[str, str]]:
    """Imports that run when the file is imported: not those in functions, where a cycle does no harm."""
    for node in _tree(path).body:
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            for name in [node.module] if node.module else [alias.name for alias in node.names]:
                yield ".", name


@pytest.mark.parametrize("path", FILES)
def test_ctypes_ansible_and_pyroute2_are_imported_in_their_place_only(path: str) -> None:
    layer, foreign = path.partition("/")[0], _foreign(path)
    assert "ctypes" not in foreign or layer == "_sys"
    assert "ansible" not in foreign and "ansible_collections" not in foreign or layer == "_module"
    assert "pyroute2" not in foreign or path == "_kernel/links.py"


@pytest.mark.parametrize("path", FILES)
def test_slow_modules_are_not_imported_when_a_file_is(path: str) -> None:
    slow = set()
    for node in _tree(path).body:
        if isinstance(node, ast.Import):
            slow |= {alias.name.partition(".")[0] for alias in node.names} & SLOW
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            slow |= {node.module.partition(".")[0]} & SLOW
    assert not slow


@pytest.mark.parametrize("path", FILES)
def test_nothing_is_imported_by_a_computed_name(path: str) -> None:
    names = {node.id for node in ast.walk(_tree(path)) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(_tree(path)) if isinstance(node, ast.Attribute)}
    names |= {alias.name for node in _imports(_tree(path), types=False) for alias in node.names}
    assert not names & {"import_module", "__import__"}, "Ansible ships only what an import statement names"


@cache
def _files_imported(path: str, *, types: bool) -> frozenset[str]:
    """The collection's files that one imports; a module imports absolutely."""
    layer = path.partition("/")[0]
    found = {f"{layer if other == '.' else other}/{name}" for other, name in _own(path, types=types)}
    for node in _imports(_tree(path), types=types):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_ABSOLUTE):
            other, _, name = (node.module or "")[len(_ABSOLUTE) :].partition(".")
            found |= {f"{other}/{name}" for name in ([name] if name else [alias.name for alias in node.names])}
    return frozenset(f"{name}.py" for name in found)


def _shipped(module: str, *, types: bool) -> set[str]:
    """What Ansible packs for a module: it follows every import statement, and with `types` all of them are."""
    shipped: set[str] = set()
    ahead = {f"../modules/{module}"}
    while ahead:
        path = ahead.pop()
        shipped.add(path)
        ahead |= _files_imported(path, types=types) - shipped
    return shipped


def _size_kib(paths: set[str]) -> float:
    return sum(os.path.getsize(f"{UTILS}/{path}") for path in paths) / 1024


@pytest.mark.parametrize("module", MODULES)
def test_a_module_ships_little_for_the_sake_of_type_names(module: str) -> None:
    """Ansible can not tell them: one such import may bring most of the engine along, to every host in every task."""
    for_types = _shipped(module, types=True) - _shipped(module, types=False)
    assert _size_kib(for_types) < 40, sorted(for_types)


@pytest.mark.parametrize(
    ("module", "most_kib"),
    [("volume", 350), ("volume_info", 350), ("registry_info", 450), ("registry_login", 450), ("container_image", 1000)],
)
def test_a_module_that_starts_no_container_ships_no_engine_that_does(module: str, most_kib: int) -> None:
    shipped = _shipped(f"{module}.py", types=True)
    assert "_runtime/launcher.py" not in shipped
    assert _size_kib(shipped) < most_kib, sorted(shipped)


def test_there_is_no_package_file_below_plugins() -> None:
    assert not glob.glob(f"{ROOT}/plugins/**/__init__.py", recursive=True)


@pytest.mark.parametrize("path", FILES)
def test_a_file_says_its_licence_and_what_it_is_for(path: str) -> None:
    with open(f"{UTILS}/{path}", encoding="utf-8") as file:
        assert "SPDX-License-Identifier: GPL-3.0-or-later" in file.readline() + file.readline()
    tree = _tree(path)
    assert ast.get_docstring(tree)
    public = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name[0] != "_"]
    assert not [node.name for node in public if not ast.get_docstring(node)], f"{path}: without a docstring"
