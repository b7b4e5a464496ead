# SPDX-License-Identifier: GPL-2.0-or-later
"""What lies at a path, also where nobody may look; one such capture is no reason to leave the others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dissect.app import main as app
from dissect.app.looking import is_file, is_folder, is_pipe, is_there
from tests.app.captures import CURE, FAST, write


def test_what_is_there(tmp_path: Path) -> None:
    file, pipe, link = tmp_path / "file", tmp_path / "pipe", tmp_path / "link"
    file.write_bytes(b"")
    os.mkfifo(pipe)
    link.symlink_to(file)
    found = {
        path.name: [test(path) for test in (is_file, is_folder, is_pipe, is_there)]
        for path in (file, link, tmp_path / ".", pipe, tmp_path / "none", file / "below")
    }
    assert found == {
        "file": [True, False, False, True],
        "link": [True, False, False, True],
        tmp_path.name: [False, True, False, True],
        "pipe": [False, False, True, True],
        "none": [False] * 4,
        "below": [False] * 4,
    }
    assert not is_file("nul\0inside")


@pytest.mark.parametrize("words", [["verdict"], ["verdict", "--merge"], ["report", "-o", "r.html"]])
def test_a_folder_that_may_not_be_entered_hides_its_captures_alone(words: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    hidden, other = write(folder / "x.pcapng", FAST), write(tmp_path / "y.pcapng", CURE)
    folder.chmod(0)
    # Root may enter any folder, but without its capabilities.
    humbled = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*humbled, sys.executable, "-m", "dissect.app.main", *words, str(hidden), str(other)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    folder.chmod(0o700)
    assert done.returncode == app.PASS, done.stderr
    assert done.stderr == f"firstbyte: {hidden}: at byte 0: permission denied\n"
    assert "agreed" in done.stdout or "wrong" in done.stdout
