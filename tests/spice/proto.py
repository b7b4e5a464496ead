# SPDX-License-Identifier: GPL-2.0-or-later
"""What `spice.proto` says of the wire, as plain data.

`spice.proto` is part of spice-common, so of the sources of spice and spice-gtk. `layouts.json` beside this is
what it says, without what concerns only the memory of a C program, made by

    python -m tests.spice.proto spice.proto > tests/spice/layouts.json

Enumerations are {number: name} (flags: {bit: name}); a struct or message is a list of fields in the order of
the wire:

Channel "0" is what every channel has. Of a field:

    name, type       a number of that width, of that enumeration, or a struct
    count            an array of so many: a number, the name of a field, "rest", or [bits, width, height]: an
                     image of so many bits a pixel with its lines padded to bytes
    pointer          it is an offset, and this is there; "nonnull" where 0 is refused
    switch, cases    one of these lists of fields, as the field `switch` says: [[names, fields], ...], where a
                     name with "!" is none of that bit, and no names at all are what remains
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

Fields = list[dict[str, Any]]
BASE = "BaseChannel"


class Parser:
    """Reads one `spice.proto`."""

    def __init__(self, text: str) -> None:
        text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.DOTALL)
        self.tokens: list[str] = re.findall(r"\w+|[{}()\[\];:,=*@!.]", text)
        self.at = 0
        self.types: dict[str, str] = {}
        self.enums: dict[str, Any] = {}
        self.structs: dict[str, Fields] = {}
        self.channels: dict[str, dict[str, Any]] = {}
        self.protocol: dict[int, str] = {}

    def peek(self) -> str:
        return self.tokens[self.at]

    def take(self, wanted: str | None = None) -> str:
        token = self.tokens[self.at]
        if wanted is not None and token != wanted:
            raise ValueError(f"{wanted} wanted, {' '.join(self.tokens[self.at - 5 : self.at + 5])} found")
        self.at += 1
        return token

    def maybe(self, token: str) -> bool:
        found = self.peek() == token
        self.at += found
        return found

    def attributes(self) -> dict[str, str]:
        found = {}
        while self.maybe("@"):
            name, value = self.take(), ""
            if self.maybe("("):
                while not self.maybe(")"):
                    value += self.take()
            found[name] = value
        return found

    def whole(self) -> dict[str, Any]:
        while self.at < len(self.tokens):
            kind = self.take()
            if kind == "typedef":
                name = self.take()
                self.types[name] = self.take()
                self.attributes()
            elif re.fullmatch(r"(enum|flags)\d+", kind):
                name = self.take()
                self.enums[name] = {"type": kind, "names": self.names()}
                self.attributes()
            elif kind in ("struct", "message"):
                name = self.take()
                self.structs[name] = self.fields()
                self.attributes()
            elif kind == "channel":
                self.channel()
            else:
                assert kind == "protocol", kind
                self.take()
                number = 0
                self.take("{")
                while not self.maybe("}"):
                    channel = self.take()
                    self.take()
                    number = int(self.take()) if self.maybe("=") else number + 1
                    self.take(";")
                    self.protocol[number] = channel
            self.take(";")
        return {
            "channels": {
                "0": self.channels[BASE],
                **{str(number): self.own(name) for number, name in self.protocol.items()},
            },
            "structs": self.structs,
            "enums": self.enums,
        }

    def names(self) -> dict[int, str]:
        """The names between braces, with their numbers."""
        found: dict[int, str] = {}
        number = -1
        self.take("{")
        while not self.maybe("}"):
            name = self.take()
            self.attributes()
            number = int(self.take()) if self.maybe("=") else number + 1
            found[number] = name
            self.maybe(",")
        return found

    def fields(self) -> Fields:
        self.take("{")
        found: Fields = []
        while not self.maybe("}"):
            found += self.field()
        return found

    def field(self) -> Fields:
        if self.maybe("switch"):
            return [self.switch()]
        kind = self.take()
        if kind == "struct":
            kind = self.take()
            self.structs[kind] = self.fields()
            self.attributes()
        field: dict[str, Any] = {"type": self.types.get(kind, kind)}
        pointer = self.maybe("*")
        field = {"name": self.take(), **field}
        if self.maybe("["):
            field["count"] = self.count()
        attributes = self.attributes()
        if pointer:
            field["pointer"] = "nonnull" if "nonnull" in attributes else "any"
        self.take(";")
        return [field]

    def count(self) -> Any:
        if self.maybe("]"):
            return "rest"
        token = self.take()
        count: Any = int(token) if token.isdigit() else token
        if token == "image_size":
            self.take("(")
            bits, _, width, _, height = (self.take() for _ in range(5))
            self.take(")")
            count = [int(bits), width, height]
        self.take("]")
        return count

    def switch(self) -> dict[str, Any]:
        self.take("(")
        name = ""
        while not self.maybe(")"):
            name += self.take()
        self.take("{")
        cases: list[Any] = []
        while not self.maybe("}"):
            names: list[str] = []
            default = False
            while self.peek() in ("case", "default"):
                if self.take() == "default":
                    default = True
                else:
                    names.append(("!" if self.maybe("!") else "") + self.take())
                self.take(":")
            fields: Fields = []
            while self.peek() not in ("case", "default", "}"):
                fields += self.field()
            cases.append([[] if default else names, fields])
        if self.peek() not in (";", "@"):
            self.take()
        self.attributes()
        self.take(";")
        return {"switch": name, "cases": cases}

    def channel(self) -> None:
        name = self.take()
        base = self.take() if self.maybe(":") else None
        sides: dict[str, dict[int, Any]] = {"server": {}, "client": {}}
        if base is not None:
            sides = {side: dict(those) for side, those in self.channels[base].items()}
        self.channels[name] = sides
        self.take("{")
        side, number = "", 0
        while not self.maybe("}"):
            if self.peek() in sides:
                side, number = self.take(), 0
                self.take(":")
                continue
            kind = self.take()
            fields = self.fields() if kind == "message" else self.structs[kind]
            self.attributes()
            message = self.take()
            self.attributes()
            number = int(self.take()) if self.maybe("=") else number + 1
            self.take(";")
            sides[side][number] = [message, fields]
        self.attributes()

    def own(self, channel: str) -> dict[str, dict[int, Any]]:
        """The messages of a channel but for those that every channel has."""
        return {
            side: {number: one for number, one in those.items() if number not in self.channels[BASE][side]}
            for side, those in self.channels[channel].items()
        }


def written(found: dict[str, Any]) -> str:
    """As JSON, one message, struct or enumeration a line."""
    lines = ["{", '"channels": {']
    for number, sides in found["channels"].items():
        lines.append(f"{json.dumps(number)}: {{")
        for side, messages in sides.items():
            rows = [f"  {json.dumps(str(one))}: {json.dumps(message)}" for one, message in messages.items()]
            lines.append(f" {json.dumps(side)}: {{" + "".join(f"\n{row}," for row in rows)[:-1] + "},")
        lines[-1] = lines[-1][:-1]
        lines.append("},")
    lines[-1] = "}},"
    for kind in ("structs", "enums"):
        rows = [f" {json.dumps(name)}: {json.dumps(one)}" for name, one in found[kind].items()]
        lines.append(f"{json.dumps(kind)}: {{\n" + ",\n".join(rows) + "},")
    lines[-1] = lines[-1][:-1] + "}"
    return "\n".join(lines) + "\n"


def main() -> None:
    print(written(Parser(Path(sys.argv[1]).read_text()).whole()), end="")


if __name__ == "__main__":
    main()
