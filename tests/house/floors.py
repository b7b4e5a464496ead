# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may import whom, as data, and the reading of imports that it is held against."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

FLOORS = [
    {"stream"},
    {"rfb", "spice", "capture"},
    {"dissection"},
    {"replay", "timing"},
    {"report"},
    {"lab", "firstbyte"},
    {"check"},
    {"app"},
]
"""From the ground up; a room imports from the floors below its own, not from its neighbours."""

LIBRARIES = {
    "scapy": (
        "dissect.stream.layout",  # its types only
        "dissect.stream.packets",  # the messages' classes, made when somebody wants a packet
        "dissect.stream.records",  # Record.packet, made when somebody looks
        "dissect.app.bpf",  # finds libpcap, which compiles capture filters
        "dissect.replay.packets.segments",  # TCP segments of our own
    ),
    "dpkt": ("dissect.capture",),
    "lz4": ("dissect.capture.packed",),
    "zstandard": ("dissect.capture.packed",),
    "matplotlib": ("dissect.timing",),
    "scipy": ("dissect.timing.estimators",),
    "pyarrow": ("dissect.timing.results", "dissect.firstbyte.tables", "dissect.app.scanning"),
    "pandas": ("dissect.firstbyte.tables",),
    "polars": ("dissect.firstbyte.tables",),
    "llvmlite": ("dissect.capture.machine",),
    "numba": ("dissect.capture.machine",),
    "numpy": (
        "dissect.timing",
        "dissect.rfb.pixels",
        "dissect.spice.pixels",
        "dissect.capture.bulk",
        "dissect.capture.pcap",
        "dissect.capture.pcapng",
        "dissect.capture.records",
        "dissect.capture.kernels",
        "dissect.capture.machine",
        "dissect.capture.picking",
        "dissect.capture.swift",
    ),
    "distributed": ("dissect.app.scanning",),
    "fsspec": ("dissect.app.scanning",),
    "shtab": ("dissect.app.commands.completion",),
    "PIL": (
        "dissect.rfb.pixels",
        "dissect.spice.pixels",
        "dissect.stream.pictures",
    ),  # JPEG and PNG rectangles, and the pictures that are written
    "cryptography": ("dissect.replay", "dissect.lab"),
    "tomli_w": ("dissect.lab.collection",),
    "pytest": ("dissect.check.pytest_plugin",),
}
"""What is not of the standard library, and the rooms or modules that may import it."""

BY_NAME = ("dissect.app.main",)
"""Modules that import others by a name made at run time, where nothing can be checked."""


@dataclass(frozen=True)
class Import:
    """One imported module, as far as the source says; `typing` where only type checkers see it."""

    importer: str
    module: str
    line: int
    typing: bool = False

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.module}"


def sources(package: Path = ROOT / "dissect") -> dict[str, Path]:
    """Every module of `package` by its dotted name; a package by its own, without `.__init__`."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(importer: str, source: str, modules: set[str]) -> Iterator[Import]:
    """All imports of a module, those inside functions too. `modules`: the dotted names that exist."""
    yield from _imports(importer, ast.parse(source), modules, typing=False)


def _imports(importer: str, node: ast.AST, modules: set[str], *, typing: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        below = typing or (isinstance(node, ast.If) and child in node.body and _type_checking(node.test))
        if isinstance(child, ast.Import):
            for name in child.names:
                yield Import(importer, name.name, child.lineno, below)
        elif isinstance(child, ast.ImportFrom):
            for name in child.names:
                whole = f"{child.module}.{name.name}"
                module = whole if whole in modules else child.module or ""
                yield Import(importer, "." * child.level + module, child.lineno, below)
        elif isinstance(child, ast.Call) and _name(child.func) in ("import_module", "__import__"):
            known = child.args and isinstance(child.args[0], ast.Constant)
            yield Import(importer, str(child.args[0].value) if known else "?", child.lineno, below)  # type: ignore[attr-defined]
        yield from _imports(importer, child, modules, typing=below)


def _type_checking(test: ast.expr) -> bool:
    return _name(test) == "TYPE_CHECKING"


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def room(module: str) -> str:
    """The room of a module of ours: "rfb" for "dissect.rfb.messages", "" for "dissect" itself."""
    return module.partition(".")[2].partition(".")[0]


def floor(name: str) -> int | None:
    """The number of a room's floor from 0, or None where the plan does not know the room."""
    return next((number for number, rooms in enumerate(FLOORS) if name in rooms), None)


def objection(found: Import) -> str | None:
    """Why an import is not allowed, or None."""
    top = found.module.partition(".")[0]
    if found.module.startswith("."):
        return f"{found}: relative"
    if found.module == "?":
        return None if found.importer in BY_NAME else f"{found}: nobody can tell what"
    if top == "dissect":
        return _climbs(found)
    if top in sys.stdlib_module_names or found.typing:
        return None
    if top not in LIBRARIES:
        return f"{found}: a library without a room"
    if not any(found.importer == place or found.importer.startswith(f"{place}.") for place in LIBRARIES[top]):
        return f"{found}: belongs to {', '.join(LIBRARIES[top])}"
    return None


def _climbs(found: Import) -> str | None:
    here, there = room(found.importer), room(found.module)
    if not here:
        return f"{found}: the package itself imports nothing"
    if not there:
        return f"{found}: nothing may depend on dissect/__init__.py"
    if here == there:
        return None
    below, above = floor(there), floor(here)
    if below is None or above is None:
        return f"{found}: a room without a floor"
    return None if below < above else f"{found}: from floor {above} to floor {below}"


def cycle(found: list[Import]) -> list[str] | None:
    """The modules of one import cycle in their order, or None. Imports for type checkers do not count."""
    graph: dict[str, set[str]] = {}
    for one in found:
        if not one.typing and one.module.startswith("dissect"):
            graph.setdefault(one.importer, set()).add(one.module)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return None
