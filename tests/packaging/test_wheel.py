# SPDX-License-Identifier: GPL-2.0-or-later
"""The built wheel, in environments of its own: what it holds, beside whom it lives, what Scapy finds.

These fetch packages with pip, as an installation does.
"""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
NEIGHBOUR = "dissect.cstruct"  # of the family of distributions that share the name `dissect`
UNCOMPILED = ("--no-compile",)  # nobody imports the most of it: that would be half the time

pytestmark = pytest.mark.index


class Environment:
    """A virtual environment made for one test; pip works on it from outside.

    It sees `borrowed`, a directory of installed packages, behind its own.
    """

    def __init__(self, directory: Path, borrowed: Path | None = None) -> None:
        self.directory = directory
        run(sys.executable, "-m", "venv", "--without-pip", directory)
        if borrowed:
            (self.packages / "borrowed.pth").write_text(f"{borrowed}\n")

    def pip(self, command: str, *words: str | Path) -> None:
        pip = (sys.executable, "-m", "pip", "--quiet", "--python", self.directory / "bin/python", command)
        run(*pip, *(UNCOMPILED if command == "install" else ()), *words)

    @property
    def packages(self) -> Path:
        (found,) = self.directory.glob("lib/python3*/site-packages")
        return found

    def python(self, code: str, **variables: str) -> str:
        return run(self.directory / "bin/python", "-c", code, **variables)


def run(*command: str | Path, **variables: str) -> str:
    """Run outside the sources, where only what is installed can be imported; return its stdout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    answer = subprocess.run(
        command, cwd="/", env={**environment, **variables}, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a build reads: building in place leaves its traces, and packs those of others."""
    copy = tmp_path_factory.mktemp("sources") / "firstbyte"
    shutil.copytree(ROOT / "dissect", copy / "dissect", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("tests", "notebooks"):  # must not be packed although they are there
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope="session")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--wheel-dir", target, sources)
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with nothing but the wheel and what it asks for."""
    place = Environment(tmp_path_factory.mktemp("installed") / "venv")
    place.pip("install", wheel)
    return place


@pytest.fixture(scope="session")
def dependencies(installed: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the wheel asks for, in a directory: for the environments that are about something else."""
    target = tmp_path_factory.mktemp("dependencies")
    for path in installed.packages.iterdir():
        if path.name != "dissect" and not path.name.startswith("firstbyte"):
            (target / path.name).symlink_to(path)
    assert (target / "scapy").is_dir()
    return target


@pytest.fixture
def place(dependencies: Path, tmp_path: Path) -> Environment:
    return Environment(tmp_path / "venv", dependencies)


def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return table


def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def read(wheel: Path, ending: str) -> str:
    (name,) = (name for name in names(wheel) if name.endswith(ending))
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name).decode()


def metadata(wheel: Path) -> Message:
    return email.message_from_string(read(wheel, ".dist-info/METADATA"))


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path, sources: Path) -> None:
    packed = {name for name in names(wheel) if ".dist-info/" not in name}
    source = {str(path.relative_to(sources)) for path in (sources / "dissect").rglob("*") if path.is_file()}
    assert not source - packed, (
        "left out: a directory without __init__.py, or a kind of file that pyproject.toml does not name"
    )
    assert not packed - source
    kinds = {"conf", "css", "js", "json", "pcapng", "py", "toml", "txt", "typed"}
    assert {name.rpartition(".")[2] for name in packed} <= kinds


def test_its_metadata_is_what_scapy_asks_for(wheel: Path) -> None:
    found = metadata(wheel)
    assert found["Name"] == "firstbyte"
    assert found["Version"] == project()["version"]
    assert found["License-Expression"] == "GPL-2.0-or-later"
    assert found["License-File"] == "LICENSE"
    assert found["Requires-Python"] == ">=3.11"
    assert read(wheel, "/top_level.txt").split() == ["dissect"]
    assert "GNU GENERAL PUBLIC LICENSE" in read(wheel, "/LICENSE")


