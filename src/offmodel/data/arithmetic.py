"""Arithmetic problems made by rule: five levels, from one-digit sums to stories of five operations.

They take no download and no licence, and their first level is easy enough for the smallest chat models, so that a
loss can be seen where published benchmarks only show a floor. Half are bare chains of numbers, half are stories.

No answer occurs among the numbers of its own problem: a model that repeats the problem is never right by accident.
"""

import ast
import operator
import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from offmodel.data.arithmetic_templates import CHAINS, NAMES, STORIES, THINGS, Template
from offmodel.errors import RequestError

VERSION = 3
"""Bump it whenever the items of a seed change: it is part of every score's identity."""

LEVELS = 5
MAX_ITEMS = 500
"""The easiest level has 72 different chains, of which this takes 50."""

_OPERATORS: dict[type[ast.operator], tuple[str, Callable[[Fraction, Fraction], Fraction]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", operator.truediv),
}


def items(n: int, seed: int) -> list[dict[str, Any]]:
    """`n` different problems, the levels in turn; `items(8, s)` is the beginning of `items(200, s)`.

    Returns:
        Rows with `id`, `level` (1 to 5), `kind` (`chain` or `story`), `question`, `expression` (Python operators) and
        `answer` (a positive whole number).

    Raises:
        RequestError: `n` is not between 1 and `MAX_ITEMS`; the easiest level holds few different problems.
    """
    if not 1 <= n <= MAX_ITEMS:
        raise RequestError(f"asked for {n} arithmetic problems; ask for 1 to {MAX_ITEMS}")
    streams = {level: _stream(level, seed) for level in range(1, LEVELS + 1)}
    return [next(streams[1 + position % LEVELS]) for position in range(n)]


def _stream(level: int, seed: int) -> Iterator[dict[str, Any]]:
    generator = random.Random(f"arithmetic/{VERSION}/{seed}/{level}")
    seen: set[str] = set()
    while True:
        kind = "chain" if len(seen) % 2 == 0 else "story"
        template = generator.choice((CHAINS if kind == "chain" else STORIES)[level])
        question, expression = _fill(template, level, generator)
        # The same wording again until the numbers fit, or templates that divide would hardly ever come.
        while not _fits(expression):
            question, expression = _fill(template, level, generator)
        if question in seen:
            continue
        row_id = f"arithmetic-{seed}-{level}-{len(seen) + 1:03d}"
        seen.add(question)
        yield {
            "id": row_id,
            "level": level,
            "kind": kind,
            "question": question,
            "expression": expression,
            "answer": int(evaluate(expression)[-1]),
        }


def _fits(expression: str) -> bool:
    """Whether there are only counting numbers on the way, and an answer that is not simply repeated from the text."""
    steps = evaluate(expression)
    whole = all(step.denominator == 1 and step > 0 for step in steps)
    return whole and steps[-1] not in numbers(expression)


def _fill(template: Template, level: int, generator: random.Random) -> tuple[str, str]:
    text, expression = template
    values = {letter: generator.randint(*_range(letter, level)) for letter in "abcdefkmnp"}
    name, other = generator.sample(NAMES, 2)
    words = {"name": name, "other": other, "things": generator.choice(THINGS)}
    expression = expression.format(**values)
    return text.format(**values, **words, expression=expression), expression


def _range(letter: str, level: int) -> tuple[int, int]:
    """Letters a to f are amounts; k, m, n, p are the small numbers one multiplies or divides by."""
    if letter in "kmnp":
        return {1: (2, 7), 5: (3, 12)}.get(level, (2, 9))
    return {1: (2, 7), 2: (10, 60), 3: (10, 80), 4: (10, 99), 5: (20, 300)}[level]


def numbers(expression: str) -> list[int]:
    """The whole numbers written in an expression, in reading order."""
    nodes = [node for node in ast.walk(ast.parse(expression, mode="eval")) if isinstance(node, ast.Constant)]
    return [int(node.value) for node in sorted(nodes, key=lambda node: node.col_offset)]  # type: ignore[arg-type]


def evaluate(expression: str) -> list[Fraction]:
    """The values of all operations of an expression, innermost first, the whole expression's last.

    Raises:
        ValueError: it holds anything but whole numbers, brackets and + - * /.
    """
    return [result for _, result in _operations(expression)]


def worked(expression: str) -> str:
    """An expression's operations one below the other, and a last line with the answer: a solution to learn from."""
    operations = _operations(expression)
    return "\n".join([*(f"{left} = {result}" for left, result in operations), f"The answer is {operations[-1][1]}."])


def _operations(expression: str) -> list[tuple[str, Fraction]]:
    """All operations of an expression with what comes out, innermost first: ("3 + 4", 7)."""
    found: list[tuple[str, Fraction]] = []

    def value(node: ast.expr) -> Fraction:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return Fraction(node.value)
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            sign, apply = _OPERATORS[type(node.op)]
            left, right = value(node.left), value(node.right)
            found.append((f"{left} {sign} {right}", apply(left, right)))
            return found[-1][1]
        raise ValueError(f"not arithmetic on whole numbers: {ast.unparse(node)}")

    value(ast.parse(expression, mode="eval").body)
    return found
