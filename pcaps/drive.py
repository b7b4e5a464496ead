# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a program of a recording and does, while it runs, what a person would do at its display.

    python drive.py ACTION... -- PROGRAM ARGUMENT...

Actions, in order: `wait:SECONDS`; `type:TEXT`, `key:NAME,...`, `move:X,Y`, `press:BUTTON`, `release:BUTTON`
(xdotool, in the program's window); `copy:TEXT` (as what was copied and what is selected, by xclip, and as the
old cut buffer, by xprop); `patterns:N` (xsetroot, so many pictures); `run:COMMAND`, `spawn:COMMAND` (stays).
The display is $DISPLAY, or the one that the program opens itself (`-displayfd`, an argument such as `:7`).
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time


class Driver:
    """The program, and the display that the actions are done at."""

    def __init__(self, argv: list[str]) -> None:
        self.display = os.environ.get("DISPLAY")
        tell = None
        opened: tuple[int, ...] = ()
        if "-displayfd" in argv:
            place = argv.index("-displayfd") + 1
            tell = int(argv[place])
            reader, writer = os.pipe()
            argv = [*argv[:place], str(writer), *argv[place + 1 :]]
            opened = (writer,)
        named = [text for text in argv if text.startswith(":") and text[1:].isdigit()]
        self.program = subprocess.Popen(argv, pass_fds=opened)
        if tell is not None:
            os.close(opened[0])
            number = b""
            while not number.endswith(b"\n"):
                number += os.read(reader, 16)
            os.write(tell, number)
            os.close(tell)
            named = [f":{number.decode().strip()}"]
        if named:
            self.display = named[0]
        self.environment = {**os.environ, "DISPLAY": self.display or ""}
        if "-auth" in argv:
            self.environment["XAUTHORITY"] = argv[argv.index("-auth") + 1]

    def run(self, *argv: str, text: str | None = None) -> str:
        done = subprocess.run(
            argv, env=self.environment, input=text, capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(f"{argv}: {done.stderr.strip()}", file=sys.stderr, flush=True)
        return done.stdout

    def window(self) -> str:
        """The program's largest window."""
        found = self.run("xdotool", "search", "--onlyvisible", "--name", ".").split()
        sizes = {}
        for one in found:
            lines = self.run("xdotool", "getwindowgeometry", "--shell", one).split()
            shape = dict(line.split("=", 1) for line in lines if "=" in line)
            sizes[one] = int(shape.get("WIDTH", 0)) * int(shape.get("HEIGHT", 0))
        return max(sizes, key=lambda one: sizes[one])

    def act(self, action: str) -> None:
        """Do one action."""
        name, _, what = action.partition(":")
        match name:
            case "wait":
                time.sleep(float(what))
            case "type":
                window = self.window()
                self.run("xdotool", "mousemove", "--window", window, "30", "30")
                self.run("xdotool", "windowfocus", window)
                time.sleep(0.3)
                self.run("xdotool", "type", "--delay", "20", "--", what)
            case "key":
                self.run("xdotool", "key", "--delay", "20", *what.split(","))
            case "move":
                x, y = what.split(",")
                self.run("xdotool", "mousemove", "--window", self.window(), x, y)
            case "press" | "release":
                self.run("xdotool", "mousedown" if name == "press" else "mouseup", what)
            case "copy":
                self._own(what)
            case "run":
                self.run(*shlex.split(what))
            case "spawn":
                subprocess.Popen(shlex.split(what), env=self.environment)
            case "patterns":
                for number in range(int(what)):
                    front, back = ("red", "navy", "gold")[number % 3], ("white", "gray")[number % 2]
                    pattern = ["-mod", str(3 + number), str(16 - number), "-fg", front, "-bg", back]
                    self.run("xsetroot", *pattern)
                    time.sleep(0.3)
            case _:
                raise SystemExit(f"{action!r} is no action")

    def _own(self, text: str) -> None:
        """Select and copy a text; xclip goes on in the background until somebody else copies."""
        for selection in ("primary", "clipboard"):
            owner = subprocess.Popen(
                ["xclip", "-selection", selection],
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            owner.communicate(text.encode())
        latin = text.encode("latin-1", "replace").decode("latin-1")
        self.run("xprop", "-root", "-f", "CUT_BUFFER0", "8s", "-set", "CUT_BUFFER0", latin)


def main() -> int:
    """Start the program, act, and wait for it; returns its exit code."""
    at = sys.argv.index("--")
    driver = Driver(sys.argv[at + 1 :])
    for action in sys.argv[1:at]:
        driver.act(action)
    return driver.program.wait()


if __name__ == "__main__":
    sys.exit(main())
