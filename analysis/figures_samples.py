"""F10a: does the trained student still find the answer if it may try often? The numbers are `offmodel.best_of_n`'s."""

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.load import NothingToDrawError, Results
from analysis.pair_panels import accuracy_limits, counts, dodged, key, label_axes, log_axis, pair_panels, points, who
from analysis.style import RC, condition
from offmodel.best_of_n import FLOOR, ON_MODEL, PASS, VOTE, best_of_n_table
from offmodel.pairs import OFF_MODEL
from offmodel.results import UNTRAINED

_ARMS = [UNTRAINED, ON_MODEL, OFF_MODEL]


def f10a_best_of_n(results: Results) -> Figure:
    """pass@k against k with 95 % bands, a line for each arm; at the number of answers drawn the majority's vote.
    A panel for each task, student and teacher.

    Raises:
        NothingToDrawError: no off-model student was asked several times.
    """
    table = best_of_n_table(results.items, results.answers, results.guesses)
    if table.empty or table["samples"].max() < 2:
        raise NothingToDrawError("no off-model student gave several answers to a problem")
    with mpl.rc_context(RC):
        keys = [key(condition(arm)) for arm in _ARMS if (table["arm"] == arm).any()]
        figure, drawn = pair_panels(table, keys, _caption(table))
        for ax, rows in drawn:
            _curves(ax, rows)
        label_axes([ax for ax, _ in drawn], ["accuracy (%)"] * len(drawn), "answers drawn, k")
    return figure


def _curves(ax: Axes, rows: pd.DataFrame) -> None:
    places = log_axis(ax, rows["k"])
    low, high = ax.get_xlim()
    voted = rows[rows["rule"] == VOTE]
    after = 0.3 if len(voted) else 0.0  # votes stand behind the last k
    ax.set_xlim(low, high + after)
    accuracy_limits(ax, rows)
    once = rows[(rows["arm"] == UNTRAINED) & (rows["rule"] == PASS) & (rows["k"] == 1)]
    for value in once["accuracy"]:
        ax.axhline(100 * value, color=condition(UNTRAINED).colour, linewidth=0.6, linestyle=":", zorder=0, gid="once")
    floor = rows[(rows["arm"] == FLOOR) & (rows["rule"] == PASS)].sort_values("k")
    if rows["guessed"].isna().all():
        _dashed(ax, [places[int(k)] for k in floor["k"]], floor["accuracy"], FLOOR)
    for number, arm in enumerate(_ARMS):
        look, own = condition(arm), rows[rows["arm"] == arm]
        curve = own[own["rule"] == PASS].sort_values("k")
        x = [places[int(k)] for k in curve["k"]]
        spread = ax.fill_between(x, 100 * curve["low"], 100 * curve["high"], color=look.colour, alpha=0.15, linewidth=0)
        spread.set_gid(f"band-{arm}")
        if curve["guessed"].notna().any():
            _dashed(ax, x, curve["guessed"], arm)
        ax.plot(x, 100 * curve["accuracy"], color=look.colour, marker=look.marker, markersize=3.5, gid=f"pass-{arm}")
        vote = own[own["rule"] == VOTE]
        if len(vote):
            at = [max(places.values()) + after + dodged(ax, number, len(_ARMS))]
            points(ax, look._replace(marker="*"), at, vote, ("accuracy", "low", "high"), 100.0)


def _dashed(ax: Axes, x: list[float], share: pd.Series, arm: str) -> None:
    ax.plot(x, 100 * share, color=condition(arm).colour, linewidth=0.8, linestyle="--", zorder=1, gid=f"floor-{arm}")


def _caption(table: pd.DataFrame) -> str:
    tokens = table[table["arm"] == OFF_MODEL].drop_duplicates(["student", "after", "task"])["response_tokens"].mean()
    most = int(table["samples"].max())
    parts = [f"{counts(table)}{who(table)}. Chance that one of k answers is right, of {most} drawn of each problem",
             f"(mean {tokens:.0f} tokens after off-model SFT). Bands: 95 %, Wilson over problems. Dotted line:",
             "untrained, one answer."]  # fmt: skip
    guessed = table.groupby("task")["guessed"].agg(lambda shares: shares.notna().any())
    if guessed.any():
        parts += ["Dashed: by chance, as often as the same student's answers to all other problems are right."]
    if (table["arm"] == FLOOR).any() and not guessed.all():
        dashed = "Grey: the floor" if guessed.any() else "Dashed: the floor"
        parts += [f"{dashed}, where each problem is given the untrained student's answers to another."]
    if (table["rule"] == VOTE).any():
        parts += [f"Stars: the majority of the {most}, by the number or the formula's text that an answer ends on,",
                  "ties broken by lot."]  # fmt: skip
    return " ".join(parts)
