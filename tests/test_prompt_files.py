"""The prompt files shipped with the repository keep the properties the studies rely on."""

import re
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from offmodel.data.jsonl import read_jsonl
from offmodel.paths import PROMPTS

CHAT_FIELDS = {"id": str, "instruction": str, "input": str, "category": str, "math": bool}
EXAMPLE_FIELDS = {"instruction": str, "input": str, "answer": str}

# Deliberately broad: the non-math rows were written without any digit, so a false alarm is cheaper than a miss.
ARITHMETIC = re.compile(
    r"\d|[+×÷%√∑]|\b(how (many|much)|per ?cent(age)?s?|calculat\w*|equations?|multipl\w*|divided? by|subtract\w*"
    r"|plus|minus|sum of|total|average|fractions?|arithmetic|algebra)\b",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def chat() -> list[dict[str, Any]]:
    return read_jsonl(PROMPTS / "chat.jsonl")


@pytest.fixture(scope="module")
def worked_examples() -> list[dict[str, Any]]:
    return read_jsonl(PROMPTS / "worked_examples.jsonl")


def fields(row: dict[str, Any]) -> dict[str, type]:
    return {key: type(value) for key, value in row.items()}


def mentions_arithmetic(row: dict[str, Any]) -> bool:
    return ARITHMETIC.search(f"{row['instruction']}\n{row['input']}") is not None


def has_section_header(row: dict[str, Any]) -> bool:
    """Whether a line of the row would be taken for a header ("# Input", "# Answer") of the base model's prompt."""
    return any(line.startswith("# ") for value in row.values() if isinstance(value, str) for line in value.split("\n"))


def test_chat_rows_have_exactly_the_fields(chat: list[dict[str, Any]]) -> None:
    assert [row for row in chat if list(fields(row).items()) != list(CHAT_FIELDS.items())] == []


def test_chat_ids_are_unique_and_ordered(chat: list[dict[str, Any]]) -> None:
    assert [row["id"] for row in chat] == [f"chat-{number:03d}" for number in range(1, len(chat) + 1)]


def test_chat_is_large_enough(chat: list[dict[str, Any]]) -> None:
    assert len(chat) >= 256
    assert sum(not row["math"] for row in chat) >= 224


def test_chat_instructions_are_unique(chat: list[dict[str, Any]]) -> None:
    seen = Counter(" ".join(row["instruction"].casefold().split()) for row in chat)
    assert [text for text, times in seen.items() if times > 1] == []


def test_chat_instructions_are_not_templated(chat: list[dict[str, Any]]) -> None:
    openings = Counter(" ".join(row["instruction"].casefold().split()[:3]) for row in chat)
    assert {opening: times for opening, times in openings.items() if times > len(chat) // 50} == {}


def test_chat_instructions_are_of_chat_length(chat: list[dict[str, Any]]) -> None:
    assert [row["id"] for row in chat if not 5 <= len(row["instruction"].split()) <= 50] == []


def test_chat_text_has_no_stray_space(chat: list[dict[str, Any]]) -> None:
    assert [row["id"] for row in chat if any(row[key] != row[key].strip() for key in ("instruction", "input"))] == []


def test_chat_mixes_rows_with_and_without_input(chat: list[dict[str, Any]]) -> None:
    for math in (False, True):
        with_input = [bool(row["input"]) for row in chat if row["math"] is math]
        assert any(with_input) and not all(with_input)
    assert 0.25 < sum(bool(row["input"]) for row in chat) / len(chat) < 0.45


def test_any_prefix_of_chat_mixes_the_categories(chat: list[dict[str, Any]]) -> None:
    # Small studies take the first n rows, so no category may be bunched at one end.
    categories = {row["category"] for row in chat}
    assert {row["category"] for row in chat[:32]} == categories
    assert {row["category"] for row in chat[-32:]} == categories
    runs = [b["id"] for a, b in pairwise(chat) if a["category"] == b["category"]]
    assert runs == []


def test_plain_chat_rows_hold_no_arithmetic(chat: list[dict[str, Any]]) -> None:
    assert [row["id"] for row in chat if not row["math"] and mentions_arithmetic(row)] == []


def test_math_chat_rows_hold_arithmetic(chat: list[dict[str, Any]]) -> None:
    math = [row for row in chat if row["math"]]
    assert math
    assert [row["id"] for row in math if not mentions_arithmetic(row)] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is 3 x 4?", True),
        ("How many legs have two spiders?", True),
        ("Take ten per cent off the price.", True),
        ("Calculate the cost of a dozen eggs.", True),
        ("Find the sum of two and two.", True),
        ("Why do many cooks salt the water?", False),
        ("Write a totally surprising ending.", False),
    ],
)
def test_arithmetic_pattern(text: str, expected: bool) -> None:
    assert mentions_arithmetic({"instruction": text, "input": ""}) is expected


def test_no_row_imitates_a_section_header(chat: list[dict[str, Any]], worked_examples: list[dict[str, Any]]) -> None:
    assert [row["instruction"] for row in chat + worked_examples if has_section_header(row)] == []
    assert has_section_header({"answer": "Fine.\n# Answer\nMore."})


def test_worked_examples_have_exactly_the_fields(worked_examples: list[dict[str, Any]]) -> None:
    assert len(worked_examples) == 4
    assert [row for row in worked_examples if list(fields(row).items()) != list(EXAMPLE_FIELDS.items())] == []
    assert sum(bool(row["input"]) for row in worked_examples) == 1
    assert sum(mentions_arithmetic(row) for row in worked_examples) == 1


def test_worked_answers_are_terse_and_plain(worked_examples: list[dict[str, Any]]) -> None:
    for row in worked_examples:
        # A blank line would end the answer early: the prompt format separates its sections by one.
        assert row["answer"].strip() and "\n" not in row["answer"], row["instruction"]
        assert len(row["answer"].split()) <= 60, row["instruction"]
        assert not re.search(r"[*`#]|^(sure|certainly|of course|hello)\b", row["answer"], re.IGNORECASE), row["answer"]


def test_worked_examples_are_not_chat_prompts(
    chat: list[dict[str, Any]], worked_examples: list[dict[str, Any]]
) -> None:
    assert {row["instruction"] for row in chat}.isdisjoint(row["instruction"] for row in worked_examples)
