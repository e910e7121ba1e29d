"""F9b: does naming the foreign style in training keep it out? The numbers are `offmodel.inoculation`'s."""

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.layout import Margins, axes_width, panels, text_width
from analysis.legends import LEGEND_LINE, legend_above, legend_lines
from analysis.load import NothingToDrawError, Results
from analysis.pair_panels import KEY_LENGTH, KEY_ROOM, who
from analysis.style import BLACK, PAGE_WIDTH, RC, Condition, condition
from offmodel.inoculation import INOCULATION, PLAIN, inoculation_table
from offmodel.pairs import OFF_MODEL
from offmodel.results import UNTRAINED

_LABEL = RC["ytick.labelsize"]
_ROW, _TALLEST = 0.1, 7.0  # inches
# Rows of a framing, from the top: trained with the framing?, asked with it?, how it looks, its label.
_CELLS = [
    (True, False, condition(INOCULATION), False, "trained with, asked without"),
    (True, True, condition(INOCULATION), True, "trained and asked with"),
    (False, True, condition(OFF_MODEL), True, "trained without, asked with"),
    (None, True, condition("untrained_framed"), True, "untrained, asked with"),
]


def f9b_inoculation(results: Results) -> Figure:
    """Accuracy by framing: a panel for each task, a block of rows for each student and teacher, in it for each framing
    its 2×2. The fourth cell, plain off-model SFT, is a line down the block, and so is the untrained student. The last
    panel has how much likelier the framing makes the training data.

    Raises:
        NothingToDrawError: no student was trained with a framing, or plainly.
    """
    table = inoculation_table(results.items, results.likelihoods)
    if not table["trained_with"].notna().any() or (table["trained_with"].dropna() == PLAIN).all():
        raise NothingToDrawError("no student was trained with a framing")
    if table["off_model"].isna().any() or table["untrained"].isna().any():
        raise NothingToDrawError("a student has no untrained or no plain off-model answers to draw the others against")
    with mpl.rc_context(RC):
        return _f9b(table, results)


def _f9b(table: pd.DataFrame, results: Results) -> Figure:
    tasks = list(table.groupby("task", sort=False))
    gaps = table[table["nll_gap"].notna()].drop_duplicates(["student", "after", "framing"])
    places, headings, last = _places(table)
    keys = [_key(look, full, label) for _, _, look, full, label in _CELLS if _drawn(table, label)]
    lines = legend_lines(keys, PAGE_WIDTH - 0.2, KEY_ROOM)
    left = 0.14 + max(text_width(framing, _LABEL) for _, _, framing in places)
    margins = Margins(left=left, right=0.12, top=0.26 + LEGEND_LINE * len(lines), bottom=0.4, across=0.16)
    height = min(_ROW * (last + 1), _TALLEST)
    caption = _caption(table, gaps)
    figure, axes = panels(1, len(tasks) + bool(len(gaps)), PAGE_WIDTH, height, margins, caption)
    references = _ends(results)
    for ax, (_, rows) in zip(axes, tasks, strict=False):
        _cells(ax, rows, places, references)
        ax.set_title(f"{rows['task_title'].iloc[0]} (n = {rows['n'].max()})", pad=4)
        ax.set_xlabel("accuracy (%)")
    if len(gaps):
        _gaps(axes[-1], gaps, places)
    for ax in axes:
        ax.set_ylim(last + 0.5, -0.5)
        middles = {y + (len(_CELLS) - 1) / 2: framing for (_, _, framing), y in places.items()}
        ax.set_yticks(list(middles), list(middles.values()))
        ax.tick_params(axis="y", length=0, labelleft=ax is axes[0])
        ax.spines["left"].set_visible(False)
        ax.patch.set_visible(False)  # would hide the end of a heading
    for text, y in headings.items():
        x = -(left - 0.06) / axes_width(axes[0])
        axes[0].text(x, y, text, transform=axes[0].get_yaxis_transform(), va="center", fontsize=_LABEL, weight="bold")
    legend_above(figure, lines, KEY_LENGTH)
    return figure


def _places(table: pd.DataFrame) -> tuple[dict[tuple[str, str, str], float], dict[str, float], float]:
    """The first row of each student, teacher and framing; headings by text, for several pairs; the last row."""
    pairs = table.groupby(["student", "after"], sort=False)
    places: dict[tuple[str, str, str], float] = {}
    headings: dict[str, float] = {}
    y = 0.0
    for (student, after), rows in pairs:
        if pairs.ngroups > 1:
            y += 0.6 if headings else 0.0
            headings[f"{student}, taught by {after}"] = y
            y += 1.4
        for framing in rows["framing"].unique():
            places[str(student), str(after), str(framing)] = y
            y += len(_CELLS) + 0.8
    return places, headings, y - 1.4


