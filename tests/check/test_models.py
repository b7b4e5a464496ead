# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings and faults of a model, from a table."""

from __future__ import annotations

from typing import Any

import pytest

from dissect.check.models import model_from
from dissect.lab.errors import PeerTableError
from dissect.lab.models import Cut, Omit, Parting, Peek, SpiceServer, VncServer
from dissect.lab.peers import Reader


def model(**table: Any) -> object:
    return model_from(Reader("suite.toml", "target.t", table))


def test_settings_and_faults() -> None:
    assert model(
        model="VncServer", settings={"security_types": [1, 2], "peek": {"known": ["GET "]}}
    ) == VncServer(security_types=(1, 2), peek=Peek(known=(b"GET ",)))
    found = model(
        model="SpiceServer",
        settings={"parting": "hang", "channel_caps": {"1": [15]}},
        faults=[
            {"kind": "Omit", "message": "SpiceLinkReply"},
            {"kind": "Cut", "message": "SpiceLinkReply", "after": 3, "then": "reset"},
        ],
    )
    assert isinstance(found, SpiceServer)
    assert found.parting is Parting.HANG
    assert dict(found.channel_caps) == {1: (15,)}
    assert found.faults == (Omit("SpiceLinkReply"), Cut("SpiceLinkReply", 3, Parting.RESET))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"model": "Other"}, "no model 'Other'"),
        (
            {"model": "VncServer", "settings": {"widht": 3}},
            "settings.widht: unknown key; did you mean 'width'?",
        ),
        ({"model": "VncServer", "settings": {"width": "3"}}, "settings.width: must be like 64"),
        ({"model": "VncServer", "settings": {"parting": "leave"}}, "settings.parting: must be one of close"),
        ({"model": "VncServer", "settings": {"peek": 3}}, "settings.peek: must be a table"),
        ({"model": "VncServer", "faults": [{"kind": "Explode"}]}, "each must be a table with kind"),
        ({"model": "VncServer", "faults": [{"kind": "Omit"}]}, "missing 1 required"),
        ({"model": "VncServer", "faults": 3}, "must be a list"),
    ],
)
def test_a_wrong_one_is_named(table: dict[str, Any], words: str) -> None:
    with pytest.raises(PeerTableError) as caught:
        model(**table)
    assert words in str(caught.value)
    assert str(caught.value).startswith("suite.toml: [target.t] ")
