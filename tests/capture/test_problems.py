# SPDX-License-Identifier: GPL-2.0-or-later
"""One line for what is wrong, whatever the name of the file."""

from __future__ import annotations

import pickle

from dissect.capture.problems import CaptureError, Problem, words_of


def test_an_error_survives_the_way_to_another_process() -> None:
    error = pickle.loads(pickle.dumps(CaptureError("f", 7, "why")))
    assert (str(error), error.offset) == ("f: at byte 7: why", 7)


def test_a_problem_is_one_line() -> None:
    assert str(Problem("a\nb\x1b", 3, "tab\there")) == "a\\nb\\x1b: at byte 3: tab\\there"


def test_the_words_of_the_operating_system() -> None:
    assert words_of(FileNotFoundError(2, "No such file or directory")) == "no such file or directory"
    assert words_of(IsADirectoryError(21, "Is a directory")) == "a directory, not a capture"
    assert words_of(ValueError()) == "valueError"