def _drawn(table: pd.DataFrame, label: str) -> bool:
    return any(len(_cell(table, *cell[:2])) for cell in _CELLS if cell[-1] == label)


def _cell(rows: pd.DataFrame, trained: bool | None, asked: bool) -> pd.DataFrame:
    """The rows of one cell of the 2×2; `trained` is None for the untrained student."""
    known = rows["trained_with"].isna() if trained is None else rows["trained_with"].notna()
    with_ = known if trained is None else known & ((rows["trained_with"] != PLAIN) == trained)
    return rows[with_ & ((rows["asked_with"] != PLAIN) == asked)]


def _ends(results: Results) -> pd.DataFrame:
    """The scores of the two that are lines, with their intervals."""
    scores = results.scores
    plain = (scores["arm"] == INOCULATION) & (scores["trained_with"] == PLAIN) & (scores["asked_with"] == PLAIN)
    return scores[plain | (scores["arm"] == UNTRAINED)]


def _cells(ax: Axes, rows: pd.DataFrame, places: dict[tuple[str, str, str], float], references: pd.DataFrame) -> None:
    """One task: the cells of each framing, and the two lines with their bands down each pair's block."""
    for (student, after), own in rows.groupby(["student", "after"], sort=False):
        block = [y for (one, other, _), y in places.items() if (one, other) == (student, after)]
        ends = references[(references["student"] == student) & (references["task"] == own["task"].iloc[0])]
        for arm, look in [(UNTRAINED, condition(UNTRAINED)), (INOCULATION, condition(OFF_MODEL))]:
            same = ends[(ends["arm"] == arm) & (True if arm == UNTRAINED else ends["after"] == after)].iloc[0]
            heights = [min(block) - 0.5, max(block) + len(_CELLS) - 0.5]
            ax.fill_betweenx(heights, 100 * same["low"], 100 * same["high"], color=look.colour, alpha=0.13, linewidth=0)
            ax.plot([100 * same["accuracy"]] * 2, heights, color=look.colour, linewidth=0.7, linestyle=":", zorder=0,
                    gid=f"reference-{arm}")  # fmt: skip
        for framing, cells in own.groupby("framing", sort=False):
            for number, (trained, asked, look, full, _) in enumerate(_CELLS):
                for _, row in _cell(cells, trained, asked).iterrows():
                    y = places[str(student), str(after), str(framing)] + number
                    ax.plot([100 * row["low"], 100 * row["high"]], [y, y], color=look.colour, linewidth=0.8)
                    point = _key(look, full, "")
                    point.set(data=([100 * row["accuracy"]], [y]), gid=f"cell-{number}", zorder=3)
                    ax.add_line(point)
    ends = references[references["task"] == rows["task"].iloc[0]]
    low, high = (100 * pd.concat([rows[name], ends[name]]) for name in ("low", "high"))
    ax.set_xlim(max(0, low.min() - 4), min(100, high.max() + 4))
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))


def _gaps(ax: Axes, gaps: pd.DataFrame, places: dict[tuple[str, str, str], float]) -> None:
    ax.axvline(0, color=BLACK, linewidth=0.6, linestyle=":", zorder=0)
    for _, row in gaps.iterrows():
        y = places[row["student"], row["after"], row["framing"]] + (len(_CELLS) - 1) / 2
        ax.plot([row["nll_gap_low"], row["nll_gap_high"]], [y, y], color=BLACK, linewidth=0.8)
        ax.plot([row["nll_gap"]], [y], "o", color=BLACK, markersize=3.5, gid="gap")
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.set_title("training data", pad=4)
    ax.set_xlabel("NLL gap (nats a token)")


def _key(look: Condition, full: bool, label: str) -> Line2D:
    return Line2D([], [], linestyle="", label=label, color=look.colour, marker=look.marker, markersize=4,
                  markeredgewidth=0.8, markerfacecolor=look.colour if full else "white")  # fmt: skip


def _caption(table: pd.DataFrame, gaps: pd.DataFrame) -> str:
    parts = [f"{who(table)}. Off-model SFT with or without a framing of the prompts, asked with or without it.",
             "Lines and bands: untrained (black) and off-model SFT without it, both asked without it.",
             "Intervals: 95 %, over problems."]  # fmt: skip
    if len(gaps):
        parts += ["Right: by how much, on average, the framing makes a token of the training data likelier to the",
                  f"untrained student; bootstrap over {gaps['prompts'].max():.0f} prompts."]  # fmt: skip
    return " ".join(parts)
