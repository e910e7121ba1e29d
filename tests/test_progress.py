"""What long work says of itself: how many, how fast, and the time left, with numbers worked by hand."""

from collections.abc import Callable

import pytest

from offmodel import progress
from offmodel.progress import Progress


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the clock, in seconds."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, seconds)


def test_answers_made_at_once_are_judged_by_their_tokens_until_many_have_ended(at: Callable[[float], None]) -> None:
    bar = Progress("answers", 4, "answer", longest=100)
    at(60)  # the model is loaded
    bar(0, 4)
    assert bar.left() is None
    at(70)
    bar(0, 76)
    assert bar.left() == pytest.approx(320 / 7.6)  # 76 tokens in ten seconds, 320 to come
    at(80)
    bar(1, 120)
    assert bar.left() == pytest.approx(20 / 196 * 200)  # by the answer that ended it would be 60
    at(90)
    bar(2, 20)
    assert bar.left() == 10  # three in 30 seconds; by tokens 100 / (216 / 30) = 13.9: one answer is left
    bar(1, 5)
    assert bar.left() == 0
    bar.close()


def test_what_was_there_before_says_nothing_of_the_speed(
    at: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{'a-long-name-' * 20}: answers"
    bar = Progress(name, 6, "answer", longest=100)
    bar(4, 0)
    assert bar.left() is None
    at(10)
    bar(0, 2)
    at(20)
    bar(1, 50)
    assert bar.left() == 10  # the other as long; by tokens 100 at 5 a second
    bar.close()
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("5/6 answers, 5 tokens/s, ") and last.endswith(f" elapsed, 00:10 left  {name}")


def test_what_was_there_whole_has_nothing_left(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Progress("mine: answers", 6, "answer", longest=100)
    bar(6, 0)
    bar.close()
    assert capsys.readouterr().err.splitlines()[-1].endswith("00:00 left  mine: answers")


def test_steps_are_counted_alone_where_their_length_is_not_known(at: Callable[[float], None]) -> None:
    bar = Progress("training", 0, "step")
    at(30)
    bar.at(3, 9, 1000)  # two were there
    assert bar.left() is None  # when the first began is not known
    at(40)
    bar.at(4, 9, 1000)
    assert bar.left() == 50
    bar.close()
