"""Best of n as a table (script 11): pass@k for k up to the number of answers drawn, and the majority's vote."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from offmodel import statistics
from offmodel.errors import RunError
from offmodel.evaluation.answers import last_number, stated
from offmodel.evaluation.registry import TASKS
from offmodel.pairs import OFF_MODEL, PAIR_KEYS, Pair, pairs, recovery
from offmodel.results import ARM_KEYS, RUN_KEYS, UNTRAINED, by_item, parameters

ON_MODEL = "on_model_sft"
FLOOR = "floor_shuffled"
PASS, VOTE = "pass", "vote"
COLUMNS = [
    "arm", "rule", "k", "accuracy", "low", "high", "n", "seeds", "samples", "response_tokens",
    "fraction", "fraction_low", "fraction_high", "reason",
]  # fmt: skip


def best_of_n_table(items: pd.DataFrame, answers: pd.DataFrame | None = None) -> pd.DataFrame:
    """A row for each pair, task, arm, rule and k: untrained, on_model_sft, off_model_sft, and floor_shuffled, where a
    problem's answers are those that the untrained student gave to another one.

    Columns: `pairs.PAIR_KEYS`, and `COLUMNS`:
        rule: "pass", the unbiased chance that one of k answers is right (`statistics.pass_at_k` of each problem and
            seed, averaged), for k = 1, 2, 4 … and the number of answers drawn; "vote", the majority of all of them, as
            `vote` has it, on tasks with numbers or formulas and only where `answers` (`answers.parquet`) are given.
        accuracy, low, high: mean over the `n` problems, with the 95 % interval of `statistics.mean_share`.
        samples, response_tokens: answers drawn of each problem and seed; mean tokens of one.
        fraction …: of the off-model arm's rows, the share of its loss at one answer that k answers bring back
            (`statistics.recovery_fraction`); null in the other arms' rows.

    Raises:
        RunError: as `pairs.pairs`; or an answer is missing from `answers`.
    """
    found = pairs(items, items["arm"] == OFF_MODEL)
    if answers is not None:
        keys = [*ARM_KEYS, *RUN_KEYS, *parameters(items), "task", "item"]
        items = items.merge(answers[[*keys, "response"]], on=keys, how="left", validate="one_to_one")
        if items["response"].isna().any():
            row = items[items["response"].isna()].iloc[0]
            raise RunError(f"answers.parquet lacks the answer of arm {row['arm']} to {row['item']}; collect them again")
    rows: list[dict[str, Any]] = []
    done: dict[Any, list[dict[str, Any]]] = {}  # what pairs share is counted once
    for pair in found:
        student, task = pair.keys["student"], pair.keys["task"]
        same = items[(items["experiment"] == pair.keys["experiment"]) & (items["student"] == student)]
        same = same[same["task"] == task]
        writers = {UNTRAINED: None, ON_MODEL: student, OFF_MODEL: pair.keys["after"], FLOOR: None}
        for arm, teacher in writers.items():
            own = same[same["arm"] == arm]
            own = own if teacher is None else own[own["teacher"] == teacher]
            key = (pair.keys["experiment"], student, task, arm, teacher)
            if key not in done:
                done[key] = _arm_rows(own, pair if arm == OFF_MODEL else None) if len(own) else []
            rows += [pair.keys | {"arm": arm} | row for row in done[key]]
    return pd.DataFrame(rows, columns=[*PAIR_KEYS, *COLUMNS])


def vote(responses: Iterable[str], correct: Sequence[bool], scorer: str) -> float:
    """Whether the majority of the answers to one problem is right: 1, 0, or a share where the vote is tied.

    An answer votes for the number that it ends on (`answers.last_number`, scorer "number"), or for the text of its last
    box, or else of what it says its answer is (`answers.stated`, scorer "formula"), letter for letter: equal formulas
    that are written differently split their votes. An answer that states nothing does not vote, and if none does the
    vote is wrong. A tie is broken by lot, of which this is the mean. Wang et al. 2022, arXiv 2203.11171.
    """
    read = {"number": last_number, "formula": stated}[scorer]
    stated_answers = [read(response) for response in responses]
    camps: dict[Any, list[bool]] = {}
    for answer, right in zip(stated_answers, correct, strict=True):
        if answer is not None:
            camps.setdefault(answer, []).append(right)
    most = max(map(len, camps.values()), default=0)
    # One camp's verdicts can differ, where the checker read more of an answer than this does.
    winners = [sum(camp) / len(camp) for camp in camps.values() if len(camp) == most]
    return sum(winners) / len(winners) if winners else 0.0


def _arm_rows(own: pd.DataFrame, pair: Pair | None) -> list[dict[str, Any]]:
    """The rows of one arm on one task, without the keys of its pair; with fractions for the pair's damaged arm."""
    scores = by_item(own)
    right = scores.T.groupby(level="seed").sum().T  # (items, seeds)
    samples = int(own.groupby("seed")["sample"].nunique().min())
    shares = {(PASS, k): right.map(lambda c, k=k: statistics.pass_at_k(samples, round(c), k)) for k in _ks(samples)}
    scorer = TASKS[task].scorer if (task := own["task"].iloc[0]) in TASKS else None
    if "response" in own and samples > 1 and scorer in ("number", "formula"):
        votes = {
            key: vote(group["response"], group["correct"].tolist(), scorer)
            for key, group in own.groupby(["item", "seed"], sort=True)
        }
        shares[VOTE, samples] = pd.Series(votes).unstack()
    rows = []
    for (rule, k), share in shares.items():
        # Of so many answers about samples / k groups of k are independent.
        mean = statistics.mean_share(share.mean(axis=1), samples / k * share.shape[1])
        row: dict[str, Any] = {"rule": rule, "k": k, "samples": samples, "n": len(share), "seeds": share.shape[1]}
        row |= dict(zip(["accuracy", "low", "high"], mean, strict=True))
        row["response_tokens"] = float(own["response_tokens"].mean())
        if pair and pair.untrained is None:
            row["reason"] = f"there is no arm {UNTRAINED} to compare with"
        elif pair:
            found = recovery(pair.untrained, pair.off_model, share)
            row |= dict(zip(["fraction", "fraction_low", "fraction_high", "reason"], found, strict=True))
        rows.append(row)
    return rows


def _ks(samples: int) -> list[int]:
    """1, 2, 4 … and the number itself."""
    return sorted({samples, *(2**power for power in range(samples.bit_length()))})
