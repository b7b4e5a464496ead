# SPDX-License-Identifier: GPL-2.0-or-later
"""What things are called in a picture: text that is safe to draw, messages, detections.

Captures hold text that strangers chose. Whatever of it is drawn goes through `legible` first, which also
takes what
a picture cannot draw faithfully: it lays out no right-to-left script and stacks no combining characters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from unicodedata import bidirectional, category

from dissect.capture import Conversation
from dissect.dissection.recognise import TITLES
from dissect.dissection.verdict import By, Detection
from dissect.stream.records import NOT_DECODED, Message
from dissect.stream.side import Side
from dissect.stream.text import duration, plural, safe

LONGEST = 400
"""Characters of one text that are looked at; no picture has room for more."""

REACTIONS: dict[By, str] = {"error-reply": "error reply", "close": "close", "reset": "reset"}
"""The reactions of a verdict, as words."""


# --- text ---------------------------------------------------------------------------------------------


def legible(text: str) -> str:
    r"""Text from a capture for a picture: one line, everything that could mislead as its escape.

    What `dissect.stream.text.safe` escapes, and, unlike on a terminal, right-to-left scripts and combining
    characters: a picture that lays them out wrongly shows a name that nobody chose. Cut to `LONGEST`.
    """
    if len(text) > LONGEST:
        text = text[: LONGEST - 1] + "…"
    text = safe(text)
    if text.isascii():
        return text
    return "".join(escape(character) if _misleading(character) else character for character in text)


def _misleading(character: str) -> bool:
    return bidirectional(character) in ("R", "AL", "AN") or category(character).startswith("M")


def escape(character: str) -> str:
    r"""A character beyond ASCII by its number, as Python writes it: `\xe9`, `\u05d0`, `\U0001f5a5`."""
    number = ord(character)
    if number <= 0xFF:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def volume(size: int) -> str:
    """A number of bytes with three significant figures: "194 bytes", "212 kB", "1.04 MB" (powers of 1000)."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= 0.9995 * scale and size >= 10_000:  # below that every byte is worth its place
            value = size / scale
            return f"{value:.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f} {unit}"
    return plural(size, "byte")


# --- detections ---------------------------------------------------------------------------------------


def detection(side: Side, seen: Detection) -> str:
    """What the mark of a detection says."""
    fed = plural(seen.bytes, "byte")
    time = duration(seen.ns, censored=seen.censored)
    if seen.censored:
        if seen.bytes:
            return f"{side} had not noticed after {time} and {fed}"
        return f"{side} had not reacted after {time} without a byte"
    by = REACTIONS[seen.by] if seen.by is not None else "reaction"
    if seen.after_close:
        return f"{side}: {by} after {time} and {fed}, the {side.other} had left"
    if not seen.bytes:
        return f"{side} gave up after {time} without a byte: {by}"
    return f"{side} noticed after {time} and {fed}: {by}"


# --- messages -----------------------------------------------------------------------------------------


def title(message: Message) -> str:
    """What a message is called: its standard name; runs of a protocol that is only named, by that."""
    if message.name != NOT_DECODED:
        return legible(message.name)
    named = TITLES.get(message.protocol) if message.protocol not in ("other", "nothing") else None
    return f"{named} bytes" if named else "undecoded bytes"


def detail(message: Message) -> str:
    """The few words on a message that a ladder has room for; "" where its name says it all."""
    if not message.parts:
        return _undecoded(message)
    if message.note is not None:
        return legible(message.note)
    fields = message.fields()
    words = _DETAILS.get(message.name)
    if words is not None:
        try:
            return legible(words(fields))
        except (KeyError, TypeError, ValueError):
            pass  # the layout has changed: what all messages get will do
    return legible(_generic(fields))


def _undecoded(message: Message) -> str:
    note = (message.note or "").removeprefix("not decoded: ")
    about = note if message.protocol in ("rfb", "spice") else ""  # for the others the title says it
    head = _head(message.raw, message.size) if message.name == NOT_DECODED or message.size <= 32 else ""
    return legible(", ".join(part for part in (head, about) if part))


def _head(raw: bytes, size: int) -> str:
    """The first bytes: as text where they are text, else as hex."""
    if not raw:
        return ""
    text = raw[:32]
    if all(32 <= byte < 127 or byte in b"\r\n\t" for byte in text):
        more = "…" if size > len(text) else ""
        return f"“{text.decode('ascii')}{more}”"
    return raw[:12].hex(" ") + (" …" if size > 12 else "")


def _names(fields: Mapping[str, Any], key: str, most: int = 4) -> str:
    names = [str(name) for name in fields[f"{key}_names"]]
    more = f", … ({len(names)})" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _code(fields: Mapping[str, Any], key: str) -> str:
    """A result: "OK", or "error 2 INVALID_MAGIC"."""
    name = str(fields.get(f"{key}_name", ""))
    return (name or "OK") if fields[key] == 0 else f"error {fields[key]} {name}".rstrip()


