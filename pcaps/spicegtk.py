# SPDX-License-Identifier: GPL-2.0-or-later
"""A client of spice-gtk's library without a window: what spicy asks in dialogs is answered here.

    /usr/bin/python3 spicegtk.py HOST PORT [--set PROPERTY=TEXT]... [--only NAME,...] [ACTION...]

Properties are those of SpiceSession (username, password, shared-dir ...). `--only`: the channels that are
opened besides main; usbredir is once a device is given to the guest. Actions, once a second has passed since
the last channel was opened, a fifth of a second apart: `key:SCANCODE`, `down:SCANCODE`, `up:SCANCODE`,
`move:X,Y`, `motion:DX,DY`, `press:BUTTON`, `release:BUTTON`, `locks:BITS`, `mode:server|client`,
`compression:NUMBER`, `codec:NUMBER`, `port:NAME:TEXT`, `event:NAME:NUMBER`, `cd:BLOCKS`, `copy:TEXT`,
`paste`, `send:FILE` (of this folder), `monitors:WIDTHxHEIGHT`, `wait:SECONDS`. Where the guest listens to the
microphone it hears a tone. It ends a second after the last action. Wants gir1.2-spiceclientglib-2.0 and
python3-gi.
"""

from __future__ import annotations

import argparse
import math
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gi

gi.require_version("SpiceClientGLib", "2.0")
from gi.repository import Gio, GLib, GObject  # noqa: E402
from gi.repository import SpiceClientGLib as Spice  # noqa: E402

PACE_MS = 200
SETTLED_MS = 1000
TEXT = 1
"""VD_AGENT_CLIPBOARD_UTF8_TEXT."""
FAILURES = ("ERROR_CONNECT", "ERROR_TLS", "ERROR_LINK", "ERROR_AUTH", "ERROR_IO")


def listen(thing: Any, signal: str, handler: Callable[..., object]) -> None:
    """Connect a handler; sessions and channels have another `connect` of their own."""
    GObject.Object.connect(thing, signal, handler)


class Client:
    """One session, and what is to be done in it."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.loop = GLib.MainLoop()
        self.session = Spice.Session()
        self.channels: dict[str, list[Any]] = {}
        self.only = args.only.split(",") if args.only else None
        self.actions = list(args.action)
        self.soon = 0
        self.failed = False
        self.copied = b""
        for name, text in (("host", args.host), ("port", str(args.port))):
            self.session.set_property(name, text)
        for one in args.set:
            name, _, text = one.partition("=")
            match self.session.find_property(name).value_type.name:
                case "gboolean":
                    self.session.set_property(name, text == "true")
                case "GStrv":
                    self.session.set_property(name, text.split(","))
                case _:
                    self.session.set_property(name, text)
        self.devices = Spice.UsbDeviceManager.get(self.session)
        listen(self.devices, "device-added", self.insert)
        listen(self.session, "channel-new", self.channel)
        listen(self.session, "disconnected", lambda session: self.loop.quit())

    def run(self) -> int:
        if not self.session.connect():
            return 1
        self.loop.run()
        return int(self.failed)

    def channel(self, session: Any, channel: Any) -> None:
        name = Spice.Channel.type_to_string(channel.get_property("channel-type"))
        self.channels.setdefault(name, []).append(channel)
        listen(channel, "channel-event", self.event)
        if name == "main":
            listen(channel, "main-clipboard-selection-request", self.asked)
        if name == "record":
            listen(channel, "record-start", self.say)
        if name not in ("main", "usbredir") and (self.only is None or name in self.only):
            channel.connect()

    def event(self, channel: Any, event: Any) -> None:
        if event == Spice.ChannelEvent.OPENED:
            if self.soon:
                GLib.source_remove(self.soon)
            self.soon = GLib.timeout_add(SETTLED_MS, self.act)
        elif any(event == getattr(Spice.ChannelEvent, name) for name in FAILURES):
            error = channel.get_error()
            print(event, error.message if error else "", file=sys.stderr, flush=True)
            self.failed = True
            self.loop.quit()

    def say(self, channel: Any, form: int, channels: int, rate: int) -> None:
        """A tenth of a second of 440 Hz."""
        wave = [int(8000 * math.sin(2 * math.pi * 440 * at / rate)) for at in range(rate // 10)]
        data = b"".join(struct.pack("<h", one) * channels for one in wave)
        channel.send_data(data, 0)

    def asked(self, channel: Any, selection: int, kind: int) -> bool:
        """The guest pastes."""
        channel.clipboard_selection_notify(selection, kind, self.copied)
        return True

    def act(self) -> bool:
        self.soon = 0
        if not self.actions:
            GLib.timeout_add(1000, self.loop.quit)
            return False
        name, *what = self.actions.pop(0).split(":", 2)
        pace = int(1000 * float(what[0])) if name == "wait" else PACE_MS
        if name != "wait":
            self.do(name, what)
        GLib.timeout_add(pace, self.act)
        return False

    def do(self, name: str, what: list[str]) -> None:
        """One action."""
        main = self.channels["main"][0]
        inputs = self.channels.get("inputs", [None])[0]
        display = self.channels.get("display", [None])[0]
        match name:
            case "key":
                inputs.key_press_and_release(int(what[0], 0))
            case "down":
                inputs.key_press(int(what[0], 0))
            case "up":
                inputs.key_release(int(what[0], 0))
            case "move":
                x, y = what[0].split(",")
                inputs.position(int(x), int(y), 0, 0)
            case "motion":
                x, y = what[0].split(",")
                inputs.motion(int(x), int(y), 0)
            case "press":
                inputs.button_press(int(what[0]), 1 << int(what[0]) - 1)
            case "release":
                inputs.button_release(int(what[0]), 0)
            case "locks":
                inputs.set_key_locks(int(what[0]))
            case "mode":
                main.request_mouse_mode({"server": 1, "client": 2}[what[0]])
            case "compression":
                display.display_channel_change_preferred_compression(int(what[0]))
            case "codec":
                display.display_channel_change_preferred_video_codec_type(int(what[0]))
            case "port" | "event":
                for port in self.channels["port"]:
                    if port.get_property("port-name") == what[0]:
                        if name == "port":
                            port.write_async(what[1].encode(), None, None)
                        else:
                            port.event(int(what[1]))
            case "cd":
                image = Path(os.environ["HOME"], "cd")
                image.write_bytes(bytes(2048 * int(what[0])))
                self.devices.create_shared_cd_device(str(image))
            case "copy":
                self.copied = ":".join(what).encode()
                main.clipboard_selection_grab(0, [TEXT])
            case "paste":
                main.clipboard_selection_request(0, TEXT)
            case "send":
                main.file_copy_async(
                    [Gio.File.new_for_path(str(Path(__file__).with_name(what[0])))], 0, None, None, None, None
                )
            case "monitors":
                width, height = what[0].split("x")
                main.update_display(0, 0, 0, int(width), int(height), True)
            case _:
                raise SystemExit(f"{name!r} is no action")

    def insert(self, devices: Any, device: Any) -> None:
        """Give a USB device to the guest, over a channel that is opened for that."""

        def done(devices: Any, result: Any) -> None:
            devices.connect_device_finish(result)

        devices.connect_device_async(device, None, done)


def main() -> int:
    """Connect, act, leave; returns 1 where the server refused or something went wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("action", nargs="*")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--only")
    return Client(parser.parse_intermixed_args()).run()


if __name__ == "__main__":
    sys.exit(main())
