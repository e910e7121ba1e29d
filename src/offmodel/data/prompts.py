"""Prompts to answer: Alpaca's, the ones written for this repository, or the problems of `data.problems`."""

import re
from pathlib import Path
from typing import Any

from offmodel.data.draw import draw
from offmodel.data.problems import PROBLEM_SOURCES, load_problems
from offmodel.data.sources import load_rows, resolve
from offmodel.errors import RequestError
from offmodel.nearest import unknown
from offmodel.values import Prompts

# The column that spreads the kinds of prompt evenly over every beginning of the order, where there is one.
STRATA: dict[str, str | None] = {"chat": "category", "alpaca": None}

# Alpaca does not say which prompts ask for mathematics. Leaving out too much is harmless (52,002 prompts), leaving in
# is not, so this takes any prompt that names a calculation, or has two numbers beside an operator.
MATH = re.compile(
    r"\b(math\w*|arithmetic|algebra\w*|geometr\w*|calculus|trigonometr\w*|calculat\w*|comput(e|ation)|equations?"
    r"|addition|add (up )?(the )?(numbers?|\d\w*)|subtract\w*|multipl(y|ied|ication)|divid\w+|division|sum of"
    r"|product of|square root|fractions?|percent(age)?s?|averages?|median|probabilit\w*|statistic\w*|how (many|much)"
    r"|solve for|theorem|perimeter|area of|volume of|radius|triangles?|integrals?|derivatives?|polynomial\w*|quadratic"
    r"|hyperbola|parabola|matri(x|ces)|primes?(?! minister)|factorial|fibonacci|sequence|binary|odd|even numbers?"
    r"|(the|these|this|following|given|two|three|list of|of|largest|smallest) numbers?|convert (the number )?\d\w*"
    r"|(sales|income) tax)\b"
    r"|\d\s*[-+*/×÷^=<>]\s*\d|\d\s*%|[√∑∫π]",
    re.IGNORECASE,
)


def load_prompts(prompts: Prompts, data_dir: Path | None = None) -> list[dict[str, Any]]:
    """The prompts that a recipe describes, in its order.

    The order is one permutation of the whole source for each seed. Leaving out mathematics keeps it, so that two
    recipes which differ in `math` alone share all their other prompts. Problems are asked, and ordered, as
    `load_problems` has it.

    Args:
        prompts: source, seed, and which part of the order.
        data_dir: a mirror of the public data sets; see `offmodel.data.sources.resolve`.

    Returns:
        `prompts.n` rows with `id` (text), `messages` (one user message) and `math` (does it ask for mathematics).

    Raises:
        RequestError: unknown source, too few prompts, or the source's bytes are not those that the recipe names.
    """
    if prompts.source in PROBLEM_SOURCES:
        problems = load_problems(prompts, data_dir)
        return [{"id": problem.id, "messages": problem.messages, "math": True} for problem in problems]
    if prompts.source not in STRATA:
        raise unknown("prompt source", prompts.source, [*STRATA, *PROBLEM_SOURCES])
    found = resolve(prompts.source, data_dir)
    if found.revision != prompts.revision:
        raise RequestError(
            f"the prompts of '{prompts.source}' in {found.where} are revision {found.revision}, the study was planned "
            f"with {prompts.revision}; plan it again, or give the --data it was planned with"
        )
    rows = [{**row, "math": _is_math(row)} for row in load_rows(prompts.source, data_dir)]
    order = draw(rows, len(rows), prompts.seed, STRATA[prompts.source], what="prompts")
    kept = [row for row in order if prompts.math or not row["math"]]
    end = prompts.skip + prompts.n
    if end > len(kept):
        without = "" if prompts.math else " without mathematics"
        raise RequestError(
            f"asked for {prompts.n} prompts of '{prompts.source}'{without} after the first {prompts.skip}, "
            f"there are {len(kept)} in all; lower the number"
        )
    return [_chat(row) for row in kept[prompts.skip : end]]


def _is_math(row: dict[str, Any]) -> bool:
    if "math" in row:
        return row["math"]
    return MATH.search(f"{row['instruction']}\n{row['input']}") is not None


def _chat(row: dict[str, Any]) -> dict[str, Any]:
    content = f"{row['instruction']}\n\n{row['input']}" if row["input"] else row["instruction"]
    return {"id": row["id"], "messages": [{"role": "user", "content": content}], "math": row["math"]}
