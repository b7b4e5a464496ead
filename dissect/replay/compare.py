# SPDX-License-Identifier: GPL-2.0-or-later
"""The live answers held against the recorded ones: message by message, however the bytes were cut.

A handshake is compared in order. What follows it (updates, pings, cursors) comes when it comes: there a
message is compared with the recorded one of the same name and number, and `count` says how many are wanted.

How a field is compared is a `Mode`, found by the message's and the field's names in `Rules`: the user's
first, then the defaults.
"""

from __future__ import annotations

import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from dissect.replay.plan import Expected
from dissect.stream.records import NOT_DECODED, Message
from dissect.stream.text import safe

CONTEXT = 16
"""Bytes that are shown before and after the first that differs."""

NOTHING_TO_COMPARE = ("other", "nothing", "rfb", "spice")
"""Protocols of runs that are not decoded of which not even the name says anything new."""

DIFFERENCES_KEPT = 1000
"""How many differences one replay keeps; the rest are counted."""

WHOLE = "(message)"
"""The field of a difference that is about a message as a whole: missing, unexpected, unreadable."""


class Kind(StrEnum):
    """How a field is compared."""

    EXACT = "exact"
    IGNORE = "ignore"
    RANGE = "range"
    """Within bounds that are given, both inclusive."""
    LENGTH = "length"
    """Only the number of bytes or items."""
    REUSE = "reuse"
    """The live value is taken and used where the recording has its own (session id, key, challenge)."""


class Count(StrEnum):
    """How many messages of one name must come, after the handshake."""

    EXACT = "exact"
    SOME = "some"
    """At least one where the recording has any."""
    ANY = "any"
    """However many; also where the recording has none."""


@dataclass(frozen=True, slots=True)
class Mode:
    """How one field is compared; `least` and `most` are for a range."""

    kind: Kind
    least: float = 0
    most: float = 0


EXACT, IGNORE, LENGTH, REUSE = (Mode(kind) for kind in (Kind.EXACT, Kind.IGNORE, Kind.LENGTH, Kind.REUSE))

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "*": {"padding*": "ignore", "*.padding*": "ignore", "message_type": "ignore"},
    # The name of a desktop holds that of the machine and the display's number.
    "ServerInit": {"name_string": "ignore", "name_length": "ignore"},
    "VncAuthenticationChallenge": {"challenge": "reuse"},
    "FramebufferUpdate": {"*": "ignore", "count": "some"},
    "SetColourMapEntries": {"*": "ignore", "count": "any"},
    "SpiceLinkReply": {"pub_key": "reuse"},
    "SPICE_MSG*": {
        "message_serial": "ignore", "message_size": "ignore", "sub_list": "ignore", "count": "any",
    },
    "SPICE_MSG_MAIN_INIT": {
        "session_id": "reuse", "multi_media_time": "ignore", "ram_hint": "ignore", "count": "exact",
    },
    "SPICE_MSG_MAIN_CHANNELS_LIST": {"count": "exact"},
    "SPICE_MSG_MAIN_MULTI_MEDIA_TIME": {"multi_media_time": "ignore"},
    "SPICE_MSG_INPUTS_INIT": {"count": "exact"},
    "SPICE_MSG_PING": {"id": "ignore", "timestamp": "ignore", "ping_data": "ignore", "count": "some"},
    # spice-server chooses the window by how fast it found the line to be.
    "SPICE_MSG_SET_ACK": {"generation": "ignore", "window": "ignore", "count": "some"},
    "SPICE_MSG_NOTIFY": {"time_stamp": "ignore"},
    "SPICE_MSG_DISCONNECTING": {"time_stamp": "ignore"},
    # What is drawn, and when, is the guest's; that something is, is the server's.
    "SPICE_MSG_DISPLAY_*": {"*": "ignore", "count": "any"},
    "SPICE_MSG_DISPLAY_SURFACE_CREATE": {"count": "some"},
    "SPICE_MSG_CURSOR_*": {"*": "ignore", "count": "any"},
    "SPICE_MSG_CURSOR_INIT": {"count": "some"},
    "SPICE_MSG_PLAYBACK_*": {"*": "ignore", "count": "any"},
    # What a client said, where a client is on trial.
    "SetEncodings": {"count": "some"},
    "FramebufferUpdateRequest": {"count": "some"},
    "VncAuthenticationResponse": {"response": "ignore"},
    "SpiceLinkMess": {"connection_id": "reuse"},
    "SpiceLinkEncryptedTicket": {"encrypted_data": "ignore"},
    "SPICE_MSGC_ACK*": {"generation": "ignore"},
    "SPICE_MSGC_PONG": {"id": "ignore", "timestamp": "ignore"},
    NOT_DECODED: {"*": "ignore", "count": "any"},
}  # fmt: skip
"""Message -> field -> mode; both may be patterns. `count` is for messages after the handshake."""

