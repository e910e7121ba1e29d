"""A legend of several lines above the panels of a figure, placed in inches."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.layout import text_width
from analysis.style import RC

LEGEND_LINE = 0.155  # inches


def legend_lines(keys: Sequence[Line2D], width: float, room: float) -> list[list[Line2D]]:
    """The keys in lines no wider than `width` inches; `room` inches go to each key's line or marker and its gaps."""
    lines: list[list[Line2D]] = []
    for key in keys:
        longer = [*lines[-1], key] if lines else [key]
        fits = sum(text_width(str(one.get_label()), RC["legend.fontsize"]) + room for one in longer) <= width
        lines = [*lines[:-1], longer] if lines and fits else [*lines, [key]]
    return lines


def legend_above(figure: Figure, lines: Sequence[Sequence[Line2D]], key_length: float) -> None:
    """Draw these lines from the top of the figure down; `key_length` is that of a key, in font sizes."""
    width, height = figure.get_size_inches()
    for number, line in enumerate(lines):
        place = (0.1 / width, 1 - (0.04 + LEGEND_LINE * number) / height)
        figure.legend(handles=list(line), loc="upper left", bbox_to_anchor=place, ncols=len(line), borderaxespad=0,
                      borderpad=0, handletextpad=0.3, columnspacing=0.8, handlelength=key_length)  # fmt: skip
