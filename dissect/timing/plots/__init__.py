# SPDX-License-Identifier: GPL-2.0-or-later
"""The pictures: matplotlib figures, made and saved without pyplot and without global state.

    sheet       paper, ink and type: colours, measured text, saving; shared by both pictures
    ladders     one conversation as a ladder: two lifelines, a rung for each message
    detections  the detection times of many conversations on a logarithmic axis

Importing this package imports matplotlib (and numpy with it): import it in the function that draws.
"""

from dissect.timing.plots.detections import detection_times
from dissect.timing.plots.ladders import ladder
from dissect.timing.plots.sheet import FORMATS, save

__all__ = ["FORMATS", "detection_times", "ladder", "save"]
