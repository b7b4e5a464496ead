# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes what a program of a recording needs, and becomes that program.

    python prepare.py MADE... -- PROGRAM ARGUMENT...

- `certificate:DIRECTORY`: a CA and a server certificate for the loopback addresses, with the names that QEMU
  looks for (ca-cert.pem, server-cert.pem, server-key.pem), the latter two in one file too (server.pem); only
  if they are not there, so that a client that is told of the same directory trusts the server.
- `trust:DIRECTORY`: the same, and the program trusts that CA.
- `sasl:DIRECTORY:MECHANISMS:NAME=PASSWORD`: Cyrus SASL, set up for QEMU with one user; commas between
  mechanisms.
- `guest:FILE`: guest.s, assembled, which a machine can start from as from a disk.
- `agents:DIRECTORY`: spice-vdagentd and spice-vdagent, to be started by Xspice: without asking systemd whose
  session it is, and with files that come put into DIRECTORY.
- `card:DIRECTORY`: three certificates in a database of NSS (libnss3-tools), which spice-gtk makes a smartcard
  of.
- `c:FILE:SOURCE`: a server of libvncserver's, compiled.
- `pam:SERVICE:NAME=PASSWORD`: a PAM service that lets this one user in.

What `trust` and `pam` make is in a mount namespace of the program's own: for root only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

TRUSTED = "/etc/ssl/certs/ca-certificates.crt"
"""The CAs that programs on Debian trust."""
NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"


def run(*argv: str, text: str | None = None) -> None:
    """Run a program that must succeed."""
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)}: {done.stderr.strip()}")


def certificate(directory: Path) -> None:
    """A CA and a server's certificate, signed by it, unless they are there."""
    if (directory / "server.pem").exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    ca, key, request = (str(directory / name) for name in ("ca-cert.pem", "ca-key.pem", "request.pem"))
    mine, server = str(directory / "server-key.pem"), str(directory / "server-cert.pem")
    new = ("openssl", "req", "-newkey", "rsa:2048", "-noenc")
    run(*new, "-x509", "-days", "3650", "-subj", "/CN=firstbyte", "-keyout", key, "-out", ca)
    run(*new, "-subj", "/CN=localhost", "-keyout", mine, "-out", request)
    extensions = directory / "extensions"
    extensions.write_text(f"{NAMES}\nbasicConstraints=critical,CA:FALSE\n")
    signed = ("-CA", ca, "-CAkey", key, "-CAcreateserial", "-days", "3650", "-extfile", str(extensions))
    run("openssl", "x509", "-req", "-in", request, *signed, "-out", server)
    (directory / "server.pem").write_text(Path(mine).read_text() + Path(server).read_text())


def sasl(directory: Path, mechanisms: str, user: str) -> None:
    """Users and configuration of the SASL application "qemu"."""
    name, _, password = user.partition("=")
    directory.mkdir(exist_ok=True)
    users = str(directory / "users.db")
    run("saslpasswd2", "-f", users, "-c", "-p", "-a", "qemu", "-u", os.uname().nodename, name, text=password)
    lines = f"mech_list: {mechanisms.replace(',', ' ')}", "auxprop_plugin: sasldb", f"sasldb_path: {users}"
    (directory / "qemu.conf").write_text("\n".join(lines) + "\n")
    os.environ["SASL_CONF_PATH"] = str(directory)


def guest(image: Path) -> None:
    """A disk of one sector."""
    source, made = Path(__file__).with_name("guest.s"), image.with_suffix(".o")
    run("as", "--32", "-o", str(made), str(source))
    run("ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", str(image), str(made))


def agents(directory: Path) -> None:
    """Two scripts that start the programs of the same names with more arguments."""
    for name, more in (("spice-vdagentd", "-X"), ("spice-vdagent", f"-f {directory} -o 0")):
        program = shutil.which(name, path="/usr/bin:/usr/sbin")
        script = directory / name
        script.write_text(f'#!/bin/sh\nexec {program} {more} "$@"\n')
        script.chmod(0o755)


def card(directory: Path) -> None:
    """The certificates "id", "sign" and "enc"."""
    directory.mkdir()
    database, noise = ("-d", f"sql:{directory}"), directory / "noise"
    noise.write_bytes(os.urandom(60))
    run("certutil", "-N", *database, "--empty-password")
    for name in ("id", "sign", "enc"):
        new = ("-S", "-x", "-s", f"CN={name}", "-n", name, "-t", ",,", "-k", "rsa", "-g", "1024")
        run("certutil", *new, *database, "-z", str(noise))


def own_mount(script: str, source: Path, argv: list[str]) -> list[str]:
    """A command that runs `script` ($0: `source`) in a mount namespace of its own, and then `argv`."""
    return ["unshare", "--mount", "sh", "-c", f'{script} && exec "$@"', str(source), *argv]


def trusting(directory: Path, argv: list[str]) -> list[str]:
    """`argv` where the system trusts the CA, and no other."""
    certificate(directory)
    return own_mount(f'mount --bind "$0" {TRUSTED}', directory / "ca-cert.pem", argv)


def pam(service: str, user: str, argv: list[str]) -> list[str]:
    """`argv` where there is this PAM service, and no other."""
    name, _, password = user.partition("=")
    rules = (
        f"auth requisite pam_succeed_if.so quiet user = {name}",
        f"auth requisite pam_exec.so quiet expose_authtok /bin/grep -qzxF {password}",
        "account requisite pam_permit.so",
    )
    place = Path(os.environ["HOME"], service)
    place.write_text("\n".join(rules) + "\n")
    return own_mount('mount -t tmpfs none /etc/pam.d && cp "$0" /etc/pam.d/', place, argv)


def main() -> None:
    """Make all, then become the program."""
    at = sys.argv.index("--")
    argv = sys.argv[at + 1 :]
    for made in sys.argv[1:at]:
        kind, *rest = made.split(":")
        match kind, rest:
            case "certificate", [directory]:
                certificate(Path(directory))
            case "trust", [directory]:
                argv = trusting(Path(directory), argv)
            case "sasl", [directory, mechanisms, user]:
                sasl(Path(directory), mechanisms, user)
            case "guest", [image]:
                guest(Path(image))
            case "agents", [directory]:
                agents(Path(directory))
            case "card", [directory]:
                card(Path(directory))
            case "c", [program, source]:
                run("cc", "-o", program, source, "-lvncserver")
            case "pam", [service, user]:
                argv = pam(service, user, argv)
            case _:
                raise SystemExit(f"{made!r} cannot be made")
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main()
