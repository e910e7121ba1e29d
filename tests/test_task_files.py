"""The written task items: well formed, balanced, hard to pass by a trick, and scored as their prompts promise."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from offmodel.data.jsonl import read_jsonl
from offmodel.paths import TASK_ITEMS

INSTRUCTIONS = read_jsonl(TASK_ITEMS / "instructions.jsonl")
KNOWLEDGE = read_jsonl(TASK_ITEMS / "knowledge.jsonl")
BY_KEY = {row["key"]: row for row in INSTRUCTIONS}

# Two of these need NLTK's punkt data, which is downloaded at first use; the third guesses among many languages.
UNUSABLE = {
    "length_constraints:number_sentences",
    "change_case:capital_word_frequency",
    "language:response_language",
}
CONSTANT_ANSWER = "I am happy to help you with that."

# key -> (an answer that keeps every constraint of the row, one that breaks at least one)
ANSWERS: dict[int, tuple[str, str]] = {
    1: ("* Towel\n* Sun cream\n* Water", "* Towel\n* Sun cream"),
    6: ('{"name": "Milo", "age": 4, "colour": "brown tabby"}', 'Here it is: {"name": "Milo", "age": 4}'),
    9: ("<<First Snow>>\nThe roofs turn white,\nthe lane is still.", "First Snow\n\nThe roofs turn white."),
    11: (
        "in autumn the days grow short, so the tree saves its water. it lets its leaves go.",
        "In autumn the days grow short, so the tree saves its water. It lets its leaves go.",
    ),
    15: (
        "PLEASE KEEP THE GARDEN GATE SHUT AT ALL TIMES. THANK YOU FOR YOUR HELP.",
        "PLEASE keep the garden gate shut at all times. Thank you for your help.",
    ),
    18: ('"We will look for it together, my dear."', 'She would say, "We will look for it together."'),
    21: ("Put a drop of oil on the hinge. That should do the trick.", "That should do the trick. Use some oil."),
    25: ("A blanket by the lake with bread and cold tea.", "A blanket by the lake, with bread and tea."),
    27: ("The umbrella waited under the seat and hoped. " * 10, "The umbrella came home."),
    30: ("Cover the egg with salted water, boil it for eight minutes, then cool it.", "Boil the egg gently. " * 10),
    31: (
        "Porridge first.\n***\nSoup at noon.\n***\nRice at night.",
        "Porridge first.\n\nSoup at noon.\n\nRice at night.",
    ),
    33: ("Use *a soft brush*, brush for *two minutes*, and *spit*.", "Use *a soft brush* for two minutes."),
    35: ("Dear [name], thank you for the [gift]. Yours, [sender]", "Dear [name], thank you for the lovely vase."),
    37: (
        "Sunny, for its colour.\n******\nBubbles, for its habit.",
        "Sunny, for its colour.\n\nBubbles, for its habit.",
    ),
    39: (
        "Section 1\nFriday: drive.\nSection 2\nWalk.\nSection 3\nRest.",
        "Section 1\nFriday: drive.\nSection 2\nWalk.",
    ),
    40: ("Dear Aunt, the sea is warm.\n\nP.S. I found a shell for you.", "Dear Aunt, the sea is warm. Love, Sam"),
    41: ("My answer is no.", "No, most of it would evaporate."),
    43: ("A duck slept under the bench as I walked by.", "A duck slept in the sun as I walked by."),
    44: (
        "Rain on the roof, rain on the glass, rain in the lane, rain all day.",
        "Rain fell all day, so I read a book.",
    ),
    45: ("A huge animal with wide ears and a long nose.", "A huge grey animal with wide ears."),
    46: ("The zebra dozed in a haze of buzzing flies.", "The lion slept all day and I ate an ice."),
    47: ("Clay is soft.\n\nHowever, fire makes it hard.", "Clay is soft. However, fire makes it hard."),
    48: ("Why do cats purr? Mostly because they feel safe.", "Cats mostly purr because they feel safe."),
    51: (
        "Please leave two pints of milk and some butter but no cream.\n\nP.S. The gate sticks.",
        "Please leave two pints of milk, some butter and no cream.\n\nP.S. The gate sticks.",
    ),
    54: ('"Welcome to the castle. Please mind your step."', "Welcome to the castle. Please mind your step."),
    67: ("I ran down to a pond and swam and sang till nightfall with Anna.", "I went to the beach with a friend."),
    73: (
        "<<Summer Bowl>>\n* Chop two apples\n* Add some berries\n* Stir in the juice",
        "<<Summer Bowl>>\n* Chop two apples, not too small\n* Add some berries\n* Stir in the juice",
    ),
    76: (
        "THE TWINS WERE BORN THIS MORNING. THEY ARE BOTH WELL AND SO IS THEIR MOTHER.\n\nP.S. COME AND VISIT US SOON.",
        "THE TWINS WERE BORN THIS MORNING. THEY ARE BOTH WELL AND SO IS THEIR MOTHER.",
    ),
    77: (
        "Give it *light*.\n***\nWater the soil *once a week*.\n***\nTurn the pot.",
        "Give it *light*.\n***\nWater it *once a week*.\n***\nTurn the pot.",
    ),
    80: ("<<Pear Frost>>\nA cool pear ice with ginger. Come and try it!", "Pear Frost is a cool ice. Come and try it!"),
}


@pytest.fixture(scope="module")
def ifeval() -> SimpleNamespace:
    """lm-eval's IFEval scoring, with its language detector made repeatable."""
    pytest.importorskip("lm_eval")
    # The detector samples: unseeded, its verdict on a short text can change between two calls.
    pytest.importorskip("langdetect").DetectorFactory.seed = 0
    from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT
    from lm_eval.tasks.ifeval.utils import process_results

    def passes(row: dict[str, Any], response: str) -> bool:
        return process_results(row, [response])["prompt_level_strict_acc"]

    return SimpleNamespace(checkers=INSTRUCTION_DICT, passes=passes)


