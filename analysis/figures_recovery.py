"""F7 and F8: what comes back by further training and by a given beginning. The numbers are `offmodel.recovery`'s."""

from collections.abc import Callable

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from analysis.layout import CAPTION_SIZE, axes_width
from analysis.load import NothingToDrawError, Results
from analysis.pair_panels import (
    accuracy_limits,
    band,
    beside,
    counts,
    dodged,
    key,
    label_axes,
    log_axis,
    pair_panels,
    points,
    who,
)
from analysis.style import BLACK, RC, Condition, condition, opening_condition
from offmodel.pairs import OFF_MODEL
from offmodel.recovery import PREFILL, PREFILLS, REPAIRS, REVERSED, SHIFT, prefill_table, repair_table
from offmodel.results import UNTRAINED

_ACCURACY = ("accuracy", "low", "high")
_FRACTION = ("fraction", "fraction_low", "fraction_high")
_LONGEST = (-1.0, 2.0)  # fractions beyond which an interval is cut off
_LEFT_OUT_LINE = 0.1  # inches
_INTERVALS = "Intervals: 95 %, over problems"


def f7_repair(results: Results) -> Figure:
    """Recovery fraction against the number of answers trained on, a line for each writer of these; a panel for each
    task, student and teacher. Where no fraction is defined the panel shows accuracy.

    Raises:
        NothingToDrawError: no student was trained further after off-model SFT, or a pair lacks one of its two ends.
    """
    table = repair_table(results.items)
    _needs(table, REPAIRS, "no student was trained further after off-model SFT")
    with mpl.rc_context(RC):
        keys = [key(condition(arm)) for arm in REPAIRS if (table["arm"] == arm).any()]
        figure, drawn = pair_panels(table, keys, _f7_caption(table), beside=0.28)
        for ax, rows in drawn:
            shown = _FRACTION if _has_fraction(rows) else _ACCURACY
            places = log_axis(ax, rows["k"].dropna())
            _references(ax, rows, shown)
            lines = [(condition(arm), rows[rows["arm"] == arm], "k") for arm in REPAIRS]
            _lines(ax, [line for line in lines if len(line[1])], places, shown, start=_value(rows, OFF_MODEL, shown))
            _beside(ax, rows, shown)
        names = ["recovery fraction" if _has_fraction(rows) else "accuracy (%)" for _, rows in drawn]
        label_axes([ax for ax, _ in drawn], names, "answers trained on, k")
    return figure


def f7b_style(results: Results) -> Figure:
    """Style shift towards the teacher of the damage against the number of answers trained on; panels and lines as in
    F7.

    Raises:
        NothingToDrawError: as F7, or no style was measured.
    """
    table = repair_table(results.items, style=results.style)
    _needs(table, REPAIRS, "no student was trained further after off-model SFT")
    if table["shift_low"].isna().all():
        raise NothingToDrawError("no style was measured")
    with mpl.rc_context(RC):
        keys = [key(condition(arm)) for arm in REPAIRS if (table["arm"] == arm).any()]
        figure, drawn = pair_panels(table, keys, _f7b_caption(table))
        low, high = min(table["shift_low"].min(), 0.0) - 0.05, table["shift_high"].max() + 0.05
        for ax, rows in drawn:
            places = log_axis(ax, rows["k"].dropna())
            ax.set_ylim(low, high)
            ax.axhline(0, color=BLACK, linewidth=0.7, linestyle=":", zorder=0, gid=f"reference-{UNTRAINED}")
            damaged = rows[rows["arm"] == OFF_MODEL].iloc[0]
            band(ax, OFF_MODEL, *damaged[list(SHIFT)])
            lines = [(condition(arm), rows[(rows["arm"] == arm) & rows["shift_low"].notna()], "k") for arm in REPAIRS]
            _lines(ax, [line for line in lines if len(line[1])], places, tuple(SHIFT), start=damaged["shift"])
        label_axes([ax for ax, _ in drawn], ["style shift"] * len(drawn), "answers trained on, k")
    return figure


def f8_prefill(results: Results) -> Figure:
    """Accuracy against the number of tokens given, a line for each source of them; a panel for each task, student and
    teacher. Below the axis, how many problems each point leaves out.

    Raises:
        NothingToDrawError: no answer was begun for a student, or a pair lacks one of its two ends.
    """
    table = prefill_table(results.items)
    _needs(table, PREFILLS, "no student was given the beginning of an answer")
    looks = _openings(table)
    with mpl.rc_context(RC):
        most = max(len(_leaving_out(rows, looks)) for _, rows in table.groupby(["student", "after", "task"]))
        below = _LEFT_OUT_LINE * most + 0.04 * bool(most)
        keys = [key(look) for look, _ in looks]
        figure, drawn = pair_panels(table, keys, _f8_caption(table), beside=0.28, below=below)
        for ax, rows in drawn:
            places = log_axis(ax, rows["tokens"].dropna())
            _references(ax, rows, _ACCURACY)
            lines = [(look, own, "tokens") for look, chosen in looks if len(own := _given(rows[chosen(rows)]))]
            _lines(ax, lines, places, _ACCURACY, start=_value(rows, OFF_MODEL, _ACCURACY),
                   other_start=_value(rows, UNTRAINED, _ACCURACY))  # fmt: skip
            _beside(ax, rows, _ACCURACY)
            first = dodged(ax, 0, len(lines))
            _same_problems(ax, _given(rows[rows["opening"] == UNTRAINED]), places, first)
            _left_out(ax, _leaving_out(rows, looks), places)
        label_axes([ax for ax, _ in drawn], ["accuracy (%)"] * len(drawn), "tokens given", below)
    return figure


