# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte serve CAPTURE --listen HOST:PORT [-- CLIENT ARGS...]`: play the server's side to a client."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dissect.app import terminal
from dissect.app.commands.replay import add_play_arguments, describe, options_from, unplayable
from dissect.app.main import DIFFERENT, INCONCLUSIVE, INTERRUPTED, PASS, UNUSABLE
from dissect.capture import CaptureError
from dissect.replay.outcome import Outcome
from dissect.replay.plan import Plan, Unplayable, choose, load, sessions
from dissect.replay.player import Options
from dissect.replay.serve import Served, Server, Session
from dissect.replay.transports import NotAllowed, Tape, Target, resolve, words
from dissect.stream.side import Side
from dissect.stream.text import duration, safe

if TYPE_CHECKING:
    from dissect.lab.lab import Lab, Running

LEAVES_S = 2.0
"""How long the program that was started may take to end by itself once the conversation is over."""
LOOK_S = 0.02
"""How often it is looked at while nobody has connected."""
LAST_WORDS = 3
"""Lines of its output that are reported."""

EPILOG = """\
A command after -- is started once the socket listens, with a home and a display (Xvfb) of its own; {host} and
{port} in it are where to connect to. One name of `firstbyte peers` alone is started as the lab does it, with
--password where it takes one. What --rules may hold: `firstbyte replay --help`.

examples:
  firstbyte serve pcaps/gvncviewer--qemu-vnc.pcapng --listen 127.0.0.1:5909
  firstbyte serve pcaps/vncsnapshot--xtigervnc.pcapng --listen 127.0.0.1:0 -- vncsnapshot
  firstbyte serve session.pcapng --listen 127.0.0.1:0 --all-channels -- spicy-screenshot -h {host} -p {port}
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments; what follows `--` is in `args.program`."""
    add_play_arguments(parser)
    parser.add_argument(
        "--listen",
        required=True,
        metavar="HOST:PORT",
        help="where; port 0: a free one, which is told on stderr",
    )
    parser.add_argument(
        "--all-channels", action="store_true", help="SPICE: play a whole session, main and its channels"
    )
    parser.add_argument("--password", metavar="TEXT", help="what the client of the lab is given")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="HOST",
        help="listen on HOST though it is not loopback: whoever connects is answered as the recorded client "
        "was, and gets what the recording holds",
    )
    parser.usage = "firstbyte serve CAPTURE --listen HOST:PORT [options] [-- CLIENT ARGS...]"
    parser.epilog = EPILOG


def run(args: Namespace) -> int:
    """Serve; 0 where the client did as recorded, 1 where not, 2 where nothing was begun, 3 inconclusive."""
    options = options_from(args)
    try:
        plans, problems = load(
            args.capture, Side.SERVER, only=None if args.all_channels else args.conversation
        )
    except CaptureError as error:
        raise terminal.Unusable(error.reason, source=args.capture, offset=error.offset) from None
    for problem in problems:
        terminal.complain(problem, source=args.capture)
    try:
        chosen = _choose(plans, args)
    except Unplayable as error:
        return unplayable(error, args.capture)
    for plan in chosen:
        if plan.unplayable is not None:
            terminal.complain(
                f"conversation {plan.index} cannot be replayed: {plan.unplayable}", source=args.capture
            )
            return UNUSABLE
    with _listen(args) as listening:
        return asyncio.run(_serve(args, chosen, options, listening))


def _choose(plans: list[Plan], args: Namespace) -> list[Plan]:
    if not args.all_channels:
        plan = choose(plans, args.conversation)
        if plan.protocol == "spice" and plan.channel_type not in (None, 1):
            raise Unplayable(
                "this is a channel beside main, which a client opens only in a session that has one: "
                "serve the session with --all-channels"
            )
        return [plan]
    found = sessions(plans)
    if args.conversation is not None:
        found = [group for group in found if any(plan.index == args.conversation for plan in group)]
    if not found:
        raise Unplayable("no SPICE session whose main channel was let in")
    if len(found) > 1:
        choices = "\n".join(f"  {group[0].title}, {len(group)} channels" for group in found)
        raise Unplayable(f"{len(found)} SPICE sessions; choose one with --conversation N:\n{choices}")
    return found[0]


