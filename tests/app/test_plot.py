# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte plot`: which picture, where it goes, and one line where there is none."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from dissect.app.main import INCONCLUSIVE, PASS, UNUSABLE, main
from dissect.lab.collection import sha256, store
from dissect.stream import Side
from tests.app.captures import CURE, FAST, HANG, write
from tests.dissection.conversations import GREETING, MS, Step

AGREED: list[Step] = [(Side.SERVER, GREETING, MS), (Side.CLIENT, GREETING, 2 * MS)]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def svg_words(path: str | Path) -> str:
    root = ElementTree.parse(path).getroot()
    return "\n".join("".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text"))


def test_one_conversation_is_a_ladder(capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("one.pcapng"), CURE)
    assert main(["plot", "one.pcapng"]) == PASS
    assert capsys.readouterr() == ("firstbyte-ladder.png\n", "")
    assert Path("firstbyte-ladder.png").read_bytes().startswith(PNG)
    assert [path.name for path in Path().iterdir() if path.suffix == ".png"] == ["firstbyte-ladder.png"]


def test_several_are_detection_times(capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("three.pcapng"), CURE, FAST, HANG)
    assert main(["plot", "three.pcapng"]) == PASS
    assert capsys.readouterr() == ("firstbyte-detection.png\n", "")
    assert Path("firstbyte-detection.png").read_bytes().startswith(PNG)


def test_captures_with_one_conversation_each_are_several(capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("a.pcapng"), CURE)
    Path("sub").mkdir()
    write(Path("sub/a.pcapng"), FAST)
    assert main(["plot", "a.pcapng", "sub/a.pcapng", "-o", "x.svg", "--json"]) == PASS
    out, err = capsys.readouterr()
    assert json.loads(out) == {"path": "x.svg", "kind": "detection", "conversations": 2, "observations": 4}
    assert err == ""
    text = svg_words("x.svg")
    assert "in 2 captures" in text
    assert "sub/a.pcapng, #0" in text  # two files of one name are told apart


def test_one_of_several_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("three.pcapng"), CURE, FAST, HANG)
    assert main(["plot", "three.pcapng", "--conversation", "1", "-o", "x.SVG", "--json"]) == PASS
    result = json.loads(capsys.readouterr().out)
    assert (result["kind"], result["conversations"], result["observations"]) == ("ladder", 1, 2)
    text = svg_words("x.SVG")
    assert "The client spoke SPICE, the server spoke RFB" in text
    assert "three.pcapng, conversation 1" in text


def test_the_kind_can_be_chosen() -> None:
    write(Path("one.pcapng"), CURE)
    assert main(["plot", "one.pcapng", "--kind", "detection", "-o", "x.svg"]) == PASS
    assert "2 observations of 1 conversation in one.pcapng" in svg_words("x.svg")


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    data = write(Path("one.pcapng"), CURE).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert main(["plot", "-", "-o", "x.svg"]) == PASS
    assert "standard input, conversation 0" in svg_words("x.svg")


def test_an_agreement_is_a_ladder_but_no_detection(capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("one.pcapng"), AGREED)
    assert main(["plot", "one.pcapng", "-o", "x.svg"]) == PASS
    assert "Both sides spoke RFB" in svg_words("x.svg")
    capsys.readouterr()
    assert main(["plot", "one.pcapng", "--kind", "detection", "-o", "y.png", "--json"]) == INCONCLUSIVE
    assert capsys.readouterr() == (
        "",
        "firstbyte: nothing to plot: no side had anything to notice (1 conversation)\n",
    )
    assert not Path("y.png").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["text.txt"], "text.txt: at byte 0: "),
        (["no/such.pcap"], "no/such.pcap: "),
        (["."], ".: "),
        (["two.pcapng", "-o", "x.pdf"], "x.pdf: a picture's name ends in .png or .svg"),
        (["two.pcapng", "-o", ""], "a picture's name ends in .png or .svg"),
        (["two.pcapng", "-o", "-"], "a picture's name ends in .png or .svg"),
        (["two.pcapng", "-o", "no/such/x.png"], "no/such/x.png: No such file or directory"),
        (["two.pcapng", "--kind", "ladder"], "there are 2 conversations: choose with --conversation N"),
        (["two.pcapng", "two.pcapng", "--kind", "ladder", "--conversation", "1"], "name one capture"),
        (["two.pcapng", "--conversation", "7"], "two.pcapng: no conversation 7 in this capture"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("text.txt").write_text("not a capture, but words\n" * 10)
    write(Path("two.pcapng"), CURE, FAST)
    before = set(Path().iterdir())
    assert main(["plot", *words]) == UNUSABLE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("firstbyte: ")
    assert err.count("\n") == 1
    assert line in err
    assert set(Path().iterdir()) == before  # no half of a picture


def test_a_cut_capture_gives_a_picture_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    data = write(Path("one.pcapng"), CURE).read_bytes()
    Path("cut.pcapng").write_bytes(data[:-70])
    assert main(["plot", "cut.pcapng", "-o", "x.png"]) == PASS
    out, err = capsys.readouterr()
    assert out == "x.png\n"
    assert err.startswith("firstbyte: cut.pcapng: at byte ")
    assert err.count("\n") == 1


def test_an_index_beside_the_capture_names_the_programs() -> None:
    path = write(Path("one.pcapng"), CURE)
    entry = {
        "file": path.name,
        "client": "gvncviewer",
        "server": "qemu-spice",
        "versions": {"gvncviewer": "1.3.1", "qemu-spice": "7.2.22"},
        "sha256": sha256(path),
    }
    store(Path(), [entry])
    assert main(["plot", "one.pcapng", "-o", "x.svg"]) == PASS
    assert {"gvncviewer 1.3.1", "qemu-spice 7.2.22"} <= set(svg_words("x.svg").splitlines())
    write(Path("one.pcapng"), FAST)  # another conversation under the same name
    assert main(["plot", "one.pcapng", "-o", "x.svg"]) == PASS
    assert "gvncviewer" not in svg_words("x.svg")


@pytest.mark.parametrize("text", ["[[capture]]\nfile = 1\n", "capture = 3\n", "not toml", "\0"])
def test_an_index_of_something_else_is_no_obstacle(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("one.pcapng"), CURE)
    Path("index.toml").write_text(text)
    assert main(["plot", "one.pcapng", "-o", "x.svg"]) == PASS
    assert capsys.readouterr() == ("x.svg\n", "")
