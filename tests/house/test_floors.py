# SPDX-License-Identifier: GPL-2.0-or-later
"""Imports run downwards only, and heavy libraries stay in their rooms."""

from __future__ import annotations

import pytest

from tests.house.floors import FLOORS, ROOT, Import, cycle, floor, imports, objection, room, sources

MODULES = sources()


@pytest.fixture(scope="module")
def found() -> list[Import]:
    known = set(MODULES)
    return [one for name, path in MODULES.items() for one in imports(name, path.read_text("utf-8"), known)]


def test_imports_run_downwards_and_libraries_stay_in_their_rooms(found: list[Import]) -> None:
    objections = [text for text in map(objection, found) if text]
    assert not objections, "\n" + "\n".join(objections)


def test_there_is_no_cycle(found: list[Import]) -> None:
    assert cycle(found) is None


def test_every_room_has_a_floor() -> None:
    rooms = {room(name) for name in MODULES} - {""}
    assert not {name for name in rooms if floor(name) is None}
    assert rooms, "nothing was read"


def test_each_room_stands_on_one_floor() -> None:
    names = [name for rooms in FLOORS for name in rooms]
    assert len(names) == len(set(names))


def test_modules_are_where_packages_are() -> None:
    """A directory without `__init__.py` is left out of the wheel."""
    bare = {path.parent for path in MODULES.values() if not (path.parent / "__init__.py").exists()}
    assert not {str(path.relative_to(ROOT)) for path in bare}


# The rules, held against what they are there to forbid.

KNOWN = {
    "dissect",
    "dissect.stream",
    "dissect.stream.side",
    "dissect.rfb",
    "dissect.rfb.messages",
    "dissect.lab",
}


def objections(importer: str, source: str) -> list[str]:
    return [text for text in map(objection, imports(importer, source, KNOWN)) if text]


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("dissect.stream.session", "from dissect.rfb import messages"),
        ("dissect.stream.session", "import dissect.rfb.messages"),
        ("dissect.stream.session", "def late():\n    from dissect.rfb import messages"),
        ("dissect.stream.session", "import importlib\nimportlib.import_module('dissect.rfb')"),
        ("dissect.stream.session", "if TYPE_CHECKING:\n    from dissect.rfb import messages"),
        ("dissect.rfb.session", "from dissect.spice.link import SpiceLinkMess"),
        ("dissect.timing.plots", "from dissect.lab import peers"),
        ("dissect.lab.models", "from dissect import rfb"),  # no module of that name is known: the package
        ("dissect", "from dissect.stream import Side"),
        ("dissect.attic.junk", "from dissect.stream import Side"),
        ("dissect.rfb.session", "from .messages import ProtocolVersion"),
        ("dissect.rfb.session", "__import__(name)"),
        ("dissect.capture.files", "import scapy.all"),
        ("dissect.rfb.messages", "from scapy.packet import Packet"),
        ("dissect.app.commands.show", "try:\n    import matplotlib\nexcept ImportError:\n    pass"),
        ("dissect.capture.files", "import requests"),
        ("dissect.streaming.x", "import os\nimport dpkt"),
    ],
)  # fmt: skip
def test_an_import_that_climbs_is_objected_to(importer: str, source: str) -> None:
    known = KNOWN - {"dissect.rfb"} if source == "from dissect import rfb" else KNOWN
    assert [text for text in map(objection, imports(importer, source, known)) if text]


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("dissect.rfb.session", "from dissect.stream import Side"),
        ("dissect.rfb.session", "from dissect.rfb.messages import ProtocolVersion"),
        ("dissect.app.commands.show", "def run():\n    from dissect.stream.side import Side"),
        ("dissect.stream.packets", "from scapy.packet import Packet"),
        ("dissect", "if TYPE_CHECKING:\n    from scapy.config import ScapyExt"),
        ("dissect.app.main", "import_module(f'dissect.app.commands.{name}')"),
        ("dissect.stream.reader", "import os, struct"),
    ],
)
def test_an_import_that_goes_down_is_not(importer: str, source: str) -> None:
    assert objections(importer, source) == []


def test_a_cycle_is_found() -> None:
    a, b = Import("dissect.a", "dissect.b", 1), Import("dissect.b", "dissect.a", 1)
    assert cycle([a]) is None
    assert cycle([a, b])
    assert cycle([a, Import("dissect.b", "dissect.a", 1, typing=True)]) is None
