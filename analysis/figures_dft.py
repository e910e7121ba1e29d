"""F12, F13, T2 and one objective against another: training on maths problems. The numbers are those of
`offmodel.math_training`."""

from itertools import cycle

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from analysis.layout import Margins, panels
from analysis.legends import LEGEND_LINE, legend_above, legend_lines
from analysis.load import NothingToDrawError, Results
from analysis.style import COLUMN_WIDTH, GREY, PAGE_WIDTH, RC, condition
from offmodel.math_training import BIN_EDGES, READING, grid, progress
from offmodel.results import UNTRAINED

_DASHES = ["-", (0, (3, 1.5)), (0, (1, 1.2)), (0, (5, 1, 1, 1))]
_PANEL, _DODGE = 1.3, 0.012  # inches; share of the axis that points of one step stand apart
_APART = 1.03  # the same for points of one learning rate, as a factor


def f12_convergence(results: Results) -> Figure:
    """avg@k against optimiser steps, a panel for each task and a row for each student; below, where a grid was tried,
    its mean over the tasks against the learning rate, a line for each objective and batch size.

    Raises:
        NothingToDrawError: no student was trained on solutions.
    """
    table, tried = progress(results.scores), grid(results.items)
    if (table["step"] == 0).all():
        raise NothingToDrawError("no student was trained on solutions of problems")
    students = list(table["student"].unique())
    columns = int(table["task"].nunique())
    with mpl.rc_context(RC):
        width = PAGE_WIDTH if columns > 1 else COLUMN_WIDTH
        legend = legend_lines(_keys(table) + _batch_keys(tried), width - 0.2, 0.42)
        title = 0.28 if len(students) > 1 else 0.16
        margins = Margins(left=0.5, right=0.1, top=0.06 + LEGEND_LINE * len(legend) + title, bottom=0.36, across=0.18,
                          down=0.36 + title)  # fmt: skip
        kinds = 2 if len(tried) else 1
        caption = _caption(table, tried, results.items)
        figure, axes = panels(kinds * len(students), columns, width, _PANEL, margins, caption)
        for number, student in enumerate(students):
            own = axes[number * kinds * columns :]
            tasks = [rows for _, rows in table[table["student"] == student].groupby("task", sort=False)]
            for ax, rows in zip(own, tasks, strict=False):
                _steps(ax, rows, leftmost=ax is own[0])
                name = f"{rows['task_title'].iloc[0]} (n = {rows['n'].iloc[0]})"
                ax.set_title(f"{name}\n{student}" if len(students) > 1 else name, pad=4)
            for ax in own[len(tasks) : columns]:
                ax.remove()
            if kinds == 2:
                before = table[(table["student"] == student) & (table["arm"] == UNTRAINED)]
                _grid(own[columns], tried[tried["student"] == student], before["accuracy"].mean())
                for ax in own[columns + 1 : 2 * columns]:
                    ax.remove()
        legend_above(figure, legend, key_length=2.4)
    return figure


def f13_probabilities(results: Results) -> Figure:
    """Share of the tokens of the training problems' solutions, on a log axis, in each bin of the probability that a
    student gives them; a line for each arm and a panel for each student.

    Raises:
        NothingToDrawError: the training set was not read.
    """
    table = results.probabilities
    if table is None or not (table["reading"] == READING).any():
        raise NothingToDrawError("the training set was not read")
    table = table[table["reading"] == READING]
    counts = table.groupby(["reader", "arm", "low"], sort=False)["tokens"].sum()
    students = list(counts.index.unique("reader"))
    with mpl.rc_context(RC):
        arms = _in_order(counts.index.unique("arm"))
        legend = legend_lines([_key(arm) for arm in arms], COLUMN_WIDTH - 0.2, 0.42)
        margins = Margins(left=0.55, right=0.1, top=0.06 + LEGEND_LINE * len(legend) + 0.16 * (len(students) > 1),
                          bottom=0.36, down=0.5)  # fmt: skip
        each = int(table.groupby(["reader", "arm", "seed"])["tokens"].sum().max())
        caption = (
            f"Tokens of the solutions of the training problems ({each:,} for each student), by the probability that it "
            f"gives them. Empty bins are left out. In the last bin: {_last_bin(counts, arms)}."
        )
        figure, axes = panels(len(students), 1, COLUMN_WIDTH, 1.6, margins, caption)
        for ax, student in zip(axes, students, strict=True):
            for arm in arms:
                if len(own := counts[(counts.index.get_level_values("reader") == student)
                                     & (counts.index.get_level_values("arm") == arm)]):  # fmt: skip
                    _histogram(ax, arm, own.droplevel(["reader", "arm"]))
            if len(students) > 1:
                ax.set_title(student, pad=4)
        legend_above(figure, legend, key_length=2.4)
    return figure


def _last_bin(counts: pd.Series, arms: list[str]) -> str:
    """The shares that a log axis shows worst, and most tokens are in; over all students."""
    tokens = counts.groupby(level=["arm", "low"]).sum()
    return ", ".join(f"{condition(arm).label} {100 * tokens[arm].iloc[-1] / tokens[arm].sum():.0f} %" for arm in arms)


def _in_order(arms: pd.Index) -> list[str]:
    return sorted(arms, key=lambda arm: condition(arm).order)


def _key(arm: str) -> Line2D:
    look = condition(arm)
    return Line2D([], [], color=look.colour, marker=look.marker, markersize=3.5, linewidth=0.9, label=look.label)


