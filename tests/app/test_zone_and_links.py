# SPDX-License-Identifier: GPL-2.0-or-later
"""Times in a zone one can choose, and names of files that lead to them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dissect.app import main as app
from dissect.app import terminal
from tests.app.captures import CURE, START, write
from tests.app.terminals import on_a_terminal

SUMMER = 1_500_000_000_123_456_789  # 2017-07-14 02:40:00 UTC
LINK = "\x1b]8;;file://"


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("FIRSTBYTE_TZ", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    yield
    terminal.choose_zone("UTC")


@pytest.mark.parametrize(
    ("zone", "winter", "summer"),
    [
        ("UTC", "2017-01-25 14:03:11.000000 UTC", "2017-07-14 02:40:00.123456 UTC"),
        ("Europe/Berlin", "2017-01-25 15:03:11.000000+01:00", "2017-07-14 04:40:00.123456+02:00"),
        ("Asia/Kolkata", "2017-01-25 19:33:11.000000+05:30", "2017-07-14 08:10:00.123456+05:30"),
        ("America/St_Johns", "2017-01-25 10:33:11.000000-03:30", "2017-07-14 00:10:00.123456-02:30"),
    ],
)
def test_a_time_says_its_zone(zone: str, winter: str, summer: str) -> None:
    terminal.choose_zone(zone)
    assert (terminal.timestamp(START), terminal.timestamp(SUMMER)) == (winter, summer)
    assert terminal.clock(SUMMER) == summer[11:26]


def test_the_zone_of_the_environment_gives_way_to_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRSTBYTE_TZ", "Asia/Tokyo")
    terminal.choose_zone(None)
    assert terminal.timestamp(START).endswith("+09:00")
    terminal.choose_zone("UTC")
    assert terminal.timestamp(START).endswith(" UTC")


def test_local_is_that_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "XYZ-7")
    time.tzset()
    try:
        terminal.choose_zone("local")
        assert terminal.timestamp(START) == "2017-01-25 21:03:11.000000+07:00"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("ns", [-(1 << 90), 1 << 90, -62_135_596_800_000_000_000])
def test_no_zone_stumbles_over_a_time_that_is_none(ns: int) -> None:
    for zone in ("UTC", "local", "America/New_York"):
        terminal.choose_zone(zone)
        assert terminal.timestamp(ns)


@pytest.mark.parametrize("zone", ["Nowhere/Land", "../../etc/passwd", "Europe", "", "\0", "a" * 5000])
def test_a_wrong_zone_is_one_line_and_exit_code_2(
    zone: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capture = str(write(tmp_path / "x.pcapng", CURE))
    assert app.main(["show", f"--tz={zone}", capture]) == app.UNUSABLE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("firstbyte: no time zone ")
    assert err.count("\n") == 1


def test_a_wrong_zone_in_the_environment_says_where_it_is_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRSTBYTE_TZ", "Mars/Phobos")
    assert app.main(["show", str(write(tmp_path / "x.pcapng", CURE))]) == app.UNUSABLE
    assert capsys.readouterr().err == "firstbyte: no time zone 'Mars/Phobos' (from FIRSTBYTE_TZ)\n"


def test_commands_show_that_zone_and_json_stays_what_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capture = str(write(tmp_path / "x.pcapng", CURE))
    assert app.main(["show", "--tz", "Europe/Berlin", capture]) == 0
    assert "  2017-01-25 15:03:11.000000+01:00\n" in capsys.readouterr().out
    assert app.main(["verdict", "--when", "--tz", "Europe/Berlin", capture]) == 0
    assert "    began 2017-01-25 15:03:11.000000+01:00: the client spoke RFB" in capsys.readouterr().out
    assert app.main(["verdict", "--json", "--tz", "Europe/Berlin", capture]) == 0
    assert json.loads(capsys.readouterr().out)["start_ns"] == START


def test_a_link_names_host_and_path(tmp_path: Path) -> None:
    two = [str(write(tmp_path / name, CURE)) for name in ("a b.pcapng", "ü.pcapng")]
    seen = on_a_terminal("verdict", *two)
    assert seen.code == 0
    for path, quoted in zip(two, ("a%20b.pcapng", "%C3%BC.pcapng"), strict=True):
        assert f"{LINK}{os.uname().nodename}{tmp_path}/{quoted}\x1b\\" in seen.screen
        assert f"{path}\x1b[0m\x1b]8;;\x1b\\" in seen.screen


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        ([], {"NO_COLOR": "1"}),
        ([], {"TERM": "dumb"}),
        ([], {"TERM": "linux"}),
        (["--color", "never"], {}),
    ],
    ids=str,
)
def test_no_link_where_none_is_wanted(words: list[str], environment: dict[str, str], tmp_path: Path) -> None:
    two = [str(write(tmp_path / name, CURE)) for name in ("a.pcapng", "b.pcapng")]
    seen = on_a_terminal("verdict", *two, *words, environment=environment)
    assert two[0] in seen.screen
    assert "\x1b]8" not in seen.screen


def test_no_link_in_a_pipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two = [str(write(tmp_path / name, CURE)) for name in ("a.pcapng", "b.pcapng")]
    assert app.main(["verdict", "--color", "always", *two]) == 0
    out = capsys.readouterr().out
    assert "\x1b[" in out
    assert "\x1b]8" not in out
