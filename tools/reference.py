#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes the reference part of the documentation: what can be looked up, from what the code says of itself.

    commands  from their argparse parsers          schemas  from dissect/app/schemas
    rfb       from the classes and the registries  spice    the same
    python    from the docstrings of dissect.firstbyte

    python tools/reference.py [DIRECTORY]          # default: docs/reference

Pages are MyST Markdown. A page is only written where it differs, so that what builds from them can tell.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import json
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import dissect.firstbyte as api
from dissect.app import main as app
from dissect.app.commands import schema as schemas
from dissect.rfb import constants as rfb_constants
from dissect.rfb.messages import MESSAGES as RFB_MESSAGES
from dissect.spice import constants as spice_constants
from dissect.spice.channels.base import BODIES, body
from dissect.spice.fields import FLAGS, PointedField, PointerField
from dissect.stream import layout
from dissect.stream.fields import (
    ConditionalField,
    FieldLenField,
    FieldListField,
    PacketField,
    PacketListField,
    StrField,
)
from dissect.stream.layout import ProtocolPacket
from dissect.stream.side import Side
from dissect.stream.text import plural

ROOT = Path(__file__).resolve().parent.parent

Pages = dict[str, str]
"""Path below the reference, without ending -> text."""


def pages() -> Pages:
    """Every page of the reference."""
    found: Pages = {}
    for part in (commands(), schema_pages(), rfb(), spice(), python()):
        found.update(part)
    return found


def write(folder: Path) -> list[Path]:
    """Write all pages below `folder`, and remove what is no page any more; returns what has changed."""
    changed = []
    wanted = {folder / f"{name}.md": text for name, text in pages().items()}
    for path, text in wanted.items():
        if not path.exists() or path.read_text("utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            changed.append(path)
    for path in folder.rglob("*.md"):
        if path not in wanted:
            path.unlink()
    return changed


# --- Markdown -------------------------------------------------------------------------------------------


MARKS = re.compile(r"([\\`*_\[\]<>|{}$~#])")
"""What means something in Markdown, in a cell of a table too."""


def escape(text: str) -> str:
    """Plain text as it reads in Markdown, on one line."""
    return MARKS.sub(r"\\\1", " ".join(text.split()))


def prose(text: str) -> str:
    """The same where the text may hold `code`."""
    parts = re.split(r"(`[^`]+`)", " ".join(text.split()))
    return "".join(
        part.replace("|", "\\|") if part.startswith("`") else MARKS.sub(r"\\\1", part) for part in parts
    )


def code(text: object) -> str:
    """Text as it is typed."""
    return f"`{text}`".replace("|", "\\|")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, or nothing where it has no rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *lines, "", ""])


def contents(names: Iterable[str], depth: int = 1) -> str:
    """A hidden list of the pages below."""
    return "\n".join(["```{toctree}", f":maxdepth: {depth}", ":hidden:", "", *names, "```", ""])


# --- commands -------------------------------------------------------------------------------------------


def commands() -> Pages:
    """A page a command, and one of them all."""
    parser = app.build_parser(app.COMMANDS)
    (choices,) = (action.choices for action in parser._actions if isinstance(action.choices, dict))
    found = {f"commands/{name}": command(name, choices[name]) for name in app.COMMANDS}
    rows = [[f"[firstbyte {name}]({name}.md)", prose(line)] for name, line in app.COMMANDS.items()]
    epilog = (parser.epilog or "").strip()
    found["commands/index"] = (
        "# Commands\n\n" + table(["command", "what it does"], rows) + f"```text\n{epilog}\n```\n\n"
        "Text that goes to a terminal is coloured, unless `NO_COLOR` is set, and what is longer than the\n"
        "screen goes through `PAGER`, unless `NO_PAGER` is set. `FIRSTBYTE_TZ` is the zone of the times of\n"
        "day that are shown.\n\n" + contents(app.COMMANDS)
    )
    return found


