"""How often several answers hit a number by chance: pass@k and the vote of answers that were given to other problems.

Drawing often finds small numbers without any skill, so pass@k (`offmodel.best_of_n`) means little without it.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import pandas as pd

from offmodel.evaluation.answers import last_number
from offmodel.results import ARM_KEYS, grouped, is_floor, parameters
from offmodel.statistics import pass_at_k

PASS, VOTE = "pass", "vote"


def guess_table(items: pd.DataFrame, right: Mapping[str, Mapping[str, Fraction]]) -> pd.DataFrame:
    """A row for each arm, seed, problem, rule and k, of arms that gave several answers to each problem of a task.

    Columns: `ARM_KEYS`, the arms' parameters, seed, task, item, rule ("pass", "vote"), k, and guessed: the share of the
    *other* problems whose answers by the same arm pass for right here, exactly and not for one way to shuffle them: the
    unbiased chance of one in k (`statistics.pass_at_k`), averaged over the others, and the votes of all samples.

    Args:
        items: the items table, with each `response`.
        right: by task and item the number that is right; the table is of these tasks alone.
    """
    keys = [*ARM_KEYS, *parameters(items.drop(columns=["response", "home_logprob"], errors="ignore")), "seed", "task"]
    rows: list[dict[str, Any]] = []
    for values, own in grouped(items[items["task"].isin(list(right)) & ~items["arm"].map(is_floor)], keys):
        samples = int(own["sample"].nunique())
        if samples < 2 or own["item"].nunique() < 2:
            continue
        said = {item: [last_number(text) for text in answers] for item, answers in own.groupby("item")["response"]}
        about = dict(zip(keys, values, strict=True))
        for rule, k, shares in _guesses(said, right[about["task"]], samples):
            rows += [about | {"rule": rule, "k": k, "item": item, "guessed": share} for item, share in shares.items()]
    return pd.DataFrame(rows, columns=[*keys, "rule", "k", "item", "guessed"])


def drawn(samples: int) -> list[int]:
    """The k that pass@k is told for: 1, 2, 4 … and the number of samples itself."""
    return sorted({samples, *(2**power for power in range(samples.bit_length()))})


def majority(stated: Sequence[Any]) -> dict[Any, float]:
    """The share of the vote that each answer has: 1 for the most frequent, tied ones alike; None does not vote.

    Wang et al. 2022, arXiv 2203.11171; a tie is broken by lot, of which this is the chance.
    """
    counts = Counter(answer for answer in stated if answer is not None)
    winners = [answer for answer, count in counts.items() if count == max(counts.values())]
    return {answer: 1 / len(winners) for answer in winners}


def _guesses(
    said: Mapping[str, Sequence[Fraction | None]], right: Mapping[str, Fraction], samples: int
) -> list[tuple[str, int, dict[str, float]]]:
    """By rule and k, the share of the others that is right by chance at each problem."""
    hits: dict[Fraction, dict[str, int]] = defaultdict(dict)  # number: problems whose answers say it, how often
    votes: dict[Fraction, dict[str, float]] = defaultdict(dict)
    for item, numbers in said.items():
        for number, count in Counter(number for number in numbers if number is not None).items():
            hits[number][item] = count
        for number, share in majority(numbers).items():
            votes[number][item] = share
    found = []
    for k in drawn(samples):
        chance = {number: {j: pass_at_k(samples, count, k) for j, count in by.items()} for number, by in hits.items()}
        found.append((PASS, k, {item: _of_others(chance.get(right[item], {}), item, len(said)) for item in said}))
    found.append((VOTE, samples, {item: _of_others(votes.get(right[item], {}), item, len(said)) for item in said}))
    return found


def _of_others(shares: Mapping[str, float], item: str, problems: int) -> float:
    return sum(share for other, share in shares.items() if other != item) / (problems - 1)
