"""What reinforcement learning rewards: a right answer, or, as its control, the mere form of one.

A reward is a function of a completion's text and the reference answer. The text is a stranger's: nothing evaluates it,
and what raises or does not end earns 0 and is counted, so that it is seen.
"""

import math
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from offmodel.errors import RequestError, RunError
from offmodel.evaluation.answers import last_number, stated, verify

Reward = Callable[[str, str], float]
"""Completion and reference answer to a finite number; it may raise, and then the completion earns 0."""

SECONDS: Final = 10.0
"""By the clock, for one completion; the rewards that run in this process take far less than a millisecond."""

_NUMERAL: Final = re.compile(r"-?\d{1,100}(\.\d{1,100})?")


class CheckFailedError(Exception):
    """The comparison did not come to a verdict."""


@dataclass(frozen=True)
class Judged:
    """A completion's reward; `failure` says why it could not be judged, and the reward is then 0."""

    reward: float
    failure: str | None = None


def number(completion: str, answer: str) -> float:
    """1 where the completion ends on the number `answer`, else 0: how GSM8K and arithmetic are scored."""
    return float(last_number(completion) == Fraction(answer))


def formula(completion: str, answer: str) -> float:
    """1 where math-verify finds the completion's answer equal to the LaTeX `answer`, else 0: how MATH-500 is scored.

    It runs in a process of its own, under a limit of processor time (`offmodel.evaluation.answers.Checker.verify`).

    Raises:
        CheckFailedError: the comparison raised, or ran out of time or memory.
    """
    verdict = verify([answer], completion)
    if verdict.timed_out or verdict.broke:
        raise CheckFailedError("math-verify ran out of time" if verdict.timed_out else "math-verify broke on the text")
    return float(verdict.correct)


def final_answer_format(completion: str, answer: str) -> float:
    r"""1 where the completion states an answer, in a `\boxed{}` or as "the answer is", be it right or wrong, else 0.

    Where the reference is a numeral it must state a number, or end on one: so the problems of `arithmetic` ask for it.
    """
    answer_given = stated(completion)
    if not _NUMERAL.fullmatch(answer):
        return float(answer_given is not None)
    given = [answer_given or "", *completion.split()[-1:]]
    return float(any(last_number(text) is not None for text in given))


REWARDS: Final[dict[str, Reward]] = {"number": number, "formula": formula, "format": final_answer_format}
_BOUNDED: Final = (formula,)
"""Rewards that end by themselves, and whose own limit must not be cut short by the clock of a busy machine."""


def check_answers(reward: str, answers: Sequence[str]) -> None:
    """See that a reward can read the reference answers.

    Raises:
        RequestError: one of them is empty, or is no numeral where `number` wants one.
    """
    for answer in answers:
        if not answer.strip() or (reward == "number" and not _NUMERAL.fullmatch(answer)):
            raise RequestError(
                f"the reference answer {answer!r} cannot be compared by the reward '{reward}'; "
                "`number` takes plain numerals, `formula` takes LaTeX"
            )


def judge(reward: Reward, completions: Sequence[str], answers: Sequence[str], seconds: float = SECONDS) -> list[Judged]:
    """Reward each completion against its reference answer; no completion can stop or hang the run.

    The limit holds for Python code in the main thread (what can hang inside C code, as math-verify can, must run in a
    process that can be killed).

    Args:
        reward: what is earned.
        completions: the texts, without the end of the turn.
        answers: as many reference answers.
        seconds: for one completion, by the clock.

    Raises:
        RunError: the checker cannot be started.
    """
    return [_judge_one(reward, *pair, seconds) for pair in zip(completions, answers, strict=True)]


def _judge_one(reward: Reward, completion: str, answer: str, seconds: float) -> Judged:
    try:
        with _limit(math.inf if reward in _BOUNDED else seconds):
            earned = float(reward(completion, answer))
    except _OutOfTimeError:
        return Judged(0.0, f"not done after {seconds:g} s")
    except RunError:  # the checker does not start: nothing of the text, and nothing can be judged
        raise
    except Exception as error:  # whatever a comparison can raise on a stranger's text
        return Judged(0.0, " ".join(f"{type(error).__name__}: {error}".split())[:200])
    return Judged(earned) if math.isfinite(earned) else Judged(0.0, f"the reward was {earned}")


class _OutOfTimeError(BaseException):
    """No `Exception`: a reward that catches everything must not catch this."""


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Raise `_OutOfTimeError` in the block after some time; without effect outside the main thread."""
    if not math.isfinite(seconds) or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: Any) -> None:
        raise _OutOfTimeError

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
