# SPDX-License-Identifier: GPL-2.0-or-later
"""A client of gtk-vnc's library, libgvnc, without a window: what gvncviewer asks in dialogs is answered here.

    /usr/bin/python3 gtkvnc.py HOST PORT [--type N] [--subtype N] [--name NAME] [--password TEXT]
        [--encodings N,...] [ACTION...]

Actions, a fifth of a second apart once the session stands: `key:KEYSYM:SCANCODE`, `move:X,Y`, `press:BUTTON`,
`release:BUTTON`, `cut:TEXT`, `power:reboot|reset|shutdown`, `size:WIDTHxHEIGHT`, `audio:on|off`,
`wait:SECONDS`. It ends a second after the last one. Wants gir1.2-gtk-vnc-2.0 and python3-gi.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
from typing import Any

import gi

gi.require_version("GVnc", "1.0")
from gi.repository import GLib, GObject, GVnc  # noqa: E402

PACE_MS = 200
PASSWORD, NAME, CLIENT_NAME = range(3)
X509 = (260, 261, 262, 263)

LIBRARY = ctypes.CDLL("libgvnc-1.0.so.0")
LIBRARY.vnc_connection_get_pixel_format.restype = ctypes.c_void_p
LIBRARY.vnc_base_framebuffer_new.restype = ctypes.c_void_p


def address(thing: Any) -> ctypes.c_void_p:
    """Where a GObject is: that is its hash."""
    return ctypes.c_void_p(hash(thing))


def memory(vnc: Any, width: int, height: int) -> object:
    """Give a connection its screen, which must live as long as it does.

    By ctypes: what PyGObject hands over here is freed at once.
    """
    form = ctypes.c_void_p(LIBRARY.vnc_connection_get_pixel_format(address(vnc)))
    pixels = ctypes.create_string_buffer(width * height * 4)
    screen = LIBRARY.vnc_base_framebuffer_new(pixels, width, height, width * 4, form, form)
    LIBRARY.vnc_connection_set_framebuffer(address(vnc), ctypes.c_void_p(screen))
    return pixels


class Silence(GObject.Object, GVnc.Audio):  # type: ignore[misc]
    """A loudspeaker that nobody hears; without one libgvnc leaves when sound comes."""

    def do_playback_start(self, form: Any) -> bool:
        return True

    def do_playback_stop(self) -> bool:
        return True

    def do_playback_data(self, sample: Any) -> bool:
        return True


class Client:
    """One connection, and what is to be done on it."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.loop = GLib.MainLoop()
        self.vnc = GVnc.Connection()
        self.sound = Silence()
        self.vnc.set_audio(self.sound)
        self.actions = list(args.action)
        self.failed = False
        self.buttons = 0
        self.place = (0, 0)
        for signal, handler in (
            ("vnc-auth-choose-type", self.choose_type),
            ("vnc-auth-choose-subtype", self.choose_subtype),
            ("vnc-auth-credential", self.credentials),
            ("vnc-auth-failure", self.complain),
            ("vnc-auth-unsupported", self.complain),
            ("vnc-error", self.complain),
            ("vnc-initialized", self.initialized),
            ("vnc-framebuffer-update", self.more),
            ("vnc-disconnected", lambda vnc: self.loop.quit()),
        ):
            self.vnc.connect(signal, handler)

    def run(self) -> int:
        self.vnc.open_host(self.args.host, str(self.args.port))
        self.loop.run()
        return int(self.failed)

    def complain(self, vnc: Any, what: object) -> None:
        print(what, file=sys.stderr, flush=True)
        self.failed = True

    def choose_type(self, vnc: Any, offered: Any) -> None:
        vnc.set_auth_type(self.args.type)

    def choose_subtype(self, vnc: Any, kind: int, offered: Any) -> None:
        vnc.set_auth_subtype(self.args.subtype)

    def credentials(self, vnc: Any, wanted: Any) -> None:
        """What is wanted cannot be read from Python; what is not wanted does no harm."""
        if self.args.subtype in X509:
            vnc.set_credential(CLIENT_NAME, "firstbyte")
        if self.args.name is not None:
            vnc.set_credential(NAME, self.args.name)
        if self.args.password is not None:
            vnc.set_credential(PASSWORD, self.args.password)

    def initialized(self, vnc: Any) -> None:
        vnc.set_encodings([int(one) for one in self.args.encodings.split(",")])
        width, height = vnc.get_width(), vnc.get_height()
        self.pixels = memory(vnc, width, height)
        vnc.framebuffer_update_request(False, 0, 0, width, height)
        GLib.timeout_add(PACE_MS, self.act)

    def more(self, vnc: Any, x: int, y: int, width: int, height: int) -> None:
        vnc.framebuffer_update_request(True, 0, 0, vnc.get_width(), vnc.get_height())

    def act(self) -> bool:
        if not self.actions:
            GLib.timeout_add(1000, self.loop.quit)
            return False
        name, *what = self.actions.pop(0).split(":")
        vnc, pace = self.vnc, PACE_MS
        match name:
            case "wait":
                pace = int(1000 * float(what[0]))
            case "key":
                for down in (True, False):
                    vnc.key_event(down, int(what[0], 0), int(what[1], 0))
            case "move" | "press" | "release":
                if name == "move":
                    self.place = tuple(int(one) for one in what[0].split(","))
                else:
                    self.buttons ^= 1 << int(what[0]) - 1
                vnc.pointer_event(self.buttons, *self.place)
            case "cut":
                data = what[0].encode("latin-1")
                LIBRARY.vnc_connection_client_cut_text(address(vnc), data, ctypes.c_size_t(len(data)))
            case "power":
                vnc.power_control(getattr(GVnc.ConnectionPowerAction, what[0].upper()))
            case "size":
                vnc.set_size(*(int(one) for one in what[0].split("x")))
            case "audio":
                (vnc.audio_enable if what[0] == "on" else vnc.audio_disable)()
            case _:
                raise SystemExit(f"{name!r} is no action")
        GLib.timeout_add(pace, self.act)
        return False


def main() -> int:
    """Connect, act, leave; returns 1 where the server refused or something went wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("action", nargs="*")
    parser.add_argument("--type", type=int, default=1)
    parser.add_argument("--subtype", type=int)
    parser.add_argument("--name")
    parser.add_argument("--password")
    parser.add_argument("--encodings", default="16,5,0")
    return Client(parser.parse_intermixed_args()).run()


if __name__ == "__main__":
    sys.exit(main())
