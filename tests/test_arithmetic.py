"""The generated problems are right, varied, and the same for the same seed."""

import hashlib
import json
import re
from collections import Counter
from fractions import Fraction
from typing import Any

import pytest

from offmodel.data import arithmetic
from offmodel.data.arithmetic_templates import STORIES
from offmodel.errors import RequestError


@pytest.fixture(scope="module", params=[0, 1, 2])
def problems(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return arithmetic.items(arithmetic.MAX_ITEMS, request.param)


def by_hand(expression: str) -> Fraction:
    """Evaluate by shunting-yard, so that a fault in the module's own evaluator cannot hide."""
    order = {"+": 1, "-": 1, "*": 2, "/": 2}
    values: list[Fraction] = []
    waiting: list[str] = []

    def apply() -> None:
        right, left = values.pop(), values.pop()
        sign = waiting.pop()
        values.append({"+": left + right, "-": left - right, "*": left * right, "/": left / (right or 1)}[sign])

    for token in re.findall(r"\d+|[-+*/()]", expression):
        if token.isdigit():
            values.append(Fraction(int(token)))
        elif token == "(":
            waiting.append(token)
        elif token == ")":
            while waiting[-1] != "(":
                apply()
            waiting.pop()
        else:
            while waiting and waiting[-1] != "(" and order[waiting[-1]] >= order[token]:
                apply()
            waiting.append(token)
    while waiting:
        apply()
    (value,) = values
    return value


def test_evaluator_of_this_test() -> None:
    assert by_hand("((20 - 8) * 3 + 4) / 8 - 1") == 4
    assert by_hand("2 + 3 * 4 - 10 / 5") == 12


def test_every_answer_is_right(problems: list[dict[str, Any]]) -> None:
    assert [row for row in problems if by_hand(row["expression"]) != row["answer"]] == []


def test_every_number_is_in_the_text_and_no_other(problems: list[dict[str, Any]]) -> None:
    for row in problems:
        written = Counter(int(numeral) for numeral in re.findall(r"\d+", row["question"]))
        assert written == Counter(arithmetic.numbers(row["expression"])), row


def test_no_answer_is_one_of_the_numbers_given(problems: list[dict[str, Any]]) -> None:
    assert [row for row in problems if str(row["answer"]) in re.findall(r"\d+", row["question"])] == []


def test_problems_are_different(problems: list[dict[str, Any]]) -> None:
    assert len({row["question"] for row in problems}) == len({row["id"] for row in problems}) == len(problems)


def test_levels_and_kinds_are_balanced(problems: list[dict[str, Any]]) -> None:
    for n in (5, 50, 200, 500):
        levels = Counter(row["level"] for row in problems[:n])
        assert set(levels.values()) == {n // 5}
    assert set(Counter((row["level"], row["kind"]) for row in problems).values()) == {50}


def test_difficulty_rises_with_the_level(problems: list[dict[str, Any]]) -> None:
    operations = {
        level: {len(re.findall(r"[-+*/]", row["expression"])) for row in problems if row["level"] == level}
        for level in range(1, 6)
    }
    assert operations == {1: {1}, 2: {1, 2}, 3: {2}, 4: {3, 4}, 5: {4, 5}}
    easiest = [row for row in problems if row["level"] == 1]
    assert all(number < 10 for row in easiest for number in arithmetic.numbers(row["expression"]))


def test_every_story_template_is_used(problems: list[dict[str, Any]]) -> None:
    for level, templates in STORIES.items():
        stories = [row["question"] for row in problems if row["level"] == level and row["kind"] == "story"]
        for text, _ in templates:
            pattern = re.sub(r"\\\{\w+\\\}", r"\\w+", re.escape(text))
            assert sum(re.fullmatch(pattern, story) is not None for story in stories) >= 2, text


def test_smaller_set_begins_the_larger() -> None:
    assert arithmetic.items(8, 5) == arithmetic.items(200, 5)[:8]
    assert arithmetic.items(8, 5) != arithmetic.items(8, 6)


def test_items_change_only_with_the_version() -> None:
    digest = hashlib.sha256(json.dumps(arithmetic.items(arithmetic.MAX_ITEMS, 0)).encode()).hexdigest()
    assert (arithmetic.VERSION, digest[:12]) == (3, "65e9b9189a9d"), (
        "the generator gives other items: bump arithmetic.VERSION, and write the new pair here"
    )


def test_a_solution_goes_operation_by_operation() -> None:
    assert arithmetic.worked("(20 + 4) * 3 - 2") == "20 + 4 = 24\n24 * 3 = 72\n72 - 2 = 70\nThe answer is 70."
    assert arithmetic.worked("9 / 3") == "9 / 3 = 3\nThe answer is 3."


@pytest.mark.parametrize("n", [0, arithmetic.MAX_ITEMS + 1])
def test_impossible_number_is_refused(n: int) -> None:
    with pytest.raises(RequestError, match="ask for 1 to 500"):
        arithmetic.items(n, 0)


@pytest.mark.parametrize("expression", ["2 ** 9", "__import__('os')", "1.5 + 1", "True + 1", "-3 + 4", "f(2)"])
def test_only_arithmetic_is_evaluated(expression: str) -> None:
    with pytest.raises(ValueError, match="not arithmetic"):
        arithmetic.evaluate(expression)
