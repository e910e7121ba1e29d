"""What it saves to write loops out instead of computing them (`fill_loops`), and what it changes.

    python benchmarks/loops.py data/results/desk/01_degradation --data DIR \\
        --tokenizer data/runs/base/qwen2.5-coder-0.5b-c0bbe26ab1

Takes greedy answers that were computed to their end, cuts each where its loop would have been noticed, writes the rest
out, and compares: tokens that need not have been computed, answers that come out otherwise, and how many of those are
then scored otherwise. An answer that was filled when it was made is left out: of it, nothing else is known.
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
from offmodel.errors import RequestError
from offmodel.evaluation.harness import judged
from offmodel.evaluation.registry import resolve_task
from offmodel.recipes import Scores, Scripted
from offmodel.results import ARM_KEYS, RUN_KEYS, is_floor
from offmodel.values import Decoding


class Outcome(NamedTuple):
    """One answer: its tokens, those that need not have been computed, and what it would have been."""

    tokens: int
    saved: int
    text: str
    same: bool


def noticed(ids: Sequence[int]) -> int:
    """The tokens after which a loop is noticed, all of them where none is."""
    sizes, values = np.arange(SHORTEST, LONGEST + 1), np.asarray(ids)
    repeated = np.zeros(len(sizes), dtype=int)  # of each size of loop: the last tokens that are those `size` before
    for position in range(len(values)):
        reached = sizes <= position
        again = np.zeros(len(sizes), dtype=bool)
        again[reached] = values[position - sizes[reached]] == values[position]
        repeated = np.where(again, repeated + 1, 0)
        if (repeated >= (TIMES - 1) * sizes).any():
            return position + 1
    return len(values)


def outcome(response: str, tokenizer: Any) -> Outcome:
    ids = tokenizer(response, add_special_tokens=False)["input_ids"]
    cut = noticed(ids)
    if cut == len(ids):
        return Outcome(len(ids), 0, response, True)
    made = filled(ids[:cut], loop(ids[:cut]), len(ids))
    return Outcome(len(ids), len(ids) - cut, tokenizer.decode(made), list(made) == ids)


def compare(folder: Path, tokenizer: Any, data: Path | None) -> pd.DataFrame:
    """One row for each greedy answer: its arm and task, `tokens`, `saved`, `same`, `correct`, `correct_filled`."""
    keys = [*RUN_KEYS, *ARM_KEYS, "task", "item"]
    items = pd.read_parquet(folder / "items.parquet").merge(pd.read_parquet(folder / "answers.parquet"), on=keys)
    wanted = (items["kind"] == "generate") & ~items["arm"].map(is_floor)
    if "filled_tokens" in items:
        wanted &= items["filled_tokens"].fillna(0) == 0
    if (items["sample"] > 0).any():
        raise RequestError(f"{folder} holds sampled answers; loops are filled in greedy ones alone")
    frames = []
    for (task, *_), rows in items[wanted].groupby(["task", *ARM_KEYS, "seed"], dropna=False):
        made = [outcome(response, tokenizer) for response in rows["response"]]
        n = items.loc[items["task"] == task, "item"].nunique()
        texts = dict(zip(rows["item"], [one.text for one in made], strict=True))
        frames.append(
            rows.assign(
                tokens=[one.tokens for one in made],
                saved=[one.saved for one in made],
                same=[one.same for one in made],
                correct_filled=_judged(str(task), n, texts, data),
            )
        )
    return pd.concat(frames, ignore_index=True)


def _judged(task: str, n: int, texts: dict[str, str], data: Path | None) -> list[bool]:
    """Whether each text is right, in their order; problems of the `n` that have none are answered with nothing."""
    decoding = Decoding(temperature=0, max_tokens=1)
    scores = Scores(model=Scripted(behaviour="constant"), task=resolve_task(task, data), n=n, decoding=decoding)
    right = judged(scores, defaultdict(str, texts), data)
    return [right[item] for item in texts]


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
    loops = table[table["saved"] > 0]
    print(f"{len(table)} answers, {len(loops)} end in a loop; not computed: {_share(table)} of the tokens")
    print(f"come out otherwise: {int((~loops['same']).sum())} answers")
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