def test_its_base_is_small(wheel: Path) -> None:
    base = [line for line in metadata(wheel).get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(re.split("[<>=!]", line)[0] for line in base) == ["dpkt", "matplotlib", "numpy", "scapy"]


BOTH = """
import dissect, dissect.cstruct, dissect.app.main, dissect.rfb, dissect.spice
assert dissect.__file__, "the name belongs to nobody"
assert dissect.cstruct.cstruct().load("struct pair { uint8 a; uint8 b; };").pair(b"\\1\\2").b == 2
"""


@pytest.mark.parametrize("order", [("ours", "theirs"), ("theirs", "ours")], ids="-then-".join)
def test_it_lives_beside_its_namesakes(order: tuple[str, ...], wheel: Path, place: Environment) -> None:
    for which in order:
        place.pip("install", "--no-deps", wheel if which == "ours" else NEIGHBOUR)
    place.python(BOTH)
    # The one that came first may leave first, and the other stays whole.
    if order[0] == "ours":
        place.pip("uninstall", "--yes", "firstbyte")
        place.python("import dissect.cstruct, dissect; assert dissect.__file__ is None")
    else:
        place.pip("uninstall", "--yes", NEIGHBOUR)
        place.python("import dissect.app.main, dissect.rfb, dissect.spice")


def test_so_does_an_editable_installation(sources: Path, place: Environment, tmp_path: Path) -> None:
    copy = shutil.copytree(sources, tmp_path / "checkout")
    place.pip("install", "--no-deps", NEIGHBOUR)
    place.pip("install", "--no-deps", "--editable", copy)
    place.python(BOTH)
    place.python(f"import dissect; assert dissect.__file__.startswith({str(copy)!r})")


def test_so_it_does_where_the_namesake_lies_elsewhere(
    wheel: Path, place: Environment, tmp_path: Path
) -> None:
    place.pip("install", "--no-deps", wheel)
    other = tmp_path / "other"
    run(sys.executable, "-m", "pip", "--quiet", "install", "--no-deps", "--target", other, NEIGHBOUR)
    place.python(BOTH, PYTHONPATH=str(other))


def test_scapy_finds_the_layers(installed: Environment, wheel: Path) -> None:
    answer = installed.python(
        "from scapy.config import conf\n"
        "conf.exts.load('firstbyte')\n"
        "from scapy.layers.rfb import ProtocolVersion\n"
        "from scapy.layers.spice import SpiceLinkMess\n"
        "from scapy.packet import Packet\n"
        "assert issubclass(ProtocolVersion, Packet) and issubclass(SpiceLinkMess, Packet)\n"
        "import dissect.rfb.messages\n"
        "assert ProtocolVersion is dissect.rfb.messages.ProtocolVersion.scapy_class()\n"
        "print(*conf.exts.exts)\n"
    )
    assert answer == f"<ScapyExt firstbyte {metadata(wheel)['Version']} (2 specs)>\n"


def test_the_command_is_there(installed: Environment, wheel: Path) -> None:
    assert (
        run(installed.directory / "bin/firstbyte", "--version") == f"firstbyte {metadata(wheel)['Version']}\n"
    )
    assert "commands:" in run(installed.directory / "bin/firstbyte", "--help")


def test_every_module_imports_without_the_extras(installed: Environment) -> None:
    """What the base does not install may be imported only inside the functions that need it.

    A plugin of pytest is imported by pytest, so pytest is there.
    """
    installed.python(
        "import importlib, pkgutil, dissect\n"
        "for module in pkgutil.walk_packages(dissect.__path__, 'dissect.'):\n"
        "    if not module.name.endswith('.pytest_plugin'):\n"
        "        importlib.import_module(module.name)\n"
    )


USER = """
from dissect import firstbyte as fb

for conversation in fb.open("x.pcapng"):
    reveal_type(conversation.verdict.server_detect)
    conversation.nonsense
"""


def test_a_users_program_is_type_checked(installed: Environment, tmp_path: Path) -> None:
    """The mark for type checkers is found in the room, though the directory above has none."""
    pytest.importorskip("mypy")
    (tmp_path / "user.py").write_text(USER)
    words = ("--strict", "--no-incremental", "--python-executable", installed.directory / "bin/python")
    answer = subprocess.run(
        [sys.executable, "-m", "mypy", *words, "user.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line.partition(": ")[2] for line in answer.stdout.splitlines()]
    assert said[0] == 'note: Revealed type is "dissect.dissection.verdict.Detection | None"', answer.stdout
    assert said[1].startswith('error: "Conversation" has no attribute "nonsense"')
    assert len(said) == 3
