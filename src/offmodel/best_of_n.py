"""Best of n as a table (script 11): pass@k for k up to the number of answers drawn, and the majority's vote."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from offmodel import statistics
from offmodel.evaluation.answers import last_number, stated
from offmodel.evaluation.registry import TASKS
from offmodel.guessing import PASS, VOTE, drawn, majority
from offmodel.pairs import OFF_MODEL, PAIR_KEYS, Pair, pairs, recovery
from offmodel.results import UNTRAINED, by_item, grouped, matching, with_answers

ON_MODEL = "on_model_sft"
FLOOR = "floor_shuffled"
COLUMNS = [
    "arm", "rule", "k", "accuracy", "low", "high", "guessed", "n", "seeds", "samples", "response_tokens",
    "fraction", "fraction_low", "fraction_high", "reason",
]  # fmt: skip


def best_of_n_table(
    items: pd.DataFrame, answers: pd.DataFrame | None = None, guesses: pd.DataFrame | None = None
) -> pd.DataFrame:
    """A row for each pair, task, arm, rule and k: untrained, on_model_sft, off_model_sft, and floor_shuffled, where a
    problem's answers are those that the untrained student gave to one other problem.

    Columns: `pairs.PAIR_KEYS`, and `COLUMNS`:
        rule: "pass", the unbiased chance that one of k answers is right (`statistics.pass_at_k` of each problem and
            seed, averaged), for k = 1, 2, 4 … and the number of answers drawn; "vote", the majority of all of them, as
            `vote` has it, on tasks with numbers or formulas and only where `answers` (`answers.parquet`) are given.
        accuracy, low, high: mean over the `n` problems, with the 95 % interval of `statistics.mean_share`.
        guessed: the same of the arm's own answers to other problems (`guessing.guess_table`, mean over the problems and
            seeds); null where `guesses` are not given or lack the task.
        samples, response_tokens: answers drawn of each problem and seed; mean tokens of one.
        fraction …: of the off-model arm's rows, the share of its loss at one answer that k answers bring back
            (`statistics.recovery_fraction`), all three less what is `guessed`, where that is known: more answers guess
            more. Null in the other arms' rows.

    Raises:
        RunError: as `pairs.pairs`; or an answer is missing from `answers`.
    """
    found = pairs(items, items["arm"] == OFF_MODEL)
    if answers is not None:
        items = with_answers(items, answers)
    rows: list[dict[str, Any]] = []
    done: dict[Any, list[dict[str, Any]]] = {}  # what pairs share is counted once
    for pair in found:
        student, task = pair.keys["student"], pair.keys["task"]
        same = items[(items["experiment"] == pair.keys["experiment"]) & (items["student"] == student)]
        same = same[same["task"] == task]
        writers = {UNTRAINED: None, ON_MODEL: student, OFF_MODEL: pair.keys["after"], FLOOR: None}
        before = _guessed(guesses, pair.keys, UNTRAINED, None).get((PASS, 1))
        for arm, teacher in writers.items():
            own = same[same["arm"] == arm]
            own = own if teacher is None else own[own["teacher"] == teacher]
            key = (pair.keys["experiment"], student, task, arm, teacher)
            if key not in done:
                chance = _guessed(guesses, pair.keys, arm, teacher)
                done[key] = _arm_rows(own, chance, pair if arm == OFF_MODEL else None, before) if len(own) else []
            rows += [pair.keys | {"arm": arm} | row for row in done[key]]
    return pd.DataFrame(rows, columns=[*PAIR_KEYS, *COLUMNS]).astype({"guessed": float})


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
        camps.setdefault(answer, []).append(right)
    # One camp's verdicts can differ, where the checker read more of an answer than this does.
    return sum(share * sum(camps[answer]) / len(camps[answer]) for answer, share in majority(stated_answers).items())


def _guessed(
    guesses: pd.DataFrame | None, keys: Mapping[str, Any], arm: str, teacher: str | None
) -> dict[tuple[str, int], pd.Series]:
    """By rule and k, what an arm guesses at each problem of the pair's task, mean over its seeds; empty if unknown."""
    if guesses is None:
        return {}
    own = matching(guesses, {name: keys[name] for name in ("experiment", "student", "task")} | {"arm": arm})
    own = own if teacher is None else own[own["teacher"] == teacher]
    return {
        (str(rule), int(k)): rows.groupby("item")["guessed"].mean() for (rule, k), rows in grouped(own, ["rule", "k"])
    }


def _arm_rows(
    own: pd.DataFrame, guessed: Mapping[tuple[str, int], pd.Series], pair: Pair | None, before: pd.Series | None
) -> list[dict[str, Any]]:
    """The rows of one arm on one task, without the keys of its pair; with fractions for the pair's damaged arm.

    `guessed` by the arm, for each rule and k, and `before`, by the untrained student with one answer.
    """
    scores = by_item(own)
    right = scores.T.groupby(level="seed").sum().T  # (items, seeds)
    samples = int(own.groupby("seed")["sample"].nunique().min())
    shares = {(PASS, k): right.map(lambda c, k=k: statistics.pass_at_k(samples, round(c), k)) for k in drawn(samples)}
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
        row["guessed"] = float(guessed[rule, k].mean()) if (rule, k) in guessed else None
        if pair and pair.untrained is None:
            row["reason"] = f"there is no arm {UNTRAINED} to compare with"
        elif pair:
            three = [pair.untrained, pair.off_model, share]
            by_chance = [before, guessed.get((PASS, 1)), guessed.get((rule, k))]
            if all(one is not None for one in by_chance):
                three = [scores.mean(axis=1) - chance for scores, chance in zip(three, by_chance, strict=True)]
            found = recovery(*three)
            row |= dict(zip(["fraction", "fraction_low", "fraction_high", "reason"], found, strict=True))
        rows.append(row)
    return rows