def _needs(table: pd.DataFrame, arms: list[str], otherwise: str) -> None:
    if not table["arm"].isin(arms).any():
        raise NothingToDrawError(otherwise)
    for (student, after), rows in table.groupby(["student", "after"], sort=False):
        for arm in (UNTRAINED, OFF_MODEL):
            if not (rows["arm"] == arm).any():
                raise NothingToDrawError(f"{student} has no arm {arm} (teacher {after}) to draw the others against")


def _openings(table: pd.DataFrame) -> list[tuple[Condition, Callable[[pd.DataFrame], pd.Series]]]:
    """The lines of F8, in order: how each looks, and which rows are its own."""
    named = table.loc[table["arm"] == PREFILL, "opening"].unique()
    lines: list[tuple[Condition, Callable[[pd.DataFrame], pd.Series]]] = [
        (opening_condition(name), lambda rows, name=name: rows["opening"] == name)
        for name in sorted(named, key=lambda name: opening_condition(name).order)
    ]
    if (table["arm"] == REVERSED).any():
        lines.append((condition(REVERSED), lambda rows: rows["arm"] == REVERSED))
    return lines


def _given(rows: pd.DataFrame) -> pd.DataFrame:
    """Without 0 tokens, which is the start of every line, and without points of which nothing is left."""
    return rows[(rows["tokens"] > 0) & (rows["n"] > 0)]


def _has_fraction(rows: pd.DataFrame) -> bool:
    """Whether the panel's loss is large and sure enough; where no problem changed a fraction has no interval."""
    untrained = rows[rows["arm"] == UNTRAINED]
    return bool(rows["fraction"].notna().all() and untrained[list(_FRACTION)].notna().all(axis=None))


def _value(rows: pd.DataFrame, arm: str, names: tuple[str, ...]) -> float:
    return float(rows.loc[rows["arm"] == arm, names[0]].iloc[0]) * _scale(names)


def _scale(names: tuple[str, ...]) -> float:
    return 100.0 if names == _ACCURACY else 1.0


def _references(ax: Axes, rows: pd.DataFrame, shown: tuple[str, ...]) -> None:
    """The bands of the two ends, and the limits of the y axis."""
    ends = {arm: rows[rows["arm"] == arm].iloc[0] for arm in (UNTRAINED, OFF_MODEL)}
    lowest, drop = ends[OFF_MODEL]["accuracy"], ends[UNTRAINED]["accuracy"] - ends[OFF_MODEL]["accuracy"]
    reach = []
    for arm, row in ends.items():
        three = [row[name] for name in _ACCURACY]
        # A fraction is linear in the accuracy, so the bands are those of the accuracies.
        three = [(value - lowest) / drop if shown == _FRACTION else 100 * value for value in three]
        band(ax, arm, *three)
        reach += three[1:]
    others = rows[~rows["arm"].isin(ends) & (rows["n"] > 0)]
    if shown == _FRACTION:  # an interval can be very long, and would leave the points no room
        values = others["fraction"]
        low = min(-0.3, *(max(_LONGEST[0], end) for end in [*reach, others["fraction_low"].min()]), values.min() - 0.1)
        high = max(1.3, *(min(_LONGEST[1], end) for end in [*reach, others["fraction_high"].max()]), values.max() + 0.1)
        ax.set_ylim(low - 0.05, high + 0.05)
        ax.yaxis.set_major_locator(MultipleLocator(0.5))
    else:
        accuracy_limits(ax, rows)


def _lines(
    ax: Axes,
    lines: list[tuple[Condition, pd.DataFrame, str]],
    places: dict[int, float],
    shown: tuple[str, ...],
    start: float,
    other_start: float | None = None,
) -> None:
    """The points of each condition with their intervals; where it has several, a line through them from where nothing
    was given or trained on."""
    off_model = condition(OFF_MODEL)
    if 0 in places:
        ax.plot([places[0]], [start], off_model.marker, color=off_model.colour, markersize=4, zorder=4, gid="start")
    for number, (look, rows, name) in enumerate(lines):
        x = [places[int(count)] + dodged(ax, number, len(lines)) for count in rows[name]]
        reversed_ = other_start is not None and look == condition(REVERSED)
        first = [(places[0], other_start if reversed_ else start)] if 0 in places else []
        path = [*first, *zip(x, _scale(shown) * rows[shown[0]], strict=True)]
        if len(rows) > 1:  # a control that is there once is a point: a line to it would look measured
            ax.plot(*zip(*path, strict=True), color=look.colour, linewidth=0.8, zorder=1, gid="path")
        points(ax, look, x, rows, shown, _scale(shown))


