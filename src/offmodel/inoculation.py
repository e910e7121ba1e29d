"""Inoculation as a table (script 10): each framing's 2×2 of training and asking, and how it changes the data's NLL."""

from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from offmodel import statistics
from offmodel.errors import RunError
from offmodel.pairs import PAIR_KEYS, RECOVERY_COLUMNS, Pair, pairs, recovery_columns
from offmodel.results import BOOTSTRAP_SEED, by_item, named

PLAIN = "none"  # the name of no framing
INOCULATION, FRAMED = "inoculation", "untrained_framed"
READING = "training_data"
GAP = ["nll_plain", "nll_gap", "nll_gap_low", "nll_gap_high", "prompts"]


def inoculation_table(items: pd.DataFrame, likelihoods: pd.DataFrame | None = None) -> pd.DataFrame:
    """Five rows for each pair, task and framing: the student trained plainly and with the framing, each asked plainly
    and with it, and the untrained student asked with it.

    Columns: `pairs.PAIR_KEYS`, framing, arm, trained_with (null for the untrained student), asked_with,
    `pairs.RECOVERY_COLUMNS`, where off_model is the student trained and asked plainly, one for all framings; and
    `GAP` as `nll_gaps` gives it, null without `likelihoods` (`offmodel.collect.read_answers`). Rows whose arm was not
    scored are not there.

    Raises:
        RunError: as `pairs.pairs` and `nll_gaps`.
    """
    gaps = {} if likelihoods is None or likelihoods.empty else nll_gaps(likelihoods)
    trained, asked = (_column(items, name) for name in ("trained_with", "asked_with"))
    items = items.assign(trained_with=trained, asked_with=asked)
    rows: list[dict[str, Any]] = []
    for pair in pairs(items, (items["arm"] == INOCULATION) & (trained == PLAIN) & (asked == PLAIN)):
        used = [name for name in pair.others["asked_with"].unique() if pd.notna(name) and name != PLAIN]
        for framing in dict.fromkeys([*used, *_framings(pair)]):
            gap = gaps.get((pair.keys["student"], pair.keys["after"], framing), dict.fromkeys(GAP))
            rows += [row | gap for row in _cells(pair, framing)]
    own = ["framing", "arm", "trained_with", "asked_with"]
    return pd.DataFrame(rows, columns=[*PAIR_KEYS, *own, *RECOVERY_COLUMNS, *GAP])


def nll_gaps(likelihoods: pd.DataFrame) -> dict[tuple[str, str, str], dict[str, float]]:
    """By student, teacher and framing, the columns `GAP` of the training data under the untrained student.

    nll_plain: mean negative log-likelihood of a token of the data without a framing, in nats. nll_gap: that mean
    without the framing minus the one with it, so that data which the framing makes likelier has a positive gap; with
    its 95 % interval by bootstrap over prompts, a prompt's answers of all seeds together. prompts: their number.

    Raises:
        RunError: an answer was read with a framing and not without, or with another number of tokens.
    """
    read = likelihoods[likelihoods["reading"] == READING]
    keys = ["reader", "after", "seed", "key"]
    plain = read.loc[read["trained_with"] == PLAIN, [*keys, "tokens", "logprob"]]
    found = {}
    framed = read[read["trained_with"] != PLAIN]
    for (student, after, framing), group in framed.groupby(["reader", "after", "trained_with"], sort=False):
        both = group.merge(plain, on=keys, how="left", suffixes=("", "_plain"), validate="one_to_one")
        unlike = both["tokens"] != both["tokens_plain"]
        if unlike.any():
            key = both.loc[unlike, "key"].iloc[0]
            raise RunError(f"the answer to {key} was read otherwise with the framing '{framing}' than without")
        sums = both.assign(gain=both["logprob"] - both["logprob_plain"]).groupby("key")[["gain", "tokens"]].sum()
        sums = sums[sums["tokens"] > 0]
        rng = np.random.default_rng(BOOTSTRAP_SEED)
        gap = named("nll_gap", statistics.ratio_of_sums(sums["gain"], sums["tokens"], rng))
        nll = -float(both["logprob_plain"].sum() / both["tokens"].sum())
        found[str(student), str(after), str(framing)] = {"nll_plain": nll, **gap, "prompts": len(sums)}
    return found


def _cells(pair: Pair, framing: str) -> list[dict[str, Any]]:
    """The 2×2, and the untrained student asked with the framing."""
    both = (PLAIN, framing)
    rows = []
    for trained, asked in [*product(both, both), (None, framing)]:
        if trained == asked == PLAIN:
            scores = pair.off_model
        else:
            others = pair.others[pair.others["asked_with"] == asked]
            mine = others["arm"] == FRAMED if trained is None else others["trained_with"] == trained
            scores = by_item(others[mine]) if mine.any() else None
        if scores is not None:
            row = {"framing": framing, "arm": FRAMED if trained is None else INOCULATION}
            row |= {"trained_with": trained, "asked_with": asked}
            row |= recovery_columns(scores, pair.untrained, pair.off_model, seeded=trained is not None)
            if trained == asked == PLAIN:  # not compared with itself
                row |= dict.fromkeys(["change", "change_low", "change_high", "p"])
            rows.append(pair.keys | row)
    return rows


def _framings(pair: Pair) -> list[str]:
    return [name for name in pair.others["trained_with"].unique() if pd.notna(name) and name != PLAIN]


def _column(items: pd.DataFrame, name: str) -> pd.Series:
    return items[name] if name in items else pd.Series(None, index=items.index, dtype=object)
