# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of real peers: what `peers.toml` and a user's own files of the same form say.

The form, with one top-level table for each peer::

    [my-qemu]
    extends = "qemu-spice"                 # optional: take every key not named here from that peer
    command = ["/opt/qemu/bin/qemu-system-x86_64", "-spice", "port={port},addr={host},{*options}"]

See the head of `peers.toml` for all keys and placeholders.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from dissect.lab.errors import PeerTableError, UnknownPeer

BUNDLED = "peers.toml"
READY_S = 15.0
"""Seconds a peer may take to become ready, where its entry does not say."""
PLACEHOLDERS = frozenset(
    {
        "host",
        "url_host",
        "port",
        "port_minus_5900",
        "display",
        "displayfd",
        "free_display",
        "xauthority",
        "screen",
        "tmp",
        "python",
        "directory",
        "password",
    }
)
"""Names that may stand in braces in a command; the head of `peers.toml` says what each becomes."""
SPLICES = frozenset({"{security}", "{options}"})
"""Whole elements of a command that become any number of elements."""
_Choice = TypeVar("_Choice", bound=StrEnum)
_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class Role(StrEnum):
    """What a peer does. A display is an X server that other peers draw on."""

    SERVER = "server"
    CLIENT = "client"
    DISPLAY = "display"


class Protocol(StrEnum):
    """What a peer speaks."""

    RFB = "rfb"
    SPICE = "spice"


class Needs(StrEnum):
    """What must run before a peer can."""

    X_SERVER = "x-server"
    """An X server, which clients may share."""
    OWN_X_SERVER = "own-x-server"
    """An X server that nobody else draws on."""


@dataclass(frozen=True, slots=True)
class Ready:
    """How to know that a peer is ready: everything that is asked for here must have happened."""

    listening: bool = False
    """A process of the peer listens on its port."""
    line: str | None = None
    """A regular expression found in a line of its output."""
    displayfd: bool = False
    """It has written its display number to the descriptor `{displayfd}`."""
    seconds: float = READY_S
    """After this long it is `NotReady`."""


@dataclass(frozen=True, slots=True)
class VersionQuestion:
    """How to ask a program for its version: the first group of `pattern` in what `command` prints."""

    command: tuple[str, ...]
    pattern: str


@dataclass(frozen=True, slots=True)
class PasswordFile:
    """A file to write before the start: a text with placeholders, or a VNC password file."""

    text: str | None
    """None: the password as VNC's password files keep it, 8 bytes."""


@dataclass(frozen=True, slots=True)
class PasswordWay:
    """How a peer takes a password: what replaces `{security}`, and the files that must exist."""

    arguments: tuple[str, ...]
    files: Mapping[str, PasswordFile]


@dataclass(frozen=True, slots=True)
class Peer:
    """One entry of the table, checked."""

    name: str
    role: Role
    command: tuple[str, ...]
    protocol: Protocol | None = None
    plain: tuple[str, ...] = ()
    password: PasswordWay | None = None
    ready: Ready = field(default_factory=Ready)
    version: VersionQuestion | None = None
    package: tuple[str, ...] = ()
    needs: Needs | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    screen: str = "800x600"
    busy: str | None = None
    ipv4_only: bool = False
    variant_of: str | None = None
    notes: str = ""
    file: str = BUNDLED
    directory: str = ""

    @property
    def placeholders(self) -> frozenset[str]:
        """The placeholders that the command and the password's arguments name."""
        texts = list(self.command + self.plain)
        if self.password:
            texts.extend(self.password.arguments)
        return frozenset(name for text in texts for name in _named(text))


def load_peers(*extra_files: str | Path) -> dict[str, Peer]:
    """The bundled peers, then those of `extra_files` in order; a later entry replaces one of its name.

    Raises PeerTableError: one line with file, table, key and reason.
    """
    raw: dict[str, tuple[dict[str, Any], str, str]] = {}
    bundled = resources.files("dissect.lab").joinpath(BUNDLED)
    sources = [(BUNDLED, str(Path(__file__).resolve().parent), bundled.read_bytes)]
    sources.extend(
        (str(path), str(path.resolve().parent), path.read_bytes) for path in map(Path, extra_files)
    )
    for file, directory, read in sources:
        for name, table in _tables(file, read).items():
            raw[name] = (_extended(name, table, file, raw), file, directory)
    return {name: peer_from(name, table, file, directory) for name, (table, file, directory) in raw.items()}


def find_peer(peers: Mapping[str, Peer], name: str) -> Peer:
    """The peer `name`; raises UnknownPeer, which names what is near."""
    if name in peers:
        return peers[name]
    near = difflib.get_close_matches(name, peers, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(peers))}"
    raise UnknownPeer(f"no peer {name!r} in the table; {hint}")


def fill(text: str, values: Mapping[str, str]) -> str:
    """`text` with its placeholders replaced; `{{` and `}}` become single braces.

    Raises KeyError for a placeholder that has no value here.
    """

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        return match[0][0] if name is None else values[name]

    return _BRACES.sub(replace, text)


