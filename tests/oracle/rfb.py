# SPDX-License-Identifier: GPL-2.0-or-later
"""RFB: which of our fields is which of tshark's, and where tshark (4.0) is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from dissect.rfb.messages import MESSAGES, QEMU_CLIENT_MESSAGES
from dissect.stream import Side
from dissect.stream.records import Message, Record
from tests.oracle.compare import Case, Reason, Table, at

Ours = str | Callable[[Message], Sequence[Any]]


def _format(prefix: str, path: str) -> dict[str, Ours]:
    names = {
        "bits_per_pixel": "bits_per_pixel",
        "depth": "depth",
        **{
            f"{colour}_{what}": f"{colour}_{what}"
            for colour in ("red", "green", "blue")
            for what in ("max", "shift")
        },
    }
    found: dict[str, Ours] = {f"vnc.{prefix}_{theirs}": f"{path}.{ours}" for theirs, ours in names.items()}
    found[f"vnc.{prefix}_big_endian_flag"] = _flag(f"{path}.big_endian_flag")
    found[f"vnc.{prefix}_true_color_flag"] = _flag(f"{path}.true_colour_flag")
    return found


def _button(bit: int) -> Callable[[Message], Sequence[Any]]:
    return lambda message: [message["button_mask"] >> bit & 1]


def _hex(name: str) -> Callable[[Message], Sequence[Any]]:
    return lambda message: [message[name].hex()]


def _flag(path: str) -> Callable[[Message], Sequence[Any]]:
    """A byte of which tshark says only whether it is 0."""
    return lambda message: [bool(value) for value in at(message.values, path)]


def _version(message: Message) -> Sequence[Any]:
    return [message["major"] + b"." + message["minor"]]


def _type(message: Message) -> Sequence[Any]:
    return [message.raw[0]]


CLIENT_CLASSES = MESSAGES[Side.CLIENT].values()
CLIENT: dict[str, Ours] = {"vnc.client_message_type": _type}
SERVER: dict[str, Ours] = {"vnc.server_message_type": _type}

FIELDS: dict[str, dict[str, Ours]] = {
    **dict.fromkeys((cls.title() for cls in (*CLIENT_CLASSES, *QEMU_CLIENT_MESSAGES.values())), CLIENT),
    **dict.fromkeys((cls.title() for cls in MESSAGES[Side.SERVER].values()), SERVER),
    "SecurityTypes": {
        "vnc.num_security_types": "number_of_security_types",
        "vnc.security_type": "security_types",
    },
    "VncAuthenticationChallenge": {"vnc.auth_challenge": _hex("challenge")},
    "VncAuthenticationResponse": {"vnc.auth_response": _hex("response")},
    "SecurityResult": {"vnc.auth_result": _flag("status")},
    "ClientInit": {"vnc.share_desktop_flag": _flag("shared_flag")},
    "ServerInit": {
        "vnc.width": "framebuffer_width",
        "vnc.height": "framebuffer_height",
        "vnc.desktop_name_len": "name_length",
        "vnc.desktop_name": "name_string",
        **_format("server", "server_pixel_format"),
    },
    "SetPixelFormat": {**CLIENT, **_format("client", "pixel_format")},
    "SetEncodings": {
        **CLIENT,
        "vnc.client_set_encodings_num": "number_of_encodings",
        "vnc.client_set_encodings_encoding_type": "encoding_types",
    },
    "FramebufferUpdateRequest": {
        **CLIENT,
        "vnc.update_req_incremental": _flag("incremental"),
        "vnc.update_req_x_pos": "x_position",
        "vnc.update_req_y_pos": "y_position",
        "vnc.update_req_width": "width",
        "vnc.update_req_height": "height",
    },
    "KeyEvent": {**CLIENT, "vnc.key_down": _flag("down_flag"), "vnc.key": "key"},
    "PointerEvent": {
        **CLIENT,
        "vnc.pointer_x_pos": "x_position",
        "vnc.pointer_y_pos": "y_position",
        **{f"vnc.button_{bit + 1}_pos": _button(bit) for bit in range(8)},
    },
    "ClientCutText": {**CLIENT, "vnc.client_cut_text_len": "length", "vnc.client_cut_text": "text"},
    "FramebufferUpdate": {
        **SERVER,
        "vnc.fb_update_num_rects": "number_of_rectangles",
        "vnc.fb_update_x_pos": "rectangles[].x_position",
        "vnc.fb_update_y_pos": "rectangles[].y_position",
        "vnc.fb_update_width": "rectangles[].width",
        "vnc.fb_update_height": "rectangles[].height",
        "vnc.fb_update_encoding_type": "rectangles[].encoding_type",
    },
}

READ = {0, 1, 2, 5, 7, 16, -223, -224, -232, -239, -240, -258, -308}
"""Encodings of which tshark finds the end, or which have nothing after their header."""


def _viewer(case: Case) -> Side:
    """Who is RFB's client: in a reverse connection the one that accepted it."""
    return Side.SERVER if case.dissected.verdict.reversed else Side.CLIENT