def _terminated(text: str) -> str:
    """SPICE counts the NUL at the end of a text as part of it."""
    return text.removesuffix("\0")


def _area(fields: Mapping[str, Any]) -> str:
    at = fields["x_position"], fields["y_position"]
    return f"{fields['width']}×{fields['height']}" + (f" at {at[0]}, {at[1]}" if any(at) else "")


def _rectangles(shown: Sequence[Mapping[str, Any]], more: int) -> str:
    """How many rectangles, and their encodings in the order of their first."""
    names = dict.fromkeys(str(rectangle["encoding_type_name"]) for rectangle in shown)
    return f"{plural(len(shown) + more, 'rectangle')}: {', '.join(names)}"


_DETAILS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "ProtocolVersion": lambda f: f"RFB {f['major']}.{f['minor']}",
    "SecurityTypes": lambda f: _names(f, "security_types") or "none",
    "SecurityType": lambda f: str(f["security_type_name"]),
    "FailureReason": lambda f: f"“{f['reason']}”",
    "SecurityResult": lambda f: str(f["status_name"]),
    "ClientInit": lambda f: "shared" if f["shared_flag"] else "exclusive",
    "ServerInit": lambda f: f"{f['framebuffer_width']}×{f['framebuffer_height']}, “{f['name_string']}”",
    "SetPixelFormat": lambda f: (
        f"{f['pixel_format']['bits_per_pixel']} bits, depth {f['pixel_format']['depth']}"
    ),
    "SetEncodings": lambda f: _names(f, "encoding_types"),
    "FramebufferUpdate": lambda f: _rectangles(f["rectangles"], f.get("rectangles_not_shown", 0)),
    "FramebufferUpdateRequest": lambda f: _area(f) + (", incremental" if f["incremental"] else ""),
    "TextChat": lambda f: str(f.get("length_name") or f"“{f['text'].rstrip()}”"),
    "SpiceLinkMess": lambda f: (
        f"{f['channel_type_name']} channel"
        + (f" {f['channel_id']}" if f["channel_id"] else "")
        + (f", connection {f['connection_id']:#x}" if f["connection_id"] else "")
    ),
    "SpiceLinkReply": lambda f: _code(f, "error"),
    "SpiceLinkResult": lambda f: _code(f, "result"),
    "SpiceLinkAuthMechanism": lambda f: str(f["auth_mechanism_name"]),
    "SPICE_MSG_MAIN_INIT": lambda f: f"session {f['session_id']:#x}",
    "SPICE_MSG_MAIN_NAME": lambda f: f"“{_terminated(f['guest_name'])}”",
    "SPICE_MSG_NOTIFY": lambda f: f"“{_terminated(f['message'])}”",
    "SpiceLinkEncryptedTicket": lambda f: "",
    "VncAuthenticationChallenge": lambda f: "",
    "VncAuthenticationResponse": lambda f: "",
}
"""Standard name -> the words on it, from its fields; every other message gets `_generic`."""

_DULL = (
    "num_",
    "number_of_",
    "pad",
    "caps_offset",
    "message_type",
    "message_size",
    "timestamp",
    "time_stamp",
)
"""How the names of fields begin that only serve the layout or say nothing to a person."""

_LENGTHS = ("_length", "_len", "_size", "_count", "size", "length")

_IN_HEX = ("flags", "key", "keysym", "keycode", "code", "button_mask", "session_id")


def _generic(fields: Mapping[str, Any], most: int = 3) -> str:
    """The first scalar fields, numbers by their registered names where they have one."""
    words: list[str] = []
    for name, value in fields.items():
        base = name.removesuffix("_names").removesuffix("_name")
        if name.startswith(_DULL) or name.endswith(_LENGTHS) or (base != name and base in fields):
            continue
        if len(words) == most:
            break
        named = fields.get(f"{name}_name")
        if named is not None:
            words.append(f"{_plain(name)} {named}")
        elif isinstance(value, int):
            words.append(f"{_plain(name)} {value:#x}" if name in _IN_HEX else f"{_plain(name)} {value}")
        elif isinstance(value, str) and 0 < len(value) <= 32 and value.isprintable():
            words.append(f"{_plain(name)} {value}")
    return ", ".join(words)


def _plain(name: str) -> str:
    return name.replace("_", " ")


def disorder(conversation: Conversation) -> list[str]:
    """What was odd about a conversation's segments, counted; nothing where nothing was."""
    counted = (
        (conversation.retransmitted, "segment sent again", "segments sent again"),
        (conversation.late, "segment too late", "segments too late"),
        (conversation.conflicting, "byte unlike its first copy", "bytes unlike their first copy"),
    )
    return [plural(number, one, many) for number, one, many in counted if number]
