"""What it saves to write loops out instead of computing them (`fill_loops`), and what it changes.

    python benchmarks/loops.py data/results/desk/01_degradation --data DIR \\
        --tokenizer data/runs/base/qwen2.5-coder-0.5b-c0bbe26ab1

Takes greedy answers that were computed to their end, cuts each where its loop would have been noticed, writes the rest
out, and compares: tokens that need not have been computed, answers that come out otherwise, and how many of those are
then scored otherwise. Seeds of which an answer was filled when it was made are left out: how it would have gone on is
not known, and the others alone are those that do not loop.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from transformers import AutoTokenizer

from offmodel.engines.loops import LONGEST, SHORTEST, TIMES, filled, loop
from offmodel.errors import RequestError, RunError
from offmodel.evaluation.harness import judged
from offmodel.evaluation.registry import resolve_task
from offmodel.recipes import Scores, Scripted
from offmodel.results import answered_items, is_floor
from offmodel.values import Decoding


class Outcome(NamedTuple):
    """One answer as it would have been: its text, whether that is the same, and the tokens not computed for it."""

    text: str
    same: bool
    saved: int


def noticed(ids: Sequence[int]) -> int | None:
    """The tokens after which a loop is noticed; None where there is none."""
    sizes, values = np.arange(SHORTEST, LONGEST + 1), np.asarray(ids)
    repeated = np.zeros(len(sizes), dtype=int)  # of each size of loop: the last tokens that are those `size` before
    for position in range(len(values)):
        reached = sizes <= position
        again = np.zeros(len(sizes), dtype=bool)
        again[reached] = values[position - sizes[reached]] == values[position]
        repeated = np.where(again, repeated + 1, 0)
        if (repeated >= (TIMES - 1) * sizes).any():
            return position + 1
    return None


def outcome(ids: list[int], text: str, limit: int | None, tokenizer: Any) -> Outcome:
    """An answer of these ids as it would have been. `limit` is the most tokens that one may have; None for an answer
    that met it, which has as many."""
    cut = noticed(ids)
    if cut is None:
        return Outcome(text, True, 0)
    made = filled(ids[:cut], loop(ids[:cut]), limit or len(ids))
    # One that came to an end would have come to none.
    return Outcome(tokenizer.decode(made), limit is None and list(made) == ids, len(ids) - cut)


def compare(folder: Path, tokenizer: Any, data: Path | None) -> pd.DataFrame:
    """One row for each greedy answer: its arm and task, `tokens`, `saved`, `same`, `correct`, `correct_filled`.

    Raises:
        RequestError: the results hold no greedy answer that was computed to its end, or sampled ones.
    """
    try:
        items = answered_items(folder)
    except (OSError, ValueError, RunError) as error:
        raise RequestError(f"cannot read {folder} ({error})") from error
    if (items["sample"] > 0).any():
        raise RequestError(f"{folder} holds sampled answers; loops are filled in greedy ones alone")
    wanted = (items["kind"] == "generate") & ~items["arm"].map(is_floor)
    if "filled_tokens" in items:
        wanted &= items["filled_tokens"].fillna(0).groupby(items["seed"]).transform("max") == 0
    if not wanted.any():
        raise RequestError(f"{folder} holds no answers that were computed to their end")
    limits = items[items["truncated"].astype(bool)].groupby("task")["response_tokens"].max()
    frames = []
    for (task, *_), rows in items[wanted].groupby(["task", "scores_id"], sort=False):
        made, tokens = [], []
        for row in rows.itertuples():
            ids = tokenizer(row.response, add_special_tokens=False)["input_ids"]
            tokens.append(len(ids))
            made.append(outcome(ids, str(row.response), None if row.truncated else limits.get(task, 0), tokenizer))
        n = items.loc[items["task"] == task, "item"].nunique()
        texts = {item: one.text for item, one in zip(rows["item"], made, strict=True)}
        right = _judged(str(task), n, texts, data)
        columns = pd.DataFrame(made, index=rows.index).drop(columns="text")
        frames.append(rows.join(columns).assign(tokens=tokens, correct_filled=rows["item"].map(right)))
    return pd.concat(frames, ignore_index=True)


def _judged(task: str, n: int, texts: dict[str, str], data: Path | None) -> dict[str, bool]:
    """By item, whether its text is right; problems of the `n` that have none are answered with nothing."""
    decoding = Decoding(temperature=0, max_tokens=1)
    scores = Scores(model=Scripted(behaviour="constant"), task=resolve_task(task, data), n=n, decoding=decoding)
    return judged(scores, defaultdict(str, texts), data)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="a folder of data/results")
    parser.add_argument("--tokenizer", type=Path, required=True, help="the student's checkpoint folder")
    parser.add_argument("--data", type=Path, help="a mirror of the public data sets, instead of the hub")
    options = parser.parse_args(arguments)
    try:
        for folder in (options.results, options.tokenizer):
            if not folder.is_dir():
                raise RequestError(f"there is no folder {folder}")
        table = compare(options.results, AutoTokenizer.from_pretrained(options.tokenizer), options.data)
    except RequestError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    _report(table)
    return 0


def _report(table: pd.DataFrame) -> None:
    loops = int(table["saved"].gt(0).sum())
    print(f"{len(table)} answers, {loops} that loop; not computed: {_share(table)} of the tokens")
    print(f"come out otherwise: {int((~table['same']).sum())} answers")
    changed = table["correct"].astype(bool) != table["correct_filled"]
    lost = int((changed & table["correct_filled"].eq(False)).sum())
    print(f"scored otherwise: {int(changed.sum())} (right before, wrong then: {lost})")
    for (arm, teacher, task), rows in table.groupby(["arm", "teacher", "task"], dropna=False, sort=False):
        named = f"{arm} ({teacher})" if isinstance(teacher, str) else str(arm)
        print(f"  {named:40} {task:12} {_share(rows):>5} of {rows['tokens'].sum():>7} tokens")


def _share(rows: pd.DataFrame) -> str:
    return f"{100 * rows['saved'].sum() / rows['tokens'].sum():.0f} %"


if __name__ == "__main__":
    sys.exit(main())