def _first_of_segment(case: Case) -> bool:
    return (
        case.side is _viewer(case)
        and len(case.messages) > 1
        and case.theirs == case.ours[: len(case.theirs)]
        and len(case.theirs) < len(case.ours)
    )


def _not_whole(case: Case) -> bool:
    both = case.ours + case.following
    more = len(case.theirs) > len(case.ours)
    return case.side is not _viewer(case) and more and case.theirs == both[: len(case.theirs)]


def _cut(case: Case) -> bool:
    """Whether the last message of the side, which is an update, is not all there."""
    last = [one for one in case.dissected.records if one.side is case.side][-1]
    note = last.fields().get("note", "")
    return not (case.messages or case.after) and last.name == "FramebufferUpdate" and "incomplete" in note


def _format_unread(case: Case) -> bool:
    """Whether there is Tight data, and the client has sent no SetPixelFormat as the first of a segment."""
    tight = any(
        rectangle["encoding_type"] == 7
        for message in (*case.before, *case.messages, *case.after)
        if message.name == "FramebufferUpdate" and case.side is not _viewer(case)
        for rectangle in message["rectangles"]
    )
    sent: list[Record] = [one for one in case.dissected.records if one.side is _viewer(case)]
    formats = [
        one
        for before, one in pairwise(sent)
        if one.name == "SetPixelFormat" and before.time_ns != one.time_ns
    ]
    return tight and not formats


def _unread_encoding(case: Case) -> bool:
    return any(
        rectangle["encoding_type"] not in READ
        for message in (*case.before, *case.messages)
        if message.name == "FramebufferUpdate" and message.side is case.side
        for rectangle in message["rectangles"]
    )


def _after(name: str) -> Callable[[Case], bool]:
    """Whether a message of this name is in the frame or before it, on the same side."""
    return lambda case: any(message.name == name for message in (*case.messages, *case.before))


def _handshake_with(name: str) -> Callable[[Case], bool]:
    """Whether a message of this name came in the conversation, and the frame is not before it."""

    def holds(case: Case) -> bool:
        found = [one for one in case.dissected.records if one.name == name]
        return bool(found) and (not case.messages or case.messages[-1].last_ns >= found[0].time_ns)

    return holds


REASONS: list[Reason] = [
    Reason("reads only the first message of a client's segment", _first_of_segment),
    Reason("shows fields of an update before it is whole", _not_whole),
    Reason("shows fields of an update that the capture cuts off", _cut),
    Reason("does not pass over the padding of ServerCutText", _after("ServerCutText"), stays=True),
    Reason(
        "does not know the size of Tight's pixels before it has read a SetPixelFormat",
        _format_unread,
        stays=True,
    ),
    *(
        Reason(f"loses its place in the handshake at {name}", _handshake_with(name), stays=True)
        for name in ("TightTunnels", "PlainCredentials", "SASLMechanisms")
    ),
    Reason("does not know the end of a TextChat", _after("TextChat"), stays=True),
    Reason(
        "shows a colour map once more with the message after it",
        lambda case: (
            case.field == "vnc.server_message_type"
            and case.theirs == ["1", *case.ours]
            and [message.name for message in case.before[-1:]] == ["SetColourMapEntries"]
        ),
    ),
    Reason("finds no end of an encoding that it does not know", _unread_encoding, stays=True),
    Reason(
        "takes the Latin-1 of a cut text for UTF-8",
        lambda case: (
            case.field == "vnc.client_cut_text"
            and [value.encode("ascii", "replace").decode() for value in case.ours]
            == [value.replace("\ufffd", "?") for value in case.theirs]
        ),
    ),
    Reason(
        "shows the negative length of the extended clipboard as a large number",
        lambda case: (
            case.field == "vnc.client_cut_text_len"
            and [str(int(value) % (1 << 32)) for value in case.ours] == case.theirs
        ),
    ),
]

TABLE = Table("rfb", "vnc", FIELDS, REASONS)