def _keys(table: pd.DataFrame) -> list[Line2D]:
    return [_key(arm) for arm in _in_order(pd.Index(table["arm"].unique()))]


def _batch_keys(tried: pd.DataFrame) -> list[Line2D]:
    return [
        Line2D([], [], color=GREY, linewidth=0.9, linestyle=dashes, label=f"batch {size:g}")
        for size, dashes in zip(sorted(tried["batch_size"].unique()), cycle(_DASHES), strict=False)
    ]


def _reference(ax: Axes, untrained: float, gid: str) -> None:
    ax.axhline(100 * untrained, color="black", linewidth=0.6, linestyle=":", zorder=0, gid=gid)


def _steps(ax: Axes, rows: pd.DataFrame, leftmost: bool) -> None:
    start = rows[rows["arm"] == UNTRAINED].iloc[0]
    last = int(rows["step"].max())
    ax.axhspan(100 * start["low"], 100 * start["high"], color="black", alpha=0.08, linewidth=0, zorder=-1)
    _reference(ax, start["accuracy"], "untrained")
    arms = [arm for arm in _in_order(pd.Index(rows["arm"].unique())) if arm != UNTRAINED]
    for number, arm in enumerate(arms):
        own, look = rows[rows["arm"] == arm].sort_values("step"), condition(arm)
        x = own["step"] + last * _DODGE * (number - (len(arms) - 1) / 2)
        ax.plot([0, *x], 100 * np.array([start["accuracy"], *own["accuracy"]]), color=look.colour, linewidth=0.9,
                zorder=2)  # fmt: skip
        ax.vlines(x, 100 * own["low"], 100 * own["high"], colors=look.colour, linewidth=0.7, zorder=2)
        ax.plot(x, 100 * own["accuracy"], look.marker, color=look.colour, markersize=3.5, zorder=3, gid=f"steps-{arm}")
    ax.plot([0], [100 * start["accuracy"]], condition(UNTRAINED).marker, color="black", markersize=3.5, zorder=4)
    ax.set_xticks(sorted({0, *rows["step"]}))
    ax.set(xlim=(-0.05 * last, 1.05 * last), xlabel="optimiser steps", ylim=(max(0.0, ax.get_ylim()[0]), None))
    ax.xaxis.labelpad = ax.yaxis.labelpad = 1
    if leftmost:
        ax.set_ylabel("accuracy (%)")


def _grid(ax: Axes, tried: pd.DataFrame, untrained: float) -> None:
    sizes = sorted(tried["batch_size"].unique())
    lines = [(arm, look) for arm in _in_order(pd.Index(tried["arm"].unique())) for look in zip(sizes, cycle(_DASHES))]
    for number, (arm, (size, dashes)) in enumerate(lines):
        look = condition(arm)
        own = tried[(tried["arm"] == arm) & (tried["batch_size"] == size)].sort_values("learning_rate")
        x = own["learning_rate"] * _APART ** (number - (len(lines) - 1) / 2)
        ax.plot(x, 100 * own["accuracy"], look.marker, markersize=3, color=look.colour, linewidth=0.9,
                linestyle=dashes, gid=f"grid-{arm}-{size:g}")  # fmt: skip
        bars = ax.vlines(x, 100 * own["low"], 100 * own["high"], colors=look.colour, linewidth=0.7)
        bars.set_gid(f"spread-{arm}-{size:g}")
    _reference(ax, untrained, "grid-untrained")
    rates = sorted(tried["learning_rate"].unique())
    ax.set_xscale("log")
    ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set(xlabel="learning rate", ylabel="accuracy (%)", ylim=(max(0.0, ax.get_ylim()[0]), None))
    ax.xaxis.labelpad = ax.yaxis.labelpad = 1


def _histogram(ax: Axes, arm: str, tokens: pd.Series) -> None:
    look = condition(arm)
    share = 100 * tokens.sort_index() / tokens.sum()
    ax.plot(range(len(share)), share.where(share > 0), look.marker, linestyle="-", markersize=3, linewidth=0.9,
            color=look.colour, gid=f"share-{arm}")  # fmt: skip
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    small = {1e-4: "$10^{-4}$", 1e-3: "$10^{-3}$"}
    names = [small.get(edge, f"{edge:g}") for edge in BIN_EDGES]
    ax.set_xticks([place - 0.5 for place in range(len(names))], names)
    ax.tick_params(axis="x", labelsize=5.5)
    ax.set(xlabel="probability (edges of the bins)", ylabel="tokens (%)")
    ax.xaxis.labelpad = ax.yaxis.labelpad = 1


def _caption(table: pd.DataFrame, tried: pd.DataFrame, items: pd.DataFrame) -> str:
    students, seeds = table["student"].unique(), int(table["seeds"].max())
    who = f"Student {students[0]}" if len(students) == 1 else f"{len(students)} students"
    k = int(items["sample"].nunique())
    parts = [f"{who}, trained on the solutions of problems; {f'mean of {seeds} seeds' if seeds > 1 else 'one seed'}.",
             f"Accuracy: mean of {k} sampled answers to each problem (avg@{k}); bars and band: 95 % intervals over",
             "problems (Wilson); dotted: untrained."]  # fmt: skip
    if len(tried):
        several = f", mean over {int(tried['tasks'].max())} tasks" if tried["tasks"].max() > 1 else ""
        parts += [f"Below: at the end of training, by learning rate and batch size{several}."]
    return " ".join(parts)
