"""A panel for every student, teacher and task, and what the figures of the interventions share: bands, axis, legend."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.layout import CAPTION_SIZE, Margins, axes_width, panels, spread
from analysis.legends import LEGEND_LINE, legend_above, legend_lines
from analysis.style import COLUMN_WIDTH, PAGE_WIDTH, Condition, condition

KEY_LENGTH, KEY_ROOM = 1.6, 0.36  # of a key in a legend: its line in font sizes; with its gaps, in inches
_TALLEST = 7.2  # inches of a page that the rows of panels may take
_DODGE = 0.05  # inches between two points of the same place


def pair_panels(
    table: pd.DataFrame, keys: Sequence[Line2D], caption: str, *, beside: float = 0.0, below: float = 0.0
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """A figure with a panel for each student, `after` and task of the table, and the rows of each; titled, with legend.

    A row of panels for each pair where there are two or three tasks. `beside` and `below`: inches that a panel needs on
    its right and below its tick labels.
    """
    groups = [group for _, group in table.groupby(["student", "after", "task"], sort=False)]
    several = table.groupby(["student", "after"]).ngroups > 1
    tasks = table["task"].nunique()
    columns = tasks if 1 < tasks <= 3 else min(3, len(groups))
    rows = math.ceil(len(groups) / columns)
    width = PAGE_WIDTH if len(groups) > 1 else COLUMN_WIDTH
    lines = legend_lines(keys, width - 0.2, KEY_ROOM)
    title = 0.26 if several else 0.14
    margins = Margins(left=0.55, right=0.08 + beside, top=0.08 + LEGEND_LINE * len(lines) + title, bottom=0.36 + below,
                      across=0.42 + beside, down=0.3 + below + title)  # fmt: skip
    height = min(1.5, (_TALLEST - (rows - 1) * margins.down) / rows)
    figure, axes = panels(rows, columns, width, height, margins, caption)
    for ax in axes[len(groups) :]:
        ax.remove()
    for ax, group in zip(axes, groups, strict=False):
        first = group.iloc[0]
        text = f"{first['task_title']} (n = {group['n'].max()})"
        if several:
            text = f"{first['task_title']}: {first['student']}\ntaught by {first['after']}"
        ax.set_title(text, pad=4)
    legend_above(figure, lines, KEY_LENGTH)
    return figure, list(zip(axes, groups, strict=False))


def label_axes(panels_: Sequence[Axes], labels: Sequence[str], xlabel: str, pad: float = 0.0) -> None:
    """The y label where it is not that of the panel to the left, the x label below the last panel of each column."""
    left = {round(ax.get_position().x0, 3) for ax in panels_}
    lowest = {x: min(ax.get_position().y0 for ax in panels_ if round(ax.get_position().x0, 3) == x) for x in left}
    for number, (ax, label) in enumerate(zip(panels_, labels, strict=True)):
        place = ax.get_position()
        if round(place.x0, 3) == min(left) or label != labels[number - 1]:
            ax.set_ylabel(label, labelpad=2)
        if place.y0 == lowest[round(place.x0, 3)]:
            ax.set_xlabel(xlabel, labelpad=2 + 72 * pad)


def log_axis(ax: Axes, values: Iterable[Any]) -> dict[int, float]:
    """Ticks at counts on a log2 axis, on which 0 stands apart to the left behind a break; the place of each count."""
    counts = sorted({int(value) for value in values})
    positive = [count for count in counts if count > 0]
    first = math.log2(positive[0]) if positive else 0.0
    step = min((math.log2(b / a) for a, b in pairwise(positive)), default=1.0)
    gap = max(1.0, min(2.0, step))
    places = {count: math.log2(count) if count else first - gap for count in counts}
    ax.set_xticks(list(places.values()), [f"{count:,}" for count in counts])
    ax.set_xlim(min(places.values()) - 0.4 * gap, max(places.values()) + 0.4 * gap)
    if 0 in places and positive:
        low, high = ax.get_xlim()
        x = (first - gap / 2 - low) / (high - low)
        slash: dict[str, Any] = {"marker": [(-0.6, -1), (0.6, 1)], "markersize": 5, "color": "black", "linestyle": ""}
        apart = 0.02 / axes_width(ax)
        ax.plot(
            [x - 2 * apart, x + 2 * apart], [0, 0], color="white", transform=ax.transAxes, clip_on=False, linewidth=2
        )
        ax.plot(
            [x - 2 * apart, x + 2 * apart], [0, 0], transform=ax.transAxes, clip_on=False, markeredgewidth=0.6, **slash
        )
    return places


def accuracy_limits(ax: Axes, rows: pd.DataFrame) -> None:
    """Limits in per cent of an axis with the column `accuracy` and its interval; markers at 0 % are seen whole."""
    top = min(100, 100 * rows["high"].max() + 4)
    ax.set_ylim(max(-0.03 * top, 100 * rows["low"].min() - 4), top)


def dodged(ax: Axes, number: int, of: int) -> float:
    """How far the points of line `number` stand from their place, so that no interval hides another; in data units."""
    low, high = ax.get_xlim()
    return (number - (of - 1) / 2) * _DODGE * (high - low) / axes_width(ax)


def band(ax: Axes, arm: str, value: float, low: float, high: float) -> None:
    """A reference across the panel: a dotted line with its interval."""
    colour = condition(arm).colour
    span = ax.axhspan(low, high, color=colour, alpha=0.13, linewidth=0, zorder=-1)
    span.set_gid(f"band-{arm}")
    ax.axhline(value, color=colour, linewidth=0.7, linestyle=":", zorder=0, gid=f"reference-{arm}")


def beside(ax: Axes, texts: Sequence[tuple[float, str, str]]) -> None:
    """Short texts (y, text, colour) at the right edge of a panel, kept apart."""
    low, high = ax.get_ylim()
    figure = ax.get_figure(root=True)
    inches = ax.get_position().height * (figure.get_figheight() if figure else 1.0)
    heights = spread([y for y, _, _ in texts], 0.1 * (high - low) / inches)
    for (_, text, colour), y in zip(texts, heights, strict=True):
        ax.text(1 + 0.04 / axes_width(ax), y, text, transform=ax.get_yaxis_transform(), color=colour, va="center",
                fontsize=CAPTION_SIZE, gid="beside")  # fmt: skip


def points(
    ax: Axes, look: Condition, x: Sequence[float], rows: pd.DataFrame, names: Sequence[str], scale: float
) -> None:
    """Points with intervals: `names` are the columns of the value and its two ends. What is cut off has a caret."""
    value, low, high = (scale * rows[name].astype(float) for name in names)
    reach = [(value - low).clip(lower=0), (high - value).clip(lower=0)]  # rounding can leave them a hair below 0
    ax.errorbar(x, value, yerr=reach, color=look.colour, marker=look.marker, linestyle="", elinewidth=0.7,
                markersize=5 if look.marker == "*" else 3.5, label=look.label)  # fmt: skip
    bottom, top = ax.get_ylim()
    below, above = [end < bottom for end in low], [end > top for end in high]
    for cut_off, edge, caret in [(below, bottom, "v"), (above, top, "^")]:
        at = [place for place, cut in zip(x, cut_off, strict=True) if cut]
        ax.plot(at, [edge] * len(at), caret, color=look.colour, markersize=2.5, clip_on=False, gid="cut")


def key(look: Condition) -> Line2D:
    """What stands for a condition in a legend."""
    return Line2D([], [], color=look.colour, marker=look.marker, markersize=3.5, linewidth=0.8, label=look.label)


def who(table: pd.DataFrame) -> str:
    """Student and teacher, or how many, and seeds: the first words of a caption."""
    students, teachers, seeds = table["student"].unique(), table["after"].unique(), int(table["seeds"].max())
    who_ = f"Student {students[0]}" if len(students) == 1 else f"{len(students)} students"
    who_ += f", teacher {teachers[0]}" if len(teachers) == 1 else f", {len(teachers)} teachers"
    return f"{who_}; {f'mean of {seeds} seeds' if seeds > 1 else 'one seed'}"


def counts(table: pd.DataFrame) -> str:
    """The tasks with their numbers of problems, where no title says them."""
    if table.groupby(["student", "after"]).ngroups == 1:
        return ""
    most = table.groupby(["task", "task_title"], sort=False, as_index=False)["n"].max()
    return ", ".join(f"{row.task_title} (n = {row.n})" for row in most.itertuples()) + ". "