def _listen(args: Namespace) -> socket.socket:
    """The listening socket. Raises terminal.Unusable."""
    text = args.listen
    any_port = text.endswith(":0")
    try:
        target = Target.parse(text[:-1] + "1" if any_port else text)
        if target.path is not None:
            raise NotAllowed(f"{text!r}: serve listens on HOST:PORT only")
        target = asyncio.run(resolve(target, args.allow_host))
    except NotAllowed as error:
        raise terminal.Unusable(f"--listen: {error}") from None
    except OSError as error:
        raise terminal.Unusable(f"--listen {text}: {words(error)}") from None
    assert target.address is not None
    family, (host, port) = target.address
    try:
        return socket.create_server((host, 0 if any_port else port), family=family)
    except OSError as error:
        raise terminal.Unusable(f"--listen {text}: {words(error)}") from None


async def _serve(args: Namespace, plans: list[Plan], options: Options, listening: socket.socket) -> int:
    host, port = listening.getsockname()[:2]
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    interrupted = False
    with ExitStack() as stack:
        tape = Tape(args.record) if args.record else None
        if tape is not None:
            stack.callback(tape.close)
        server = Server(plans, options, tape)
        program: _Program | None = None

        def interrupt() -> None:
            nonlocal interrupted
            interrupted = True
            server.stop("interrupted")

        with suppress(NotImplementedError, ValueError, RuntimeError):  # not in the main thread
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupt)
        if args.program:
            program = await asyncio.to_thread(_Program, args, str(host), int(port))
            stack.callback(program.close)
            watching = asyncio.create_task(program.watch(server))
            stack.callback(watching.cancel)
        else:
            print(f"firstbyte: listening on {where} as the server of {safe(args.capture)}", file=sys.stderr)
        session = await server.serve(listening, args.deadline)
        if program is not None:
            await asyncio.to_thread(program.let_end, args.deadline)
        _report(args, session, program)
    if interrupted:
        return INTERRUPTED
    return _code(session)


class _Program:
    """The client that was started, in a lab of its own."""

    def __init__(self, args: Namespace, host: str, port: int) -> None:
        from dissect.lab.errors import LabError
        from dissect.lab.lab import Lab

        self.command: list[str] = list(args.program)
        self._lab: Lab = Lab()
        self.running: Running
        self.left_by_itself = False
        try:
            self.running = self._start(args.password, host, port)
        except LabError as error:
            self._lab.close()
            raise terminal.Unusable(f"the client: {str(error).removeprefix('client: ')}") from None
        except BaseException:
            self._lab.close()
            raise

    def _start(self, password: str | None, host: str, port: int) -> Running:
        from dissect.lab.errors import NotInstalled
        from dissect.lab.peers import Needs, Peer, Role

        peers, words = self._lab.peers, self.command
        known = peers.get(words[0])
        if len(words) == 1 and known is not None and known.role is Role.CLIENT:
            takes = password if known.password is not None else None
            return self._lab.run(words[0], host, port, password=takes)
        name = words[0].rpartition("/")[2]
        command = tuple(_filled(word, host, port) for word in words)
        peer = Peer(name, Role.CLIENT, command, needs=Needs.X_SERVER)
        try:
            self._lab.check(self._lab.display_name)
        except NotInstalled:  # it may do without
            peer = replace(peer, needs=known.needs if known is not None else None)
        self._lab.peers = {**peers, name: peer}
        return self._lab.run(name, host, port)

    async def watch(self, server: Server) -> None:
        """Do not wait for a client that has ended without connecting."""
        while server.waiting:
            if self.running.exited is not None and not self.running.alive:
                await asyncio.sleep(LOOK_S)  # its connection may be about to be accepted
                if server.waiting:
                    server.stop(f"the client ended before it connected ({self.ending()})")
                return
            await asyncio.sleep(LOOK_S)

    def let_end(self, deadline_s: float) -> None:
        """Give it a moment to end by itself."""
        self.left_by_itself = self.running.wait(min(LEAVES_S, max(deadline_s, 0.1))) is not None

    def ending(self) -> str:
        """How it ended, in words."""
        exited = self.running.exited
        if exited is None:
            return "still running"
        if exited.status < 0:
            return f"ended by {signal.Signals(-exited.status).name}"
        return f"exit code {exited.status}"

    def to_json(self, served: Served) -> dict[str, Any]:
        exited = self.running.exited if self.left_by_itself else None
        since = served.connected_ns
        return {
            "command": list(self.running.command),
            "exit_status": None if exited is None else exited.status,
            "exited_ns": None if exited is None or since is None else exited.monotonic_ns - since,
            "last_words": self.running.output.last(LAST_WORDS),
        }

    def describe(self, served: Served) -> list[str]:
        """What became of it, for a person."""
        what = self.to_json(served)
        if not self.left_by_itself:
            text = f"was still running {duration(round(LEAVES_S * 1e9))} after the end, and was ended"
        elif what["exited_ns"] is None:
            text = self.ending()
        else:
            text = f"{self.ending()}, {duration(what['exited_ns'])} after it had connected"
        lines = [f"  the program {safe(' '.join(self.command))}: {text}"]
        return lines + [f"    {safe(line)}" for line in what["last_words"]]

    def close(self) -> None:
        """End it, and everything that was started for it."""
        self._lab.close()


