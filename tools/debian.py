# SPDX-License-Identifier: GPL-2.0-or-later
"""Names, and where it is allowed installs, the Debian packages that the tests need.

Reads dissect/lab/peers.toml (the key `package` of every entry) and tools/debian-packages.txt.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from dissect.lab.peers import debian_packages, load_peers

OTHERS = Path(__file__).with_name("debian-packages.txt")


def wanted() -> list[str]:
    """All packages of both lists, each once."""
    names = debian_packages(load_peers())
    for line in OTHERS.read_text("utf-8").splitlines():
        if name := line.partition("#")[0].strip():
            names.append(name)
    return list(dict.fromkeys(names))


def missing(names: list[str]) -> list[str]:
    """Those of `names` that are not installed; all of them where there is no dpkg."""
    if not names or not shutil.which("dpkg-query"):
        return names
    command = ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package}\n", *names]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # 1: some are unknown
    installed = {line.split()[1] for line in answer.stdout.splitlines() if line.split()[:1] == ["installed"]}
    return [name for name in names if name not in installed]


def privilege() -> list[str] | None:
    """What to put before a command that needs root: nothing as root, sudo, or None where neither works."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
        return ["sudo", "-n"]
    return None


def install(names: list[str], prefix: list[str]) -> str | None:
    """Install with apt-get, quietly and without a question; return what went wrong, or None."""
    apt_get = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    apt_get += ["-o=DPkg::Lock::Timeout=600", "-o=Acquire::Retries=3", "-o=Dpkg::Use-Pty=0"]
    # The lists of a fresh machine are empty, and old ones name files that the mirror has dropped.
    if failure := _run([*apt_get, "update"]):
        return failure
    strange = unknown(names)
    known = [name for name in names if name not in strange]
    failure = _run([*apt_get, "--no-install-recommends", "--yes", "install", *known]) if known else None
    # One name that a release lacks must not cost all the others.
    return failure or (f"this release has no package {', '.join(strange)}" if strange else None)


def unknown(names: list[str]) -> list[str]:
    """Those of `names` that apt could not install whatever happens: no source has them."""
    answer = subprocess.run(["apt-cache", "policy", *names], capture_output=True, text=True, check=True)
    candidates: set[str] = set()
    name = ""
    for line in answer.stdout.splitlines():
        if not line.startswith(" "):
            name = line.rstrip(":")
        elif line.strip().startswith("Candidate:") and "(none)" not in line:
            candidates.add(name)
    return [name for name in names if name not in candidates]


def _run(command: list[str]) -> str | None:
    run = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return None if run.returncode == 0 else run.stdout.strip() or f"{command[0]} ended with {run.returncode}"


def main() -> int:
    """Do what the options say; 1 only where an installation that was allowed has failed under CI=true."""
    parser = argparse.ArgumentParser(description=__doc__)
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--list", action="store_true", help="name the packages that are not installed")
    choice.add_argument("--install", action="store_true", help="install them, as root or by sudo -n")
    options = parser.parse_args()

    absent = missing(wanted())
    if not absent:
        return 0
    if options.list:
        print("not installed:", *absent)
        return 0
    if not shutil.which("apt-get"):
        why = "there is no apt-get here"
    elif (prefix := privilege()) is None:
        why = "this needs root or sudo without a password"
    else:
        print("installing with apt-get:", *absent, flush=True)
        failure = install(absent, prefix)
        if failure is None:
            return 0
        print(failure, file=sys.stderr)
        why = "apt-get failed, see above"
        absent = missing(absent)
        if not absent:
            return 0
    print("not installed:", *absent)
    print(f"  because {why}; the tests that need them are left out, each with its reason.", flush=True)
    return 1 if os.environ.get("CI") == "true" else 0


if __name__ == "__main__":
    sys.exit(main())
