"""Problems with a solution and an answer that can be checked: NuminaMath, GSM8K's training split, or made arithmetic.

None of them is a problem of the benchmarks of its kind; of made arithmetic, as it is drawn by default (`draw_seed` 0).
What is left out is the same question: easy arithmetic has few different numbers, and meets them again in other words
(`practised` tells which).
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offmodel.data import arithmetic
from offmodel.data.chat import Message
from offmodel.data.draw import draw
from offmodel.data.sources import load_rows, resolve
from offmodel.errors import RequestError
from offmodel.nearest import unknown
from offmodel.values import Prompts

_ARITHMETIC_SEED = 12_000
"""Apart from the small numbers that draw a benchmark's items."""

_NUMBER_LAST = "Work it out, and end your reply with the number that is the answer."


@dataclass(frozen=True)
class Problem:
    """`messages` is what the model is asked, `answer` the right one: a numeral, or LaTeX without dollar signs.

    `solution` is the way to it as the source tells it, and ends with it; `answer` is empty where that cannot be read
    off the solution.
    """

    id: str
    messages: list[Message]
    answer: str
    solution: str


@dataclass(frozen=True)
class ProblemSource:
    """`benchmarks` are the data sets whose items are left out; `instruction` follows each question. Rows of a higher
    `level` than `hardest_level` are left out too, none where it is None."""

    benchmarks: tuple[str, ...]
    instruction: str
    hardest_level: int | None = None


PROBLEM_SOURCES = {
    "numinamath": ProblemSource(
        ("math500", "olympiads"), ""
    ),  # NuminaMath-CoT (Li et al., 2024), 859,494 problems; asked bare, as the DFT paper's training data are
    "gsm8k_train": ProblemSource(
        ("gsm8k",), "Please reason step by step, and put your final answer within \\boxed{}."
    ),  # Cobbe et al., 2021, arXiv 2110.14168: 7,473 problems
    "arithmetic_train": ProblemSource(
        ("arithmetic",), _NUMBER_LAST
    ),  # of the kind that models of 100M parameters sometimes solve: a reward that is never earned teaches nothing
    "arithmetic_easy_train": ProblemSource(
        ("arithmetic",), _NUMBER_LAST, hardest_level=2
    ),  # of these one or two operations: solved often enough, after a loss, to be reinforced
}


def problem_revision(source: str, data_dir: Path | None = None) -> str:
    """What `Prompts.revision` is for a source of problems: its bytes, and those of the items left out.

    Args:
        source: a key of `PROBLEM_SOURCES`.
        data_dir: a mirror of the public data sets, in which GSM8K is `gsm8k/train.jsonl` and `gsm8k/test.jsonl` with
            the hub's columns `question` and `answer`; None means `$OFFMODEL_DATA`, or else the hub.

    Raises:
        RequestError: unknown source, or it is not to be found (see `offmodel.data.sources.resolve`).
    """
    if source not in PROBLEM_SOURCES:
        raise unknown("problem source", source, PROBLEM_SOURCES)
    if source.startswith("arithmetic"):
        return f"generator:{arithmetic.VERSION}"
    kept_apart = [resolve(name, data_dir).revision for name in PROBLEM_SOURCES[source].benchmarks]
    return f"{resolve(source, data_dir).revision}, apart from {' and '.join(kept_apart)}"


def load_problems(prompts: Prompts, data_dir: Path | None = None) -> list[Problem]:
    """The problems that a recipe describes, in its order; fewer are always the first of more.

    Args:
        prompts: source, revision (`problem_revision`), seed, and which part of the order. Every difficulty comes in
            proportion in every beginning of the order.
        data_dir: as for `problem_revision`.

    Raises:
        RequestError: unknown source, too few problems, bytes other than the recipe names, or a recipe that wants no
            mathematics.
    """
    found = problem_revision(prompts.source, data_dir)
    if found != prompts.revision:
        raise RequestError(
            f"the problems of '{prompts.source}' are revision {found}, the study was planned with {prompts.revision}; "
            "plan it again, or give the --data it was planned with"
        )
    if not prompts.math:
        raise RequestError(f"all problems of '{prompts.source}' are mathematics; ask for them with math=True")
    source = PROBLEM_SOURCES[prompts.source]
    benchmark = {_plain(row["question"]) for name in source.benchmarks for row in _rows(name, data_dir)}
    rows = [row for row in _rows(prompts.source, data_dir) if _plain(row["question"]) not in benchmark]
    if source.hardest_level is not None:
        rows = [row for row in rows if row["level"] <= source.hardest_level]
    end = prompts.skip + prompts.n
    if end > len(rows):
        apart_from = " or ".join(f"'{name}'" for name in source.benchmarks)
        raise RequestError(
            f"asked for {prompts.n} problems of '{prompts.source}' after the first {prompts.skip}, there are "
            f"{len(rows)} that are no items of {apart_from}; lower the number"
        )
    order = draw(rows, len(rows), prompts.seed, "level", what="problems")
    return [
        Problem(
            id=row["id"],
            messages=[{"role": "user", "content": f"{row['question']}\n\n{source.instruction}".strip()}],
            answer=str(row["answer"]),
            solution=row["solution"],
        )
        for row in order[prompts.skip : end]
    ]


def practised(items: Iterable[Mapping[str, Any]], problems: Collection[Problem]) -> set[str]:
    """The ids of a benchmark's items (`registry.load_items`) that have the numbers of one of the problems, in whatever
    order and words, and its answer."""
    known = {(*_numbers(problem.messages[0]["content"]), problem.answer) for problem in problems}
    return {item["id"] for item in items if (*_numbers(item["question"]), str(item["answer"])) in known}


def _numbers(question: str) -> list[str]:
    return sorted(re.findall(r"\d+", question))


def _rows(source: str, data_dir: Path | None) -> list[dict[str, Any]]:
    if source.startswith("arithmetic"):
        rows = arithmetic.items(arithmetic.MAX_ITEMS, _ARITHMETIC_SEED if source in PROBLEM_SOURCES else 0)
        return [{**row, "solution": arithmetic.worked(row["expression"])} for row in rows]
    return load_rows(source, data_dir)


def _plain(question: str) -> str:
    """A question without what copies of a data set differ in."""
    return " ".join(question.split()).casefold()