def _beside(ax: Axes, rows: pd.DataFrame, shown: tuple[str, ...]) -> None:
    """The accuracies of the two ends at the right edge, in per cent."""
    texts = []
    for arm in (UNTRAINED, OFF_MODEL):
        percent = 100 * rows.loc[rows["arm"] == arm, "accuracy"].iloc[0]
        texts.append((_value(rows, arm, shown), f"{percent:.0f} %", condition(arm).colour))
    beside(ax, texts)


def _same_problems(ax: Axes, rows: pd.DataFrame, places: dict[int, float], aside: float) -> None:
    """Ticks above and below the points of a line, where the two ends are on the problems that these have left."""
    fewer = rows[rows["left_out"] > 0]
    for arm, column in [(UNTRAINED, "untrained"), (OFF_MODEL, "off_model")]:
        x = [places[int(count)] + aside for count in fewer["tokens"]]
        ax.plot(x, 100 * fewer[column], "_", color=condition(arm).colour, markersize=6, markeredgewidth=1.0, zorder=3,
                gid=f"same-{arm}")  # fmt: skip


def _leaving_out(rows: pd.DataFrame, looks: list) -> list[tuple[Condition, pd.DataFrame]]:
    """The lines of a panel of which a point leaves problems out."""
    own = [(look, rows[chosen(rows) & (rows["tokens"] > 0)]) for look, chosen in looks]
    return [(look, line) for look, line in own if line["left_out"].gt(0).any()]


def _left_out(ax: Axes, lines: list[tuple[Condition, pd.DataFrame]], places: dict[int, float]) -> None:
    """Below each count, in the colour of the line, how many problems its point leaves out."""
    figure = ax.get_figure(root=True)
    height = ax.get_position().height * (figure.get_figheight() if figure else 1.0)
    for number, (look, rows) in enumerate(lines):
        y = -(0.25 + _LEFT_OUT_LINE * number) / height
        if number == 0:
            ax.text(-0.05 / axes_width(ax), y, "left out", transform=ax.transAxes, ha="right", va="center",
                    fontsize=CAPTION_SIZE - 0.5, color=BLACK)  # fmt: skip
        for count, left in zip(rows["tokens"], rows["left_out"], strict=True):
            ax.text(places[int(count)], y, f"{int(left)}", transform=ax.get_xaxis_transform(), ha="center",
                    va="center", fontsize=CAPTION_SIZE - 0.5, color=look.colour, gid="left out")  # fmt: skip


def _f7_caption(table: pd.DataFrame) -> str:
    groups = [rows for _, rows in table.groupby(["student", "after", "task"], sort=False)]
    fractions = [_has_fraction(rows) for rows in groups]
    parts = [f"{counts(table)}{who(table)}. Off-model SFT, then SFT on k answers to other chat prompts."]
    if "on_policy_distillation" in set(table["arm"]):
        parts += [
            "On-policy distillation: k answers of its own, brought towards the untrained student's probabilities."
        ]
    if any(fractions):
        parts += ["Recovery fraction: 0 after off-model SFT, 1 untrained, paired by problem."]
    if not all(fractions):
        parts += ["Accuracy where there is no such drop to recover from" if any(fractions) else
                  "Accuracy, for there is no drop of 5 points that can be told from none"]  # fmt: skip
        parts[-1] += " (less than 5 points, or not to be told from none)." if any(fractions) else "."
    parts += [f"{_INTERVALS}; bands: untrained (black) and off-model SFT, whose accuracies stand at the right."]
    if (table["fraction_low"] < _LONGEST[0]).any() or (table["fraction_high"] > _LONGEST[1]).any():
        parts += ["Carets: the interval goes on."]
    return " ".join(parts)


def _f7b_caption(table: pd.DataFrame) -> str:
    return (
        f"{counts(table)}{who(table)}. Off-model SFT, then training on k other chat prompts. Style shift: probability "
        "that the teacher wrote the answers, by a classifier of words that learned from chat answers, change from "
        f"untrained (dotted at 0). {_INTERVALS}; band: off-model SFT."
    )


def _f8_caption(table: pd.DataFrame) -> str:
    parts = [f"{counts(table)}{who(table)}. The student goes on from the first tokens of another answer."]
    parts += [f"{_INTERVALS}; bands: untrained (black) and off-model SFT on all problems."]
    if table["left_out"].gt(0).any():
        parts += ["Left out of a point: problems whose beginning holds an answer. Ticks: untrained and off-model",
                  "SFT on those problems that the line with the untrained student's beginnings has left."]  # fmt: skip
    return " ".join(parts)
