# SPDX-License-Identifier: GPL-2.0-or-later
"""The pictures: matplotlib figures, made and saved without pyplot and without global state.

    sheet       paper, ink and type: colours, measured text, saving; shared by both pictures
    ladders     one conversation as a ladder: two lifelines, a rung for each message
    detections  the detection times of many conversations on a logarithmic axis
    matrices    clients x servers: a map of times, every trial pair by pair, curves of who has noticed
    stairs      bytes to detection, server by server
    roundtrips  what grows with the round trip, pair by pair

Importing this package imports matplotlib (and numpy with it): import it in the function that draws.
"""

from dissect.timing.plots.detections import detection_times
from dissect.timing.plots.ladders import ladder
from dissect.timing.plots.matrices import before_after, curves, heat_map
from dissect.timing.plots.roundtrips import round_trips
from dissect.timing.plots.sheet import FORMATS, save
from dissect.timing.plots.stairs import staircase

__all__ = [
    "FORMATS",
    "before_after",
    "curves",
    "detection_times",
    "heat_map",
    "ladder",
    "round_trips",
    "save",
    "staircase",
]