ENDING = "ending"
"""The table of a rules file that says how the end is compared (`how`: "exact" tells close from reset)."""


class RulesError(Exception):
    """A file of rules cannot be used; `str()` is one line."""


@dataclass(frozen=True)
class Rules:
    """Which mode a field has: `user` first, then `DEFAULTS`; the most exact name first in each."""

    user: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | Path) -> Rules:
        """The rules of a TOML file. Raises RulesError.

        A table a message (patterns allowed), a key a field (`"pixel_format.*"`), a value: "exact", "ignore",
        "length", "reuse", or { range = [least, most] }; `count`: "exact", "some" or "any".
        """
        try:
            with Path(path).open("rb") as stream:
                found = tomllib.load(stream)
        except OSError as error:
            raise RulesError(error.strerror or str(error)) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RulesError(str(error)) from None
        return cls.of(found)

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Rules:
        """The rules of tables that were read already. Raises RulesError."""
        for message, fields in found.items():
            if not isinstance(fields, dict):
                raise RulesError(f"{message!r} is not a table of fields")
            for name, value in fields.items():
                if name == "count":
                    if value not in list(Count):
                        raise RulesError(f"[{message}] count = {value!r}: one of {', '.join(Count)}")
                else:
                    _mode(value, f"[{message}] {name}")
        return cls(found)

    @property
    def exact_ending(self) -> bool:
        """Whether a reset is another end than a close."""
        return self.user.get(ENDING, {}).get("how") == "exact"

    def mode(self, message: str, path: str) -> Mode:
        """How the field at `path` of `message` is compared."""
        for table in (self.user, DEFAULTS):
            value = _look_up(table, message, path)
            if value is not None:
                return _mode(value, path)
        return EXACT

    def count(self, message: str) -> Count:
        """How many of `message` must come."""
        for table in (self.user, DEFAULTS):
            for fields in _tables(table, message):
                if "count" in fields:
                    return Count(fields["count"])
        return Count.ANY


def _tables(table: Mapping[str, Mapping[str, Any]], message: str) -> Iterator[Mapping[str, Any]]:
    """The tables that speak of `message`: its own, then patterns, the longest first."""
    if message in table:
        yield table[message]
    patterns = [name for name in table if name != message and fnmatchcase(message, name)]
    for name in sorted(patterns, key=len, reverse=True):
        yield table[name]


def _look_up(table: Mapping[str, Mapping[str, Any]], message: str, path: str) -> Any:
    for fields in _tables(table, message):
        if path in fields:
            return fields[path]
        patterns = [n for n in fields if n != "count" and (fnmatchcase(path, n) or path.startswith(f"{n}."))]
        if patterns:
            return fields[max(patterns, key=len)]
    return None


def _mode(value: Any, where: str) -> Mode:
    match value:
        case "exact" | "ignore" | "length" | "reuse":
            return Mode(Kind(value))
        case {"range": [int() | float() as least, int() | float() as most]} if least <= most:
            return Mode(Kind.RANGE, least, most)
        case _:
            choices = '"exact", "ignore", "length", "reuse" or { range = [least, most] }'
            raise RulesError(f"{where} = {value!r}: must be {choices}")


# --- Differences ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difference:
    """One answer that is not as recorded: which message and field, what was recorded, what came.

    `expected` and `got` are JSON values. nth: which message of that name, from 0. The bytes around the first
    that differs are in `expected_bytes` and `got_bytes`, which begin at byte `at` of the message.
    """

    message: str
    field: str
    expected: Any
    got: Any
    nth: int = 0
    at: int | None = None
    expected_bytes: bytes = b""
    got_bytes: bytes = b""

    def to_json(self) -> dict[str, Any]:
        """The object of the contract, with the number of the message."""
        return {
            "message": self.message,
            "field": self.field,
            "expected": self.expected,
            "got": self.got,
            "nth": self.nth,
        }


