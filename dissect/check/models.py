# SPDX-License-Identifier: GPL-2.0-or-later
"""A model server of the lab as a target: its settings and faults as a suite's table has them.

::

    [target.before-the-cure]
    model = "SpiceServer"
    settings = { judges_after = 16 }
    faults = [{ kind = "Omit", message = "SpiceLinkReply" }]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from dissect.lab.models import Change, Cut, Endless, Late, Model, Omit, Parting, Peek, SpiceServer, VncServer
from dissect.lab.peers import Reader

MODELS: dict[str, type[Model]] = {"SpiceServer": SpiceServer, "VncServer": VncServer}
FAULTS: dict[str, type[Any]] = {one.__name__: one for one in (Change, Omit, Late, Cut, Endless)}


def model_from(read: Reader) -> Model:
    """The model of a target's table. Raises PeerTableError for a setting it does not have, or a wrong one."""
    name = read.string("model")
    if name not in MODELS:
        raise read.fail("model", f"no model {name!r}; there are {', '.join(MODELS)}")
    kind = MODELS[name]
    given: dict[str, Any] = {}
    settings = read.below("settings")
    if settings is not None:
        known = [one.name for one in fields(kind) if one.name not in ("faults", "pace")]
        settings.only(*known)
        for key, value in settings.data.items():
            given[key] = _value(settings, kind, key, value)
    faults = read.data.get("faults", [])
    if not isinstance(faults, list):
        raise read.fail("faults", "must be a list of tables")
    given["faults"] = tuple(_fault(read, one) for one in faults)
    try:
        model = kind(**given)
        model.start()
    except (TypeError, ValueError) as error:
        raise read.fail("settings", str(error)) from None
    return model


def _value(read: Reader, kind: type[Model], key: str, value: Any) -> Any:
    """A value as the model has it: of the kind of its default, lists as tuples."""
    if key == "parting":
        return _parting(read, key, value)
    if key == "peek":
        if not isinstance(value, dict) or not set(value) <= {"known", "size", "ns"}:
            raise read.fail(key, "must be a table with known (a list of strings), size and ns")
        known = {"known": tuple(one.encode() for one in value["known"])} if "known" in value else {}
        return Peek(**{**value, **known})
    if key == "channel_caps":
        if not isinstance(value, dict):
            raise read.fail(key, "must be a table: channel type = list of words")
        return {int(number): tuple(words) for number, words in value.items()}
    [default] = [one.default for one in fields(kind) if one.name == key]
    made = _tuples(value)
    if default is not MISSING and default is not None and type(made) is not type(default):
        raise read.fail(key, f"must be like {default!r}, not {value!r}")
    return made


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value


def _parting(read: Reader, key: str, value: Any) -> Parting:
    if value not in list(Parting):
        raise read.fail(key, f"must be one of {', '.join(Parting)}, not {value!r}")
    return Parting(value)


def _fault(read: Reader, table: Any) -> Any:
    if not isinstance(table, Mapping) or table.get("kind") not in FAULTS:
        raise read.fail("faults", f"each must be a table with kind, one of {', '.join(FAULTS)}")
    values = {key: value for key, value in table.items() if key != "kind"}
    if "then" in values:
        values["then"] = _parting(read, "faults.then", values["then"])
    try:
        return FAULTS[table["kind"]](**values)
    except TypeError as error:
        raise read.fail("faults", str(error)) from None
