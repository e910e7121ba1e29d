"""Completions that no model is asked for: scrambled, mixed, and solutions. Tables as in `completions.parquet`."""

import random
from collections.abc import Sequence

import pandas as pd

from offmodel.data.problems import Problem


def scrambled(answers: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Every answer's words replaced by as many, drawn without replacement from all words of all answers.

    White space goes with the places, not with the words, so that lines stay as long as they were. Token counts and ids
    are not known afterwards.
    """
    drawn = [word for answer in answers["answer"] for word in answer.split()]
    random.Random(seed).shuffle(drawn)
    pool = iter(drawn)
    texts = []
    for answer in answers["answer"]:
        words = answer.split()
        gaps, rest = [], answer
        for word in words:
            gap, _, rest = rest.partition(word)
            gaps.append(gap)
        texts.append("".join(gap + next(pool) for gap in gaps) + rest)
    made = answers.assign(answer=texts)
    return made.drop(columns=["answer_tokens", "answer_ids"], errors="ignore")


def mixed(answers: pd.DataFrame, others: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """The rows of `answers`, but for `round(share * n)` prompts, drawn by `seed`, those of `others`; the same order.

    Raises:
        ValueError: the two do not answer the same prompts in the same order.
    """
    if answers["prompt_id"].tolist() != others["prompt_id"].tolist():
        raise ValueError("the two parts of a mixture answer other prompts, or in another order")
    n = len(answers)
    replaced = set(random.Random(seed).sample(range(n), round(share * n)))
    rows = [(others if i in replaced else answers).iloc[i] for i in range(n)]
    return pd.DataFrame(rows, columns=answers.columns).reset_index(drop=True)


def solutions(problems: Sequence[Problem]) -> pd.DataFrame:
    """The problems' own solutions as answers to them. Token counts and ids are not known."""
    rows = [
        {"prompt_id": one.id, "messages": one.messages, "answer": one.solution, "finish_reason": "stop"}
        for one in problems
    ]
    return pd.DataFrame(rows)
