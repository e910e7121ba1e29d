"""Does the beginning of an answer hold the right result already, wherever in it that stands?"""

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from offmodel.evaluation.answers import numbers, verify

MOST_PARTS = 64
"""So many parts of a beginning are compared with the result, the last ones: 256 tokens seldom hold more."""

_FORMULA = re.compile(r"\$\$(.+?)(?:\$\$|\Z)|\$(.+?)(?:\$|\Z)|\\\[(.+?)(?:\\\]|\Z)|\\\((.+?)(?:\\\)|\Z)", re.DOTALL)
_EQUATION = re.compile(r"=|\\approx|\\Rightarrow|\\implies")
_NUMERAL = re.compile(r"(?<![\w.])[-−]?\d[\d,]*(?:\.\d+)?(?!\w)")


def gives_away(scorer: str, doc: Mapping[str, Any], text: str) -> bool:
    """Whether a text holds the value that is right, be it as a step on the way or by chance: where it does, one who
    goes on from it need not find it.

    Args:
        scorer: of the task, as in `registry.SCORERS`. Instructions have no result, so that nothing gives it away.
        doc: the problem, with `answer` (number), or `answers` and `tolerance` (formula).
        text: the beginning of an answer; a formula that its end cuts off counts as far as it goes.
    """
    if scorer == "number":
        return Fraction(doc["answer"]) in numbers(text)
    if scorer == "formula":
        parts = formulas(text)[-MOST_PARTS:]
        return any(verify(doc["answers"], f"${part}$", tolerance=doc["tolerance"]).correct for part in parts)
    return False


def formulas(text: str) -> list[str]:
    """Each distinct formula of a text, both sides of its equations, and each numeral, as they come."""
    found: list[tuple[int, str]] = [(one.start(), one[0]) for one in _NUMERAL.finditer(text)]
    for formula in _FORMULA.finditer(text):
        whole = next(filter(None, formula.groups()))
        found += [(formula.start(), part) for part in [whole, *_EQUATION.split(whole)]]
    ordered = (part.strip(" \n.,;:") for _, part in sorted(found, key=lambda one: one[0]))
    return list(dict.fromkeys(filter(None, ordered)))