def test_instruction_rows_are_well_formed() -> None:
    assert [row["key"] for row in INSTRUCTIONS] == list(range(1, 81))
    assert len({row["prompt"] for row in INSTRUCTIONS}) == 80
    assert Counter(row["level"] for row in INSTRUCTIONS) == {1: 48, 2: 24, 3: 8}
    for row in INSTRUCTIONS:
        constraints = row["instruction_id_list"]
        assert row["level"] == len(constraints) == len(set(constraints)) == len(row["kwargs"]), row["key"]
        assert not UNUSABLE & set(constraints), row["key"]
    assert len({name for row in INSTRUCTIONS for name in row["instruction_id_list"]}) >= 15


def test_checkers_take_every_argument_from_the_row(ifeval: SimpleNamespace) -> None:
    for row in INSTRUCTIONS:
        for name, kwargs in zip(row["instruction_id_list"], row["kwargs"], strict=True):
            checker = ifeval.checkers[name](name)
            checker.build_description(**kwargs)
            # A checker draws a random value for an argument it was not given, and lm-eval drops falsy ones.
            assert set(checker.get_instruction_args() or {}) == set(kwargs), (row["key"], name)
            assert all(kwargs.values()), (row["key"], name)
            assert checker.check_following(CONSTANT_ANSWER) in (True, False)


def test_prompts_state_what_is_checked() -> None:
    spelled_out = {40}  # names the postscript marker letter by letter, so that an echo does not contain it
    for row in INSTRUCTIONS:
        prompt = row["prompt"].lower()
        for kwargs in row["kwargs"]:
            for name, value in kwargs.items():
                for part in value if isinstance(value, list) else [value]:
                    stated = str(part).lower() in prompt
                    assert stated or row["key"] in spelled_out, (row["key"], name, part)


@pytest.mark.parametrize("key", ANSWERS)
def test_written_answers_are_scored_as_intended(ifeval: SimpleNamespace, key: int) -> None:
    good, bad = ANSWERS[key]
    assert ifeval.passes(BY_KEY[key], good)
    assert not ifeval.passes(BY_KEY[key], bad)


def test_written_answers_reach_every_checker_in_use() -> None:
    used = {name for row in INSTRUCTIONS for name in row["instruction_id_list"]}
    assert {name for key in ANSWERS for name in BY_KEY[key]["instruction_id_list"]} == used


def test_answers_that_ignore_the_request_score_low(ifeval: SimpleNamespace) -> None:
    echo = sum(ifeval.passes(row, row["prompt"]) for row in INSTRUCTIONS)
    constant = sum(ifeval.passes(row, CONSTANT_ANSWER) for row in INSTRUCTIONS)
    assert echo <= 8 and constant <= 8, (echo, constant)


def test_knowledge_rows_are_well_formed_and_balanced() -> None:
    assert [row["id"] for row in KNOWLEDGE] == [f"know-{number:03d}" for number in range(1, 121)]
    assert len({row["question"] for row in KNOWLEDGE}) == 120
    assert Counter(row["level"] for row in KNOWLEDGE) == {"easy": 60, "medium": 40, "hard": 20}
    assert len({row["subject"] for row in KNOWLEDGE}) >= 12
    for row in KNOWLEDGE:
        assert len(row["choices"]) == len(set(row["choices"])) == 4, row["id"]
        assert all(choice == choice.strip() != "" for choice in row["choices"]), row["id"]
    answers = {(level, answer): 0 for level in ("easy", "medium", "hard") for answer in range(4)}
    for row in KNOWLEDGE:
        answers[row["level"], row["answer"]] += 1
    expected = {"easy": 15, "medium": 10, "hard": 5}
    assert all(count == expected[level] for (level, _), count in answers.items()), answers


@pytest.mark.parametrize("extreme", [max, min])
def test_choice_length_does_not_give_the_answer_away(extreme: Any) -> None:
    hits = 0.0
    for row in KNOWLEDGE:
        lengths = [len(choice) for choice in row["choices"]]
        picked = [place for place, length in enumerate(lengths) if length == extreme(lengths)]
        hits += (row["answer"] in picked) / len(picked)  # ties are guessed among
    assert hits / len(KNOWLEDGE) < 0.35