class Comparison:
    """Takes the live messages of one side as they come; `differences` grows.

    through: the comparison is `complete` after the first message of that name.
    """

    def __init__(
        self, expected: tuple[Expected, ...], rules: Rules | None = None, through: str | None = None
    ) -> None:
        self.rules = rules or Rules()
        self.through = through
        self.differences: list[Difference] = []
        self.differences_not_kept = 0
        self.compared = 0
        """Messages held against a recorded one."""
        self.left_over = 0
        """Live messages to which no recorded one belongs, and which were not a difference."""
        self.complete = False
        if through is not None:
            last = next((n for n, item in enumerate(expected) if item.message.name == through), None)
            expected = expected if last is None else expected[: last + 1]
        self.expected = expected
        self._ordered = [n for n, item in enumerate(expected) if item.handshake]
        self._next = 0
        """Place in `_ordered` of the next handshake message."""
        self._loose: dict[str, list[Message]] = defaultdict(list)
        for item in expected:
            if not item.handshake:
                self._loose[item.message.name].append(item.message)
        self._seen: Counter[str] = Counter()
        self._forgiven: Counter[str] = Counter()
        # The answer of `_counts` for the number it was last asked for, which hardly ever falls.
        self._counted, self._count = 0, Counter[str]()

    # --- live messages in

    def saw(self, message: Message, handshake: bool) -> None:
        """`message` came from the live peer."""
        if self.complete:
            self.left_over += 1
            return
        nth = self._seen[message.name]
        self._seen[message.name] += 1
        if handshake:
            self._in_order(message, nth)
        else:
            self._in_any_order(message, nth)
        if message.name == self.through:
            self.complete = True

    def _in_order(self, message: Message, nth: int) -> None:
        for place in range(self._next, len(self._ordered)):
            recorded = self.expected[self._ordered[place]].message
            if recorded.name == message.name:
                for skipped in self._ordered[self._next : place]:
                    self._missing(self.expected[skipped].message.name, "did not come")
                self._next = place + 1
                self.compare(recorded, message, nth)
                return
        shown = message.raw[: 2 * CONTEXT]
        self.differ(Difference(message.name, WHOLE, "no such message", "came", nth, 0, b"", shown))

    def _in_any_order(self, message: Message, nth: int) -> None:
        recorded = self._loose.get(message.name, ())
        if nth < len(recorded):
            self.compare(recorded[nth], message, nth)
        elif recorded and self.rules.count(message.name) is Count.EXACT:
            self.differ(
                Difference(message.name, WHOLE, f"{len(recorded)} of them", f"{nth + 1} of them", nth)
            )
        else:
            # Of a name that the recording does not have: it may come after where the recording stopped.
            self.left_over += 1

    def compare(self, recorded: Message, message: Message, nth: int) -> None:
        """Hold one live message against its recorded one, field by field."""
        if not recorded.parts and not message.parts:
            self._compare_runs(recorded, message, nth)
            return
        self.compared += 1
        if recorded.raw == message.raw and recorded.size == message.size and not self.rules.user:
            return
        wanted, came = dict(flat(recorded.values)), dict(flat(message.values))
        around: tuple[int, bytes, bytes] | None = None
        for path in (*wanted, *(path for path in came if path not in wanted)):
            one, other = wanted.get(path), came.get(path)
            mode = self.rules.mode(message.name, path)
            if _agree(mode, one, other):
                continue
            around = around or context(recorded.raw, message.raw)
            shown = f"{mode.least:g} to {mode.most:g}" if mode.kind is Kind.RANGE else json_value(one)
            self.differ(Difference(message.name, path, shown, json_value(other), nth, *around))
        if recorded.parts and not message.parts:
            got = message.note or "a run of bytes that is not decoded"
            self.differ(Difference(message.name, WHOLE, "readable", got, nth))

    def _compare_runs(self, recorded: Message, message: Message, nth: int) -> None:
        """Two runs of bytes that nobody reads: what protocol they are, or all that there is of a message."""
        around = context(recorded.raw, message.raw)
        if recorded.protocol != message.protocol:
            self.differ(
                Difference(message.name, "protocol", recorded.protocol, message.protocol, nth, *around)
            )
        elif recorded.name != NOT_DECODED:
            if recorded.raw != message.raw:
                one, other = json_value(recorded.raw), json_value(message.raw)
                self.differ(Difference(message.name, WHOLE, one, other, nth, *around))
        elif recorded.protocol in NOTHING_TO_COMPARE:
            self.left_over += 1
            return
        self.compared += 1

    def differ(self, difference: Difference) -> None:
        """Note a difference."""
        if len(self.differences) < DIFFERENCES_KEPT:
            self.differences.append(difference)
        else:
            self.differences_not_kept += 1

    def _missing(self, name: str, how: str, count: int | None = None) -> None:
        wanted = "came" if count is None else f"{count} of them"
        self.differ(Difference(name, WHOLE, wanted, how, self._seen[name]))

    # --- what is still awaited

    def settled(self, after: int | None = None) -> bool:
        """Whether what must come among the first `after` expected messages (all of them) has come."""
        after = len(self.expected) if after is None else min(after, len(self.expected))
        if self._next < len(self._ordered) and self._ordered[self._next] < after:
            return False
        return not any(True for _ in self._wanting(after))

    def as_many(self, after: int) -> bool:
        """Whether as many messages of each name came as are among the first `after` expected, or forgiven."""
        return all(self._seen[name] + self._forgiven[name] >= n for name, n in self._counts(after).items())

    def forgive(self, after: int) -> None:
        """Do not wait any more for what `as_many` still misses."""
        for name, count in self._counts(after).items():
            self._forgiven[name] = max(self._forgiven[name], count - self._seen[name])

    def _counts(self, after: int) -> Mapping[str, int]:
        """How many messages of each name are among the first `after` expected, the handshake left out."""
        if after < self._counted:
            self._counted, self._count = 0, Counter()
        for item in self.expected[self._counted : after]:
            if not item.handshake:
                self._count[item.message.name] += 1
        self._counted = max(self._counted, min(after, len(self.expected)))
        return self._count

    def _wanting(self, after: int) -> Iterator[tuple[str, int]]:
        """Messages after the handshake that must come and have not, with how many are wanted."""
        for name, count in self._counts(after).items():
            rule = self.rules.count(name)
            least = {Count.EXACT: count, Count.SOME: 1, Count.ANY: 0}[rule]
            if self._seen[name] < least:
                yield name, least

    def missing_names(self) -> list[str]:
        """The messages that must come and have not, the next first."""
        names = [self.expected[place].message.name for place in self._ordered[self._next :]]
        return names + [name for name, _ in self._wanting(len(self.expected))]

    def finish(self) -> None:
        """Nothing more comes: what is missing is a difference."""
        if self.complete:
            return
        for place in self._ordered[self._next :]:
            self._missing(self.expected[place].message.name, "did not come")
        self._next = len(self._ordered)
        for name, least in list(self._wanting(len(self.expected))):
            came = self._seen[name]
            rule = self.rules.count(name)
            wanted = least if rule is Count.EXACT else None
            self._missing(name, "did not come" if not came else f"{came} of them", wanted)
        self.complete = True

    @property
    def unanswered(self) -> int:
        """Recorded messages to which no live one was held."""
        return len(self.expected) - self.compared


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Fields as (path, value): `server_pixel_format.depth`, `channels.0.id`; lists of numbers as they are."""
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from flat(value, f"{path}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            yield f"{path}.length", len(value)
            for index, item in enumerate(value):
                yield from flat(item, f"{path}.{index}.")
        else:
            yield path, value


def _agree(mode: Mode, recorded: Any, live: Any) -> bool:
    match mode.kind:
        case Kind.IGNORE | Kind.REUSE:
            return True
        case Kind.LENGTH:
            return live is not None and recorded is not None and _length(recorded) == _length(live)
        case Kind.RANGE:
            return isinstance(live, int | float) and mode.least <= live <= mode.most
        case _:
            return bool(recorded == live)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, bytes | list | str) else 1


def json_value(value: Any) -> Any:
    """A field as JSON: text where bytes are text, else hex."""
    if isinstance(value, bytes):
        if len(value) > 64:
            return f"{value[:64].hex()}… ({len(value)} bytes)"
        text = value.rstrip(b"\0").decode("latin-1")
        return text if text and text.isascii() and text.isprintable() else value.hex()
    if isinstance(value, list):
        return [json_value(item) for item in value]
    return value


def context(recorded: bytes, live: bytes) -> tuple[int, bytes, bytes]:
    """Where two messages begin to differ, less `CONTEXT` bytes, and the bytes of both from there."""
    shared = next(
        (at for at, (one, other) in enumerate(zip(recorded, live, strict=False)) if one != other),
        min(len(recorded), len(live)),
    )
    start = max(0, shared - CONTEXT)
    return start, recorded[start : shared + CONTEXT], live[start : shared + CONTEXT]


@cache
def hex_line(data: bytes) -> str:
    """Bytes as hex and as text, for a person."""
    text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)
    return f"{data.hex(' ')}  |{safe(text)}|"
