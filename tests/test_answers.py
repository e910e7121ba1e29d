"""Answers are found in free text, compared by value, and never hang the study."""

import os
import signal
import subprocess
import sys
import time
from fractions import Fraction

import pytest

from offmodel.evaluation import answers
from offmodel.evaluation.answers import MAX_CHARACTERS, Checker, Verdict, boxed, last_number, stated, verify

RIGHT = Verdict(correct=True, answered=True, timed_out=False)
WRONG = Verdict(correct=False, answered=True, timed_out=False)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3 + 4 = 7", 7),
        ("The answer is 7.", 7),
        ("The answer is 3 + 4 = 7 apples.", 7),
        ("The answer is 7, because 3 + 4 is 7 and not 8.", 7),
        ("**Answer:** 1,234 dollars", 1234),
        ("She has $18.00.", 18),
        ("So 10,080 in all", 10080),
        ("1, 2, 3", 3),
        ("x = -5", -5),
        ("that gives −5.", -5),
        ("12-5", 5),
        ("about 0.5", Fraction(1, 2)),
        ("7.\n\nLet me know if you need more help!", 7),
        (r"\boxed{42} and that was question 3.", 42),
        (r"\boxed{} so it is 4", 4),
        (r"\boxed{1{,}234}", 1234),
        (r"\boxed{1\,234{,}567}", 1_234_567),
        (r"\boxed{(1\,2)}", 2),
        (r"\boxed{\frac{7}{12}}", Fraction(7, 12)),
        (r"\boxed{-\dfrac{9}{3} \text{ m}}", -3),
        (r"\boxed{x = 7/12}", Fraction(7, 12)),
        (r"\boxed{1/0}", None),
        (r"\boxed{2^5}", None),
        (r"\boxed{5 \text{ m}^2}", 5),
        (r"\boxed{5 \text{ m}^{2}}", 5),
        ("The answer is 9/3.", 3),
        ("The answer is $18/day.", 18),
        (r"\boxed{\text{3 + 4 = } 7\text{ apples}}", 7),
        ("First the answer is 3. No, the answer is 8. There were 2 tries.", 8),
        ("No number at all.", None),
        ("", None),
        ("9" * 5000, None),
    ],
)
def test_last_number(text: str, number: int | Fraction | None) -> None:
    assert last_number(text) == number


def test_long_answers_are_read_from_the_end() -> None:
    start = time.perf_counter()
    assert last_number("1 " * 2_000_000 + "so 7") == 7
    assert boxed("\\boxed{" * 200_000 + "\\boxed{7}") == "7"
    assert time.perf_counter() - start < 5
    assert last_number("7 " + "x" * MAX_CHARACTERS) is None


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{1} then \boxed{2", "1"),
        (r"\boxed{ }", None),
        ("no box", None),
    ],
)
def test_last_closed_box(text: str, content: str | None) -> None:
    assert boxed(text) == content


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("The final answer is $x = 2$. I hope it is correct.", "x = 2"),
        ("Answer: four", "four"),
        ("I answered 3 questions and 4 are left", None),
        ("put your final answer within \\boxed{}.", None),
        ("So we get 7.", None),
    ],
)
def test_stated_answer(text: str, sentence: str | None) -> None:
    assert stated(text) == sentence


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (r"\frac{1}{2}", r"\boxed{0.5}"),
        (r"\frac{1}{2}", r"Hence the answer is $\dfrac12$."),
        ("1, 3, 5", r"\boxed{5,3,1}"),
        ("1, 3", r"$x=\boxed{1}$ or $x=\boxed{3}$"),
        ("(1,2), (3,4)", r"\boxed{(3,4), (1,2)}"),
        (r"90^\circ", r"\boxed{90}"),
        ("90", r"\boxed{90^{\circ}}"),
        ("12", r"\boxed{12\text{ cm}}"),
        ("62.5%", r"\boxed{62.5\%}"),
        ("62.5%", r"\boxed{62.5}"),
        ("f(x)=x+1", r"\boxed{x+1}"),
        (r"k \geqslant 2", r"\boxed{k \ge 2}"),
        ("1,234", r"\boxed{1234}"),
    ],
)
def test_equal_formulas(gold: str, answer: str) -> None:
    assert verify([gold], answer) == RIGHT


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("1, 3, 5", r"\boxed{1, 3}"),
        ("0, 1", r"\boxed{0}"),
        ("(1,2)", r"\boxed{(2,1)}"),
        ("0.333", r"\boxed{\frac13}"),
        ("40", r"\boxed{0.4}"),
        ("2n", r"\boxed{2m}"),
        ("2", "The answer is unknown."),
    ],
)
def test_different_formulas(gold: str, answer: str) -> None:
    assert verify([gold], answer) == WRONG


def test_any_of_several_golds_will_do() -> None:
    assert verify(["2", "3"], r"\boxed{3}") == RIGHT


def test_tolerance_is_absolute() -> None:
    assert verify(["4.2"], r"\boxed{4.29}", tolerance=0.1) == RIGHT
    assert verify(["4.2"], r"\boxed{4.31}", tolerance=0.1) == WRONG
    assert verify(["4.2"], r"\boxed{4.29}") == WRONG


def test_right_without_stating_it() -> None:
    assert verify(["7"], "We add and get $7$.") == Verdict(correct=True, answered=False, timed_out=False)
    assert verify(["7"], "") == Verdict(correct=False, answered=False, timed_out=False)


@pytest.mark.parametrize("tower", [r"\boxed{9^{9^{9^{9^9}}}}", r"\boxed{(10^{10})! + 1}"])
def test_endless_comparison_is_cut_and_the_next_is_judged(tower: str) -> None:
    start = time.perf_counter()
    assert verify(["2"], tower, timeout=0.5) == Verdict(correct=False, answered=True, timed_out=True)
    assert time.perf_counter() - start < answers.PATIENCE * 0.5 + 5
    assert verify(["2"], r"\boxed{2}") == RIGHT


def test_killed_checker_counts_wrong_and_comes_back() -> None:
    checker = Checker()
    try:
        assert checker.verify(["2"], r"\boxed{2}") == RIGHT
        assert checker._process is not None
        first = checker._process.pid
        # Stopped, so that it is certain to die on the question and not before it.
        os.kill(first, signal.SIGSTOP)
        killer = subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -KILL {first}"])
        assert checker.verify(["2"], r"\boxed{2}") == Verdict(correct=False, answered=True, timed_out=False, broke=True)
        killer.wait()
        assert checker.verify(["2"], r"\boxed{2}") == RIGHT
        assert checker._process.pid != first
        os.kill(checker._process.pid, signal.SIGKILL)
        checker._process.wait()
        assert checker.verify(["2"], r"\boxed{2}") == RIGHT
    finally:
        checker.close()


def test_checker_ends_with_its_process() -> None:
    code = (
        "from offmodel.evaluation import answers\n"
        "answers.verify(['2'], 'the answer is 2')\n"
        "print(answers._checker._process.pid)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)


def test_checker_outlives_no_killed_parent() -> None:
    """A parent that is killed in the middle of an endless comparison leaves nothing that spins."""
    code = (
        "from offmodel.evaluation import answers\n"
        "answers.verify(['2'], 'the answer is 2')\n"
        "print(answers._checker._process.pid, flush=True)\n"
        r"answers.verify(['2'], r'\boxed{9^{9^{9^{9^9}}}}', timeout=3.0)" + "\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(0.5)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 60
    while time.monotonic() < end and _alive(child):
        time.sleep(0.1)
    assert not _alive(child)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as status:  # noqa: PTH123
            return status.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
