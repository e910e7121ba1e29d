"""Data that no model is asked for: scrambled and mixed completions, solutions, and what is kept of judged samples.

Tables as in `completions.parquet`, but for `preferences`.
"""

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
    drawn = set(random.Random(seed).sample(range(n), round(share * n)))
    rows = [(others if i in drawn else answers).iloc[i] for i in range(n)]
    return pd.DataFrame(rows, columns=answers.columns).reset_index(drop=True)


def solutions(problems: Sequence[Problem]) -> pd.DataFrame:
    """The problems' own solutions as answers to them. Token counts and ids are not known."""
    rows = [
        {"prompt_id": one.id, "messages": one.messages, "answer": one.solution, "finish_reason": "stop"}
        for one in problems
    ]
    return pd.DataFrame(rows)


def solutions_instead(answers: pd.DataFrame, problems: Sequence[Problem]) -> pd.DataFrame:
    """In the place of each of the answers its problem's own solution, as `solutions` has it, in the same order.

    Raises:
        KeyError: an answer is to none of the problems.
    """
    return solutions(problems).set_index("prompt_id").loc[answers["prompt_id"]].reset_index()


Verdicts = Sequence[Sequence[bool | None]]
"""Of each answer of each sample whether it is right; None where there is nothing to compare it with, or the comparison
came to no end."""


def accepted(samples: Sequence[pd.DataFrame], verdicts: Verdicts) -> pd.DataFrame:
    """The right answers of all samples, problem by problem, with the number of their `sample`; an answer that was drawn
    several times is there as often.

    Raises:
        ValueError: the samples do not answer the same problems in the same order.
    """
    _check_same_prompts(samples)
    kept = [
        table[[verdict is True for verdict in of_sample]].assign(sample=number)
        for number, (table, of_sample) in enumerate(zip(samples, verdicts, strict=True))
    ]
    return pd.concat(kept).sort_index(kind="stable").reset_index(drop=True)


def preferences(samples: Sequence[pd.DataFrame], verdicts: Verdicts, seed: int) -> pd.DataFrame:
    """Pairs of a right answer, `chosen`, and a wrong one, `rejected`, to the same problem, in the problems' order.

    A problem with r right and w wrong answers has min(r, w) pairs, no answer in two of them; which ones meet is drawn
    by `seed`, for each problem apart. An answer without a verdict is in none.

    Returns:
        Columns prompt_id, messages, and for each side its text, `<side>_sample` and `<side>_finish_reason`.

    Raises:
        ValueError: as for `accepted`.
    """
    _check_same_prompts(samples)
    rows = []
    for place, (prompt, messages) in enumerate(samples[0][["prompt_id", "messages"]].itertuples(index=False)):
        draw = random.Random(f"{seed}/{prompt}")
        right, wrong = (
            [number for number, of_sample in enumerate(verdicts) if of_sample[place] is told] for told in (True, False)
        )
        draw.shuffle(right)
        draw.shuffle(wrong)
        for pair in zip(right, wrong, strict=False):
            row = {"prompt_id": prompt, "messages": messages}
            for side, number in zip(("chosen", "rejected"), pair, strict=True):
                answer = samples[number].iloc[place]
                row |= {side: answer["answer"], f"{side}_sample": number}
                row |= {f"{side}_finish_reason": answer["finish_reason"]}
            rows.append(row)
    return pd.DataFrame(rows)


def _check_same_prompts(samples: Sequence[pd.DataFrame]) -> None:
    if any(table["prompt_id"].tolist() != samples[0]["prompt_id"].tolist() for table in samples):
        raise ValueError("the samples answer other problems, or in another order")
