# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte record CLIENT SERVER -o OUT`: let two programs of the lab meet, and record it."""

from __future__ import annotations

import json
import lzma
import shlex
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path

from dissect.app import terminal
from dissect.lab.errors import LabError, NotInstalled
from dissect.lab.lab import Lab
from dissect.lab.peers import Role, installed
from dissect.lab.record import By, Recording, record_conversation


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("client", metavar="CLIENT", help="peers of the lab, separated by commas, or all")
    parser.add_argument("server", metavar="SERVER", help="peers of the lab, separated by commas, or all")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="a .pcapng file (.pcapng.xz: compressed), or a folder for several",
    )
    parser.add_argument(
        "--deadline", type=float, default=10, metavar="SECONDS", help="end of the recording (default: 10)"
    )
    parser.add_argument(
        "--max-bytes", type=int, metavar="N", help="stop before the file is larger than N bytes"
    )
    parser.add_argument("--password", metavar="TEXT", help="the server asks for it and the client gives it")
    parser.add_argument("--client-password", metavar="TEXT", help="the client gives this one instead")
    parser.add_argument("--client-args", default="", metavar="WORDS", help="more arguments for the client")
    parser.add_argument("--server-args", default="", metavar="WORDS", help="more arguments for the server")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="where the server listens: a loopback address (default: %(default)s)",
    )
    parser.add_argument(
        "--times", type=int, default=1, metavar="N", help="start the client N times, one after the other"
    )
    parser.add_argument(
        "--run",
        action="append",
        default=[],
        metavar="COMMAND",
        help="run this meanwhile, 2 s after the first connection, on the server's X display or else the "
        "client's, which {client_display} and {client_xauthority} stand for (may be given several times)",
    )
    parser.add_argument(
        "--by",
        choices=[str(by) for by in By],
        default=str(By.BEST),
        help="wire: as the kernel saw it (needs CAP_NET_RAW); relay: through a relay; best: what is allowed",
    )
    parser.add_argument(
        "--peers", type=Path, action="append", default=[], metavar="FILE", help="a TOML file with more peers"
    )
    parser.add_argument("--index", action="store_true", help="note the recording in the folder's index.toml")
    parser.add_argument(
        "--json", action="store_true", help="NDJSON on standard output, and nothing else there"
    )
    parser.epilog = "example: firstbyte record gvncviewer qemu-spice -o gvncviewer--qemu-spice.pcapng"


def run(args: Namespace) -> int:
    """Record each pair; 0 where all were recorded, 2 where one could not be."""
    code = 0
    try:
        with Lab(files=args.peers) as lab:
            clients = _names(lab, args.client, Role.CLIENT)
            servers = _names(lab, args.server, Role.SERVER)
            several = len(clients) * len(servers) > 1
            if several and args.output.suffix:
                raise terminal.Unusable(
                    "several recordings need a folder, not a file", source=str(args.output)
                )
            (args.output if several else args.output.parent).mkdir(parents=True, exist_ok=True)
            for server in servers:
                for client in clients:
                    path = args.output / file_name(client, server, args.password) if several else args.output
                    try:
                        _one(lab, client, server, path, args)
                    except NotInstalled as error:
                        terminal.complain(str(error))
                        code = 2
    except LabError as error:
        raise terminal.Unusable(str(error)) from None
    return code


def file_name(client: str, server: str, password: str | None = None) -> str:
    """How a recording is called where the user gives a folder."""
    return f"{client}--{server}{'-password' if password is not None else ''}.pcapng"


def _names(lab: Lab, text: str, role: Role) -> list[str]:
    if text != "all":
        return text.split(",")
    # Variants of one program (`extends`) are asked for by name.
    return [
        name
        for name, peer in lab.peers.items()
        if peer.role is role and installed(peer) and not name.endswith("-patient")
    ]


def _one(lab: Lab, client: str, server: str, path: Path, args: Namespace) -> None:
    packed = path.suffix == ".xz"
    target = path.with_suffix("") if packed else path
    try:
        recording = _record(lab, client, server, target, args)
    except KeyboardInterrupt:
        if target.exists():
            terminal.complain("interrupted: what was recorded by then is there", source=str(target))
        raise
    if packed:
        path.write_bytes(lzma.compress(recording.path.read_bytes()))
        recording.path.unlink()
        recording = replace(recording, path=path)
    if recording.failure is not None:
        terminal.complain(recording.failure, source=str(path))
    if args.index:
        from dissect.lab import collection

        passwords = {
            key: value
            for key, value in (("password", args.password), ("client_password", args.client_password))
            if value is not None
        }
        collection.store(path.parent, [collection.entry(recording, _command(recording, args), passwords)])
    if args.json:
        print(json.dumps(_to_json(recording)))
        return
    print(
        f"{terminal.link(str(recording.path))}: {terminal.plural(recording.packets, 'packet')}, "
        f"{terminal.plural(recording.bytes, 'byte')}, by {recording.by}, stopped: {recording.stopped}"
    )


def _record(lab: Lab, client: str, server: str, path: Path, args: Namespace) -> Recording:
    return record_conversation(
        client,
        server,
        path,
        args.deadline,
        lab=lab,
        by=By(args.by),
        max_bytes=args.max_bytes,
        password=args.password,
        client_password=args.client_password,
        client_arguments=shlex.split(args.client_args),
        server_arguments=shlex.split(args.server_args),
        host=args.host,
        times=args.times,
        run=[shlex.split(command) for command in args.run],
    )


def _command(recording: Recording, args: Namespace) -> str:
    """The command line that records this one pair again."""
    words = ["firstbyte", "record", recording.client, recording.server, "-o", str(recording.path)]
    words += ["--deadline", f"{args.deadline:g}"]
    for option in ("max_bytes", "password", "client_password", "client_args", "server_args"):
        value = getattr(args, option)
        if value:
            words.append(f"--{option.replace('_', '-')}={value}")
    if args.host != "127.0.0.1":
        words.append(f"--host={args.host}")
    if args.times > 1:
        words.append(f"--times={args.times}")
    words += [f"--run={command}" for command in args.run]
    for file in args.peers:
        words += ["--peers", str(file)]
    return shlex.join([*words, "--index"])


def _to_json(recording: Recording) -> dict[str, object]:
    return {
        "capture": str(recording.path),
        "client": recording.client,
        "server": recording.server,
        "versions": recording.versions,
        "by": str(recording.by),
        "stopped": str(recording.stopped),
        "start_ns": recording.started_ns,
        "end_ns": recording.end_ns,
        "packets": recording.packets,
        "bytes": recording.bytes,
        "dropped": recording.dropped,
    }
