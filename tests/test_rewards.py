"""Rewards by hand: what is right, what is mere form, and what raises or does not end."""

import contextlib
import math
import threading
import time

import pytest

from offmodel.errors import RequestError, RunError
from offmodel.training.rewards import REWARDS, Judged, Reward, check_answers, final_answer_format, judge, number

TOWER = r"\boxed{9^{9^{9^{9^9}}}}"


@pytest.mark.parametrize(
    ("completion", "right", "form"),
    [
        (r"3 + 4 = 7, so \boxed{7}.", 1, 1),
        (r"\boxed{8}", 0, 1),
        ("The answer is 7.", 1, 1),
        ("The answer is eight.", 0, 0),
        ("First 3, then 4, in all 7", 1, 1),
        ("It is $8.50.", 0, 1),
        ("7 apples and 4 pears", 0, 0),
        (r"7 \boxed{", 1, 0),
        (r"\boxed{}", 0, 0),
        ("", 0, 0),
        ("7" * 20_000, 0, 0),
    ],
)
def test_the_number_and_the_form(completion: str, right: float, form: float) -> None:
    assert number(completion, "7") == right
    assert final_answer_format(completion, "7") == form


def test_a_formula_may_be_answered_in_words() -> None:
    assert final_answer_format("The answer is eight.", r"\frac12") == 1
    assert final_answer_format("in all 7", r"\frac12") == 0


def test_numbers_are_compared_by_value() -> None:
    assert number("in all 1,200 dollars", "1200") == number("so $0.50", "0.5") == number("x = -3", "-3") == 1
    assert number("x = 3", "-3") == 0


def test_judging_keeps_the_order_of_completions() -> None:
    completions = [r"\boxed{1}", r"\boxed{3}", r"\boxed{3}"]
    assert judge(number, completions, ["1", "2", "3"]) == [Judged(1.0), Judged(0.0), Judged(1.0)]


def test_formulas_are_compared_in_a_process_that_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("math_verify", reason="needs the extra `cpu` or `gpu`")
    from offmodel.evaluation import answers
    from offmodel.training import rewards

    monkeypatch.setattr(rewards, "verify", lambda gold, text: answers.verify(gold, text, timeout=0.5))
    judged = judge(REWARDS["formula"], [r"\boxed{\frac{2}{4}}", TOWER, r"\boxed{2}"], [r"\frac12", "2", "2"])
    assert judged == [Judged(1.0), Judged(0.0, "CheckFailedError: math-verify ran out of time"), Judged(1.0)]


def raises(completion: str, answer: str) -> float:
    return 1 / len(completion)


def hangs(completion: str, answer: str) -> float:
    while "hang" in completion:
        with contextlib.suppress(Exception):
            time.sleep(0.01)
    return 1.0


def test_what_raises_earns_nothing_and_is_told() -> None:
    assert judge(raises, ["ab", "", "a"], ["1"] * 3) == [
        Judged(0.5),
        Judged(0.0, "ZeroDivisionError: division by zero"),
        Judged(1.0),
    ]


def test_a_checker_that_does_not_start_judges_nothing() -> None:
    def cannot(completion: str, answer: str) -> float:
        raise RunError("the checker does not start")

    with pytest.raises(RunError, match="does not start"):
        judge(cannot, ["a"], ["1"])


def test_what_hangs_earns_nothing_and_the_next_is_judged() -> None:
    began = time.perf_counter()
    assert judge(hangs, ["hang", "fine"], ["1"] * 2, seconds=0.2) == [
        Judged(0.0, "not done after 0.2 s"),
        Judged(1.0),
    ]
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_reward_that_is_no_number_is_a_failure(value: float) -> None:
    reward: Reward = lambda completion, answer: value  # noqa: E731
    assert judge(reward, ["a"], ["1"]) == [Judged(0.0, f"the reward was {value}")]


def test_judging_works_outside_the_main_thread_without_its_limit() -> None:
    told: list[Judged] = []
    thread = threading.Thread(target=lambda: told.extend(judge(number, ["7"], ["7"])))
    thread.start()
    thread.join()
    assert told == [Judged(1.0)]


@pytest.mark.parametrize(
    ("reward", "answer"), [("number", "1/2"), ("number", "1e9"), ("number", "9" * 101), ("formula", " ")]
)
def test_reference_answers_that_cannot_be_compared_are_refused(reward: str, answer: str) -> None:
    with pytest.raises(RequestError, match="cannot be compared") as caught:
        check_answers(reward, ["7", answer])
    assert "\n" not in str(caught.value)


def test_reference_answers_that_can_be_compared_pass() -> None:
    check_answers("number", ["7", "-3", "0.25"])
    check_answers("formula", [r"\frac{1}{2}", "(1, 2)"])
    check_answers("format", ["anything"])