def command(name: str, parser: argparse.ArgumentParser) -> str:
    """The page of one command."""
    usage = re.sub(r"\s+", " ", parser.format_usage().removeprefix("usage: ")).strip()
    parts = [
        f"# firstbyte {name}\n",
        f"{prose(parser.description or '')}\n",
        "```text",
        *wrapped(usage),
        "```\n",
    ]
    rows = []
    for action in parser._actions:
        if action.help == argparse.SUPPRESS or "--help" in action.option_strings:
            continue
        rows.append([", ".join(spellings(action)), prose(helped(parser, action))])
    parts.append(table(["argument", ""], rows))
    if parser.epilog:
        parts += ["```text", parser.epilog.strip(), "```\n"]
    if name in schemas.names():
        parts.append(f"What `--json` prints: [its schema](../schemas/{name}.md).\n")
    return "\n".join(parts)


def wrapped(usage: str, space: int = 96) -> list[str]:
    """A usage line, broken between its arguments."""
    words = re.findall(r"\[(?:[^][]|\[[^]]*\])*\]|\((?:[^()])*\)|\S+", usage)
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + 1 + len(word) > space:
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines


def spellings(action: argparse.Action) -> list[str]:
    """How an argument is given, option by option."""
    metavar = action.metavar if isinstance(action.metavar, str) else None
    if metavar is None and action.choices is not None:
        metavar = "{" + ",".join(map(str, action.choices)) + "}"
    if not action.option_strings:
        return [code(metavar or action.dest) + (" …" if action.nargs in ("+", "*") else "")]
    if action.nargs == 0:
        return [code(option) for option in action.option_strings]
    value = metavar or action.dest.upper()
    value = f"[{value}]" if action.nargs == "?" else value
    return [code(f"{option} {value}") for option in action.option_strings]