def _filled(word: str, host: str, port: int) -> str:
    """A word of a command with {host} and {port} filled in, and any other brace kept from the lab's eyes."""
    filled = word.replace("{host}", host).replace("{port}", str(port))
    return filled.replace("{", "{{").replace("}", "}}")


def _report(args: Namespace, session: Session, program: _Program | None) -> None:
    for served in session.served:
        if args.json:
            told = served.result.to_json()
            told["client"] = {
                "address": served.address or None,
                "ended": served.ended,
                "ended_ns": served.ended_ns,
                "messages": {
                    name: {"live": live, "recorded": recorded}
                    for name, (live, recorded) in served.messages.items()
                },
                **({} if program is None else program.to_json(served)),
            }
            told["connections_refused"] = session.refused
            print(json.dumps(told))
            continue
        if served.address:
            head, *lines = describe(served.result)
            print(head)
            print(f"  the client {safe(served.address)} {_left(served)}")
            said = f"it said: {safe(_said(served)) or 'nothing'}"
            print("\n".join(f"  {line}" for line in terminal.wrap(said, terminal.terminal_width() - 2)))
            print("\n".join(lines))
        else:
            result = served.result
            outcome = terminal.paint(str(result.outcome), "warn")
            print(f"conversation {result.conversation}: {outcome}: {safe(result.reason)}")
    if args.json:
        return
    if program is not None and session.served:
        print("\n".join(program.describe(session.served[0])))
    if session.refused:
        print(
            f"  {terminal.plural(session.refused, 'more connection')} came, and was closed: nothing to play"
        )


def _said(served: Served) -> str:
    """The client's messages, with the numbers that are not as recorded."""
    parts = []
    for name, (live, recorded) in served.messages.items():
        count = f" {live}" if live != 1 else ""
        parts.append(f"{name}{count}" + (f" (recorded: {recorded})" if live != recorded else ""))
    return ", ".join(parts)


def _left(served: Served) -> str:
    """How the client left, in words."""
    if served.ended is None:
        return "had not ended the connection when the replay was over"
    verb = "reset" if served.ended == "reset" else "closed"
    return f"{verb} the connection after {duration(served.ended_ns or 0)}"


def _code(session: Session) -> int:
    outcomes = Counter(served.result.outcome for served in session.served)
    if set(outcomes) == {Outcome.PASS}:
        return PASS
    return DIFFERENT if set(outcomes) - {Outcome.PASS, Outcome.INCONCLUSIVE} else INCONCLUSIVE
