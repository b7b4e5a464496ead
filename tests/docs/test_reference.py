# SPDX-License-Identifier: GPL-2.0-or-later
"""The reference says all that there is, and Markdown says what was meant."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dissect import firstbyte
from dissect.app import main as app
from dissect.app.commands import schema
from dissect.rfb.messages import MESSAGES as RFB_MESSAGES
from dissect.spice.channels.base import BODIES
from dissect.spice.constants import MESSAGES as SPICE_MESSAGES
from tools import pictures, reference

PAGES = reference.pages()


@pytest.mark.parametrize("name", app.COMMANDS)
def test_every_command_has_its_page_with_every_option(name: str) -> None:
    parser = app.build_parser(app.COMMANDS)
    (commands,) = (action.choices for action in parser._actions if isinstance(action.choices, dict))
    page = PAGES[f"commands/{name}"]
    options = [option for option in commands[name]._option_string_actions if option not in ("-h", "--help")]
    assert [option for option in options if f"`{option}" not in page] == []
    assert f"[firstbyte {name}]({name}.md)" in PAGES["commands/index"]


@pytest.mark.parametrize("name", schema.names())
def test_every_key_of_every_schema_is_there(name: str) -> None:
    page = PAGES[f"schemas/{name}"]
    for part in [schema.load(name), *schema.load(name).get("oneOf", ())]:
        assert [key for key in part.get("properties", ()) if f"| `{key}" not in page] == []


def test_every_message_of_rfb_is_there_with_its_number_and_fields() -> None:
    for side, classes in RFB_MESSAGES.items():
        for number, cls in classes.items():
            found = section(PAGES[f"rfb/{side}"], f"## `{cls.title()}`")
            assert f"Type {number}" in found
            for field in cls.fields_desc:
                assert f"| `{field.name}` |" in found


def test_every_message_of_spice_is_there_with_its_number_and_fields() -> None:
    every = [page for name, page in PAGES.items() if name.startswith("spice/")]

    def told(name: str) -> list[str]:
        return [section(page, f"### `{name}`") for page in every if f"### `{name}`\n" in page]

    for sides in SPICE_MESSAGES.values():
        for numbers in sides.values():
            for number, name in numbers.items():
                assert any(f"Type {number}" in one for one in told(name)), name
    for cls in BODIES.values():
        assert all(f"| `{field.name}` |" in one for one in told(cls.title()) for field in cls.fields_desc)


def test_a_structure_is_a_link_away() -> None:
    assert "| `pixel_format` | [`PIXEL_FORMAT`](structures.md#pixel_format) |" in PAGES["rfb/client"]
    for name, page in PAGES.items():
        for anchor in re.findall(r"\]\(structures\.md#(\w+)\)", page):
            headings = re.findall(r"^## `(\w+)`$", PAGES[f"{name.partition('/')[0]}/structures"], re.M)
            assert anchor in [heading.lower() for heading in headings], (name, anchor)


def section(page: str, heading: str) -> str:
    """The part of a page below a heading, up to the next one."""
    return page.partition(f"{heading}\n")[2].partition("\n#")[0]


def test_every_public_name_of_the_library_is_there() -> None:
    for name in firstbyte.__all__:
        assert f"## `{name}`\n" in PAGES["python"]
        assert f"dissect.firstbyte.{name}" in PAGES["python"]


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("a_b *c* <d> | e", r"a\_b \*c\* \<d\> \| e"),
        ("two\n  lines", "two lines"),
    ],
)
def test_escape(text: str, markdown: str) -> None:
    assert reference.escape(text) == markdown


def test_prose_keeps_code() -> None:
    assert reference.prose("use `a_b|c` in a_b") == r"use `a_b\|c` in a\_b"


def test_an_example_becomes_a_block_of_code() -> None:
    text = "Does it.\n\n>>> f(1)  # doctest: +ELLIPSIS\n2\n\nThat is all."
    assert reference.markdown(text) == "Does it.\n\n\n```pycon\n>>> f(1)\n2\n```\n\nThat is all."


def test_pages_are_written_where_they_differ_and_removed_where_they_are_gone(tmp_path: Path) -> None:
    (tmp_path / "old.md").write_text("old")
    assert len(reference.write(tmp_path)) == len(PAGES)
    assert not (tmp_path / "old.md").exists()
    assert reference.write(tmp_path) == []
    (tmp_path / "python.md").write_text("changed")
    assert reference.write(tmp_path) == [tmp_path / "python.md"]


def test_nothing_of_this_machine_is_in_it() -> None:
    assert "here 2)" not in "".join(PAGES.values())
    assert [name for name, page in PAGES.items() if str(reference.ROOT) in page] == []


def test_pictures_follow_the_theme_and_fetch_nothing(tmp_path: Path) -> None:
    assert len(pictures.write(tmp_path)) == len(pictures.LADDERS) + 1
    assert pictures.write(tmp_path) == []
    for path in tmp_path.iterdir():
        text = path.read_text("utf-8")
        assert '[data-theme="dark"] .fb' in text
        assert "src=" not in text
        assert "@import" not in text
        assert "url(http" not in text