def helped(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """An argument's help, without what holds only of this machine."""
    text = (action.help or "").replace(", here %(default)s", "")
    return parser._get_formatter()._expand_help(_With(action, text)) if text else ""


class _With(argparse.Action):
    """An action with another help."""

    def __init__(self, action: argparse.Action, text: str) -> None:
        self.__dict__.update(vars(action))
        self.help = text


# --- schemas --------------------------------------------------------------------------------------------


def schema_pages() -> Pages:
    """A page a schema."""
    names = schemas.names()
    found = {f"schemas/{name}": schema_page(name) for name in names}
    rows = [[f"[{name}]({name}.md)", prose(schemas.load(name)["title"])] for name in names]
    found["schemas/index"] = (
        "# JSON\n\n"
        "`firstbyte NAME --json` prints one JSON object a line on standard output, and nothing else there.\n"
        "What it holds is a contract: JSON Schema 2020-12, in the installed package and from\n"
        "`firstbyte schema NAME`. The tests hold real output of every command against them. Times and\n"
        "durations are integers, in ns.\n\n" + table(["command", "one line is"], rows) + contents(names)
    )
    return found


def schema_page(name: str) -> str:
    """The page of one schema: its keys, nested ones by their path, then the schema itself."""
    found = schemas.load(name)
    parts = [f"# {name} --json\n", f"One line is {prose(found['title'])}. {prose(found['description'])}\n"]
    for alternative in found.get("oneOf", [found]) if "properties" not in found else [found]:
        if alternative is not found:
            parts.append(f"{prose(alternative.get('description', ''))}\n")
        rows = [[code(path), kind, said] for path, kind, said in keys(found, alternative)]
        parts.append(table(["key", "", ""], rows))
    parts += ["```json", json.dumps(found, indent=2, ensure_ascii=False), "```\n"]
    return "\n".join(parts)


def keys(
    whole: Mapping[str, Any], part: Mapping[str, Any], before: str = ""
) -> Iterator[tuple[str, str, str]]:
    """Path, type and description of each key below `part`."""
    for name, value in part.get("properties", {}).items():
        said = value.get("description", "")
        inner = value
        for choice in value.get("anyOf", ()):
            inner = choice if "$ref" in choice else inner
        if "items" in inner:
            inner = inner["items"]
        if "$ref" in inner:
            inner = whole["$defs"][inner["$ref"].rpartition("/")[2]]
        optional = "" if name in part.get("required", ()) else " (not always there)"
        path = f"{before}{name}" + ("[]" if "items" in value else "")
        yield path, schema_type(value) + optional, prose(said)
        yield from keys(whole, inner, f"{path}.")
        if isinstance(value.get("additionalProperties"), dict):
            yield from keys(whole, value["additionalProperties"], f"{path}.*.")


def schema_type(value: Mapping[str, Any]) -> str:
    """What may stand there, in short."""
    if "const" in value:
        return code(json.dumps(value["const"]))
    if "enum" in value:
        return ", ".join(code(json.dumps(one)) for one in value["enum"])
    if "anyOf" in value:
        return " or ".join("object" if "$ref" in one else str(one["type"]) for one in value["anyOf"])
    kinds = value.get("type", "any")
    return " or ".join([kinds] if isinstance(kinds, str) else kinds)


# --- messages and fields --------------------------------------------------------------------------------


def rfb() -> Pages:
    """RFB's messages by phase, and its registered numbers."""
    modules = _modules("dissect.rfb")
    numbers: dict[type[ProtocolPacket], list[tuple[Side, int]]] = {}
    for side, registered in RFB_MESSAGES.items():
        for number, made in registered.items():
            numbers.setdefault(made, []).append((side, number))
    inner = structures(modules)
    groups: dict[str, list[type[ProtocolPacket]]] = {
        "handshake": [],
        "security": [],
        "client": [],
        "server": [],
        "rectangles": [],
        "files": [],
    }
    own_page = {"security": "security", "contents": "rectangles", "tightfiles": "files"}
    nested: list[type[ProtocolPacket]] = []
    for cls in classes_of(modules):
        if cls in numbers:
            groups[numbers[cls][0][0]].append(cls)
        elif cls in inner:
            nested.append(cls)
        else:
            groups[own_page.get(cls.__module__.rpartition(".")[2], "handshake")].append(cls)
    titles = {
        "handshake": (
            "Handshake",
            "What is said before the normal phase, and what has no number of its own. Big-endian.",
        ),
        "security": (
            "Security types",
            "The exchanges of the security types that are read beyond their choice.",
        ),
        "client": ("From the client", "The normal phase; the message type is the first byte."),
        "server": ("From the server", "The normal phase; the message type is the first byte."),
        "rectangles": (
            "Rectangles of an update",
            "The fixed fields with which the data of an encoding begin, after the rectangle's header.",
        ),
        "files": (
            "TightVNC's file transfers",
            "They exist only where a Tight ServerInit announces them: message types 130 to 136 and 252.",
        ),
    }
    found = {}
    for key, (title, said) in titles.items():
        parts = [f"# RFB: {title[0].lower()}{title[1:]}\n", f"{said}\n"]
        for cls in sorted(groups[key], key=lambda cls: numbers.get(cls, [(Side.CLIENT, 0)])[0][1]):
            of = [f"type {number}" for _, number in numbers.get(cls, ())]
            parts.append(message(cls, of))
        found[f"rfb/{key}"] = "\n".join(parts)
    found["rfb/structures"] = "\n".join(
        ["# RFB: structures\n", "What messages are made of.\n", *(message(cls, []) for cls in nested)]
    )
    found["rfb/numbers"] = numbers_page("RFB", rfb_constants)
    found["rfb/index"] = (
        "# RFB\n\nEvery message whose layout is known, as the dissector reads it: these pages are made from\n"
        "the same classes.\n\n"
        + table(["", ""], [[f"[{title}]({key}.md)", prose(said)] for key, (title, said) in titles.items()])
        + contents([*titles, "structures", "numbers"])
    )
    return linked(found, "rfb")


def spice() -> Pages:
    """SPICE's messages by channel, and its numbers."""
    modules = _modules("dissect.spice")
    inner = structures(modules)
    found: Pages = {}
    channels = {spice_constants.COMMON: "every channel", **spice_constants.CHANNEL_TYPES}
    rows = []
    names = []
    for channel, sides in spice_constants.MESSAGES.items():
        title = channels[channel]
        key = title.replace(" ", "-")
        names.append(key)
        parts = [f"# SPICE: {title}\n"]
        read = all_ = 0
        for side, numbers in sides.items():
            parts.append(f"## From the {side}\n")
            for number, name in sorted(numbers.items()):
                all_ += 1
                described_by = body(channel, side, number)
                if described_by is None:
                    parts.append(f"### {code(name)}\n\nType {number}. Named, and not decoded.\n")
                    continue
                read += 1
                parts.append(message(described_by, [f"type {number}"], level=3))
        found[f"spice/{key}"] = "\n".join(parts)
        rows.append([f"[{title}]({key}.md)", str(all_), str(read)])
    by_body = set(BODIES.values())
    rest = {"link": "Link", "agent": "Agent", "cards": "Cards and readers", "structures": "Structures"}
    apart = {"link": "link", "agent": "agent", "smartcard": "cards"}
    groups: dict[str, list[type[ProtocolPacket]]] = {key: [] for key in rest}
    for cls in classes_of(modules):
        if cls in by_body:
            continue
        page = "structures" if cls in inner else apart.get(cls.__module__.rpartition(".")[2], "structures")
        groups[page].append(cls)
    said = {
        "link": "What opens every connection, before its channel's messages. Little-endian.",
        "agent": "What SPICE_MSG_MAIN_AGENT_DATA and its counterpart carry, put together from their pieces.",
        "cards": "What SPICE_MSG_SMARTCARD_DATA and its counterpart carry.",
        "structures": "What messages are made of, and the headers before them.",
    }
    for key, title in rest.items():
        texts = [message(cls, []) for cls in groups[key]]
        found[f"spice/{key}"] = "\n".join([f"# SPICE: {title.lower()}\n", f"{prose(said[key])}\n", *texts])
    found["spice/numbers"] = numbers_page("SPICE", spice_constants)
    found["spice/index"] = (
        "# SPICE\n\nEvery message by its channel, as the dissector reads it: these pages are made from the\n"
        "same classes.\n\n"
        + table(["", ""], [[f"[{title}]({key}.md)", prose(said[key])] for key, title in rest.items()])
        + table(["channel", "messages", "decoded"], rows)
        + contents(["link", *names, *list(rest)[1:], "numbers"])
    )
    return linked(found, "spice")


STRUCTURE = re.compile(r"^(\| `[^`]+` \| )`(\w+)`", re.M)


def linked(found: Pages, room: str) -> Pages:
    """The pages of a protocol, where the type of a field leads to the structure that it is."""
    here = set(re.findall(r"^## `(\w+)`$", found[f"{room}/structures"], re.M))

    def link(row: re.Match[str]) -> str:
        name = row[2]
        return f"{row[1]}[`{name}`](structures.md#{name.lower()})" if name in here else row[0]

    return {name: STRUCTURE.sub(link, text) for name, text in found.items()}


def _modules(room: str) -> list[ModuleType]:
    package = importlib.import_module(room)
    names = [found.name for found in pkgutil.walk_packages(package.__path__, f"{room}.")]
    return [
        importlib.import_module(name) for name in names if "pixels" not in name and "scapy_layers" not in name
    ]


def classes_of(modules: Sequence[ModuleType]) -> list[type[ProtocolPacket]]:
    """The layouts that the modules define, in their order; bases without fields of their own are none."""
    found = [
        cls
        for module in modules
        for cls in vars(module).values()
        if inspect.isclass(cls)
        and issubclass(cls, ProtocolPacket)
        and cls.__module__ == module.__name__
        and not cls.__name__.startswith("_")
        and ("fields_desc" in vars(cls) or cls.fields_desc)
    ]
    return list(dict.fromkeys(found))


def structures(modules: Sequence[ModuleType]) -> set[Any]:
    """The classes that are parts of others."""
    parts: set[Any] = set()
    for cls in classes_of(modules):
        for field in cls.fields_desc:
            plain = field.fld if isinstance(field, ConditionalField) else field
            if isinstance(plain, PacketField | PacketListField) and inspect.isclass(plain.cls):
                parts.add(plain.cls)
            if isinstance(plain, PointerField) and inspect.isclass(getattr(plain, "target", None)):
                parts.add(plain.target)
    return parts


def message(cls: type[ProtocolPacket], of: Sequence[str], *, level: int = 2) -> str:
    """One message: its name, its size, what it is, its fields."""
    title = cls.title()
    compiled = cls.layout()
    if compiled.fixed is not None:
        size = "no bytes" if compiled.fixed == 0 else plural(compiled.fixed, "byte")
    else:
        size = f"at least {plural(compiled.least, 'byte')}"
    other = [] if cls.__name__ == title or not cls.__doc__ else [f"class `{cls.__name__}`"]
    facts = ", ".join([*of, size, *other])
    text = (
        "" if cls.__doc__ is None or cls.__doc__ == ProtocolPacket.__doc__ else inspect.cleandoc(cls.__doc__)
    )
    rows = [field_row(cls, field) for field in cls.fields_desc]
    return (
        f"{'#' * level} {code(title)}\n\n"
        + (f"{markdown(text)}\n\n" if text else "")
        + f"{facts[0].upper()}{facts[1:]}.\n\n"
        + table(["field", "type", ""], rows)
    )


def field_row(cls: type[ProtocolPacket], field: Any) -> list[str]:
    """Name, type and meaning of one field."""
    conditional = isinstance(field, ConditionalField)
    plain = field.fld if conditional else field
    said = []
    if conditional:
        said.append("not always there")
    counted = [other.name for other in cls.fields_desc if _counts(other, plain.name)]
    if counted:
        said.append(f"as many as {code(counted[0])} says")
    if isinstance(plain, FieldLenField):
        of = plain.length_of or plain.count_of
        said.append(f"{'bytes' if plain.length_of else 'how many'} of {code(of)}")
    if isinstance(plain, FLAGS):
        said.append("bits: " + ", ".join(f"{bit} {escape(name)}" for bit, name in sorted(plain.bits.items())))
    elif (names := layout.names_of(plain)) is not None:
        said.append(listed(names))
    if isinstance(plain, layout.SecretField | layout.SecretLenField):
        said.append("hidden unless asked for")
    if isinstance(plain, layout.LiteralField):
        said.append(f"always {code(repr(plain.default)[2:-1])}")
    return [code(plain.name), field_type(plain), "; ".join(said)]


def _counts(field: Any, name: str) -> bool:
    plain = field.fld if isinstance(field, ConditionalField) else field
    return isinstance(plain, FieldLenField) and name in (plain.length_of, plain.count_of)


MOST_LISTED = 24


def listed(names: Mapping[int, str]) -> str:
    """Numbers and their names, where they are few; else that they are registered."""
    if len(names) > MOST_LISTED:
        return f"one of {len(names)} [registered numbers](numbers.md)"
    return ", ".join(f"{number} {escape(name)}" for number, name in sorted(names.items()))


def field_type(field: Any) -> str:
    """What a field holds, as one writes it on paper."""
    if isinstance(field, PacketListField):
        return f"{code(_class_name(field.cls))}, several"
    if isinstance(field, PacketField):
        return code(_class_name(field.cls))
    if isinstance(field, PointerField):
        return "pointer (u32)"
    if isinstance(field, PointedField):
        return "what the pointers lead to"
    if isinstance(field, FieldListField):
        return f"{number_type(field.field)}, several"
    if isinstance(field, layout.RestField):
        return "bytes, to the end"
    if isinstance(field, layout.Padding):
        return f"padding, {plural(_fixed(field), 'byte')}"
    if isinstance(field, layout.TextField):
        return "text"
    if isinstance(field, layout.FixedTextField):
        return f"text, {plural(_fixed(field), 'byte')}"
    if isinstance(field, layout.SecretField):
        return f"{_fixed(field)} bytes"
    if isinstance(field, StrField):
        try:
            return f"{_fixed(field)} bytes" if hasattr(field, "length_from") else "bytes"
        except (AttributeError, TypeError):
            return "bytes"
    return number_type(field)


def _fixed(field: Any) -> int:
    """The size in bytes of a field whose size does not depend on the message."""
    return int(field.length_from(None))


def _class_name(cls: Any) -> str:
    return str(cls.title()) if inspect.isclass(cls) and issubclass(cls, ProtocolPacket) else "structure"


def number_type(field: Any) -> str:
    """A number's size and sign."""
    signed = field.fmt[-1].islower()
    return f"{'s' if signed else 'u'}{8 * field.sz}"


def numbers_page(protocol: str, constants: ModuleType) -> str:
    """Every registry of numbers of a protocol."""
    parts = [f"# {protocol}: numbers\n"]
    for name, said in documented(constants):
        registry = getattr(constants, name)
        if not isinstance(registry, Mapping) or not all(
            isinstance(key, int) and isinstance(value, str) for key, value in registry.items()
        ):
            continue
        parts.append(f"## {name.replace('_', ' ').capitalize()}\n")
        if said:
            parts.append(f"{prose(said)}\n")
        rows = [[str(number), escape(value)] for number, value in sorted(registry.items())]
        parts.append(table(["number", "name"], rows))
    return "\n".join(parts)


def documented(module: ModuleType) -> Iterator[tuple[str, str]]:
    """The public values of a module in their order, each with the text below it."""
    body_ = ast.parse(inspect.getsource(module)).body
    for index, node in enumerate(body_):
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        for target in targets:
            if isinstance(target, ast.Name) and target.id.isupper():
                after = body_[index + 1] if index + 1 < len(body_) else None
                text = ""
                if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                    text = str(after.value.value)
                yield target.id, text


# --- Python ---------------------------------------------------------------------------------------------


def python() -> Pages:
    """The library, from its docstrings."""
    parts = ["# Python\n", markdown(inspect.cleandoc(api.__doc__ or "")) + "\n"]
    for name in api.__all__:
        found = getattr(api, name)
        parts.append(f"## {code(name)}\n")
        if inspect.isclass(found):
            parts.append(described(name, found))
        else:
            parts.append(
                directive("function", f"dissect.firstbyte.{name}{signature(found)}", inspect.getdoc(found))
            )
    return {"python": "\n".join(parts)}


def described(name: str, cls: type) -> str:
    """A class with its public members."""
    inner = []
    members = [(member, vars(cls)[member]) for member in vars(cls) if not member.startswith("_")]
    if issubclass(cls, Exception):
        members = []
    for member, value in members:
        if isinstance(value, property):
            kind = value.fget.__annotations__.get("return", "") if value.fget else ""
            inner.append(directive("property", member, inspect.getdoc(value), kind=str(kind)))
        elif inspect.isfunction(value):
            inner.append(
                directive("method", f"{member}{signature(value, method=True)}", inspect.getdoc(value))
            )
    head = f"dissect.firstbyte.{name}"
    text = inspect.getdoc(cls) if "__doc__" in vars(cls) else None
    return directive("exception" if issubclass(cls, Exception) else "class", head, text, inner=inner)


def signature(function: Any, *, method: bool = False) -> str:
    """A signature as it is written, without the first argument of a method."""
    found = inspect.signature(function)
    if method:
        found = found.replace(parameters=list(found.parameters.values())[1:])
    return re.sub(r"'([^']*)'", r"\1", str(found)).replace("typing.", "")


def directive(what: str, head: str, text: str | None, *, kind: str = "", inner: Sequence[str] = ()) -> str:
    """One documented thing as a directive of Sphinx's Python domain."""
    fence = "::::" if inner else ":::"
    options = [f":type: {kind}"] if kind else []
    said = markdown(text or "")
    return "\n".join([f"{fence}{{py:{what}}} {head}", *options, "", said, "", *inner, fence, ""])


def markdown(text: str) -> str:
    """A docstring as Markdown: examples become blocks of code, and nothing is taken for a heading or tag."""
    lines: list[str] = []
    fenced = False

    def close() -> None:
        nonlocal fenced
        if fenced:
            lines.append("```")
            lines.append("")
            fenced = False

    for line in [*text.splitlines(), ""]:
        if line.lstrip().startswith(">>>") and not fenced:
            lines += ["", "```pycon"]
            fenced = True
        if fenced and not line.strip():
            close()
            continue
        if fenced or line.startswith("    "):
            lines.append(re.sub(r"\s*# doctest: .*", "", line))
        else:
            lines.append(re.sub(r"(?<![`\w])([<*])|(\])\(", r"\\\g<0>", line) if "`" not in line else line)
    close()
    return "\n".join(lines).strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "docs" / "reference")
    folder = parser.parse_args().folder
    changed = write(folder)
    print(f"{len(changed)} pages written to {folder}")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