def debian_packages(peers: Mapping[str, Peer]) -> list[str]:
    """The Debian packages that hold these peers, sorted, each once."""
    return sorted({name for peer in peers.values() for name in peer.package if not name.startswith("pypi:")})


def _named(text: str) -> list[str]:
    return [match[1] for match in _BRACES.finditer(text) if match[1] is not None]


def _tables(file: str, read: Callable[[], bytes]) -> dict[str, dict[str, Any]]:
    try:
        data = read().decode()
    except OSError as error:
        raise PeerTableError(file, None, None, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise PeerTableError(file, None, None, f"not UTF-8 at byte {error.start}") from error
    try:
        tables = tomllib.loads(data)
    except tomllib.TOMLDecodeError as error:
        raise PeerTableError(file, None, None, f"not TOML: {error}") from error
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise PeerTableError(file, None, name, "must be a table, one for each peer")
    return tables


def _extended(
    name: str,
    table: dict[str, Any],
    file: str,
    known: Mapping[str, tuple[dict[str, Any], str, str]],
) -> dict[str, Any]:
    """`table` on top of the peer it extends; `environment` is merged, every other key replaced."""
    if "extends" not in table:
        return table
    base = table["extends"]
    if not isinstance(base, str) or base not in known:
        near = difflib.get_close_matches(str(base), known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise PeerTableError(file, name, "extends", f"no peer {base!r} before this one{hint}")
    under = known[base][0]
    merged = {**under, **table, "variant_of": base}
    del merged["extends"]
    if isinstance(table.get("environment"), dict) and "environment" in under:
        merged["environment"] = {**under["environment"], **table["environment"]}
    return merged


class Reader:
    """Reads the keys of one table with their types; every complaint names file, table and key."""

    def __init__(self, file: str, table: str, data: Mapping[str, Any], inside: str = "") -> None:
        self.file, self.table, self.data, self.inside = file, table, data, inside

    def fail(self, key: str, reason: str) -> PeerTableError:
        return PeerTableError(self.file, self.table, self.inside + key, reason)

    def only(self, *allowed: str) -> None:
        for key in self.data:
            if key not in allowed:
                near = difflib.get_close_matches(key, allowed, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(allowed)}"
                raise self.fail(key, f"unknown key; {hint}")

    def string(self, key: str) -> str | None:
        value = self.data.get(key)
        if value is not None and not isinstance(value, str):
            raise self.fail(key, f"must be a string, not {kind_of(value)}")
        return value

    def strings(self, key: str) -> tuple[str, ...]:
        value = self.data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.fail(key, f"must be a list of strings, not {kind_of(value)}")
        return tuple(value)

    def templates(self, key: str, allowed: frozenset[str] = PLACEHOLDERS) -> tuple[str, ...]:
        found = self.strings(key)
        for text in found:
            if text not in SPLICES:
                self.check_template(key, text, allowed)
        return found

    def check_template(self, key: str, text: str, allowed: frozenset[str] = PLACEHOLDERS) -> None:
        for match in _BRACES.finditer(text):
            if match[0] in {"{", "}"}:
                raise self.fail(key, f"single {match[0]!r} in {text!r}; write it twice if it is meant")
            if match[1] is not None and match[1] not in allowed:
                near = difflib.get_close_matches(match[1], allowed, n=1)
                hint = f"did you mean {{{near[0]}}}?" if near else f"known: {', '.join(sorted(allowed))}"
                raise self.fail(key, f"unknown placeholder {match[0]} in {text!r}; {hint}")

    def flag(self, key: str) -> bool:
        value = self.data.get(key, False)
        if not isinstance(value, bool):
            raise self.fail(key, f"must be true or false, not {kind_of(value)}")
        return value

    def number(self, key: str, default: float) -> float:
        value = self.data.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fail(key, f"must be a number, not {kind_of(value)}")
        if not 0 < value < 3600:
            raise self.fail(key, f"must be between 0 and 3600 seconds, not {value}")
        return float(value)

    def expression(self, key: str) -> str | None:
        value = self.string(key)
        if value is not None:
            try:
                re.compile(value)
            except re.error as error:
                raise self.fail(key, f"not a regular expression: {error}") from error
        return value

    def choice(self, key: str, kind: type[_Choice]) -> _Choice | None:
        value = self.string(key)
        try:
            return None if value is None else kind(value)
        except ValueError:
            allowed = ", ".join(f'"{item}"' for item in kind)
            raise self.fail(key, f'must be one of {allowed}, not "{value}"') from None

    def below(self, key: str) -> Reader | None:
        value = self.data.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.fail(key, f"must be a table, not {kind_of(value)}")
        return Reader(self.file, self.table, value, f"{self.inside}{key}.")


def kind_of(value: object) -> str:
    """What a value of a TOML file is, in words."""
    names = {str: "a string", list: "a list", dict: "a table", bool: "true or false", int: "a number"}
    return names.get(type(value), type(value).__name__)


def peer_from(name: str, data: Mapping[str, Any], file: str, directory: str) -> Peer:
    """The peer that table `name` of `file`, which lies in `directory`, describes. Raises PeerTableError."""
    read = Reader(file, name, data)
    read.only(
        "role",
        "protocol",
        "command",
        "plain",
        "password",
        "ready",
        "version",
        "package",
        "needs",
        "environment",
        "screen",
        "busy",
        "ipv4_only",
        "notes",
        "variant_of",
        "extends",
    )
    role = read.choice("role", Role)
    if role is None:
        raise read.fail("role", "missing; must be " + " or ".join(f'"{item}"' for item in Role))
    protocol = read.choice("protocol", Protocol)
    if protocol is None and role is not Role.DISPLAY:
        raise read.fail("protocol", "missing; must be " + " or ".join(f'"{item}"' for item in Protocol))
    command = read.templates("command")
    if not command:
        raise read.fail("command", "missing or empty")
    environment = _environment(read)
    screen = read.string("screen") or "800x600"
    if not re.fullmatch(r"[1-9]\d{1,4}x[1-9]\d{1,4}", screen):
        raise read.fail("screen", f'must look like "800x600", not "{screen}"')
    peer = Peer(
        name=name,
        role=role,
        command=command,
        protocol=protocol,
        plain=read.templates("plain"),
        password=_password(read),
        ready=_ready(read),
        version=_version(read),
        package=read.strings("package"),
        needs=read.choice("needs", Needs),
        environment=environment,
        screen=screen,
        busy=read.expression("busy"),
        ipv4_only=read.flag("ipv4_only"),
        variant_of=read.string("variant_of"),
        notes=read.string("notes") or "",
        file=file,
        directory=directory,
    )
    if role is Role.SERVER and not peer.placeholders & {"port", "port_minus_5900"}:
        raise read.fail("command", "a server must be told its port: {port} or {port_minus_5900} is missing")
    if peer.ready.displayfd and "displayfd" not in peer.placeholders:
        raise read.fail("ready.displayfd", "the command does not name {displayfd}")
    if (peer.plain or peer.password) and "{security}" not in command:
        raise read.fail("command", 'must have an element "{security}", for `plain` and `password` to replace')
    return peer


def _environment(read: Reader) -> dict[str, str]:
    below = read.below("environment")
    found: dict[str, str] = {}
    for key in below.data if below else ():
        assert below is not None
        text = below.string(key)
        assert text is not None
        below.check_template(key, text)
        found[key] = text
    return found


def _ready(read: Reader) -> Ready:
    below = read.below("ready")
    if below is None:
        return Ready()
    below.only("listening", "line", "displayfd", "seconds")
    return Ready(
        listening=below.flag("listening"),
        line=below.expression("line"),
        displayfd=below.flag("displayfd"),
        seconds=below.number("seconds", READY_S),
    )


def _version(read: Reader) -> VersionQuestion | None:
    below = read.below("version")
    if below is None:
        return None
    below.only("command", "pattern")
    command = below.templates("command", frozenset({"python", "directory"}))
    pattern = below.expression("pattern")
    if not command:
        raise below.fail("command", "missing or empty")
    if pattern is None or re.compile(pattern).groups < 1:
        raise below.fail("pattern", "missing, or without a group for the version")
    return VersionQuestion(command, pattern)


def _password(read: Reader) -> PasswordWay | None:
    below = read.below("password")
    if below is None:
        return None
    below.only("arguments", "files")
    files: dict[str, PasswordFile] = {}
    named = below.below("files")
    for name in named.data if named else ():
        assert named is not None
        if not re.fullmatch(r"[\w.-]+", name):
            raise named.fail(name, "must be a plain file name; it is written in the peer's directory")
        one = named.below(name)
        assert one is not None
        one.only("text", "vnc")
        text = one.string("text")
        if (text is None) == (not one.flag("vnc")):
            raise named.fail(name, 'must have either "text" or "vnc = true"')
        if text is not None:
            one.check_template("text", text)
        files[name] = PasswordFile(text)
    return PasswordWay(below.templates("arguments"), files)


def first_program(peer: Peer) -> str:
    """The program of the command, with the file's own directory filled in."""
    import sys

    return fill(peer.command[0], {"python": sys.executable, "directory": peer.directory})


def resolve_program(program: str, path: str | None = None) -> str | None:
    """The absolute path of `program`, looked for beside the running Python first, then on PATH."""
    import os
    import shutil
    import sys

    beside = str(Path(sys.executable).parent)
    search = os.pathsep.join([beside, path if path is not None else os.environ.get("PATH", os.defpath)])
    found = shutil.which(str(Path(program).expanduser()), path=search)
    return str(Path(found).absolute()) if found else None


def installed(peer: Peer) -> bool:
    """Whether the program of `peer` is on this machine."""
    return resolve_program(first_program(peer)) is not None


def missing(peers: Mapping[str, Peer], names: Sequence[str] = ()) -> list[Peer]:
    """Those of `peers` (or only of `names`) whose program is not on this machine."""
    wanted = [find_peer(peers, name) for name in names] if names else list(peers.values())
    return [peer for peer in wanted if not installed(peer)]
