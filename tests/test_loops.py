"""Answers that end in a loop: when one is noticed, how it goes on, and that vLLM stops where we think it does."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from offmodel.engines.loops import LONGEST, SHORTEST, TIMES, filled, loop
from offmodel.paths import RESULTS, ROOT

EIGHT = [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("ids", "tokens"),
    [
        ([9, *EIGHT * 4], 8),
        ([9, *EIGHT * 4][:-1], 0),  # three times and seven tokens
        ([*EIGHT * 4, 9], 0),  # it has left the loop
        ([5] * 32, 8),
        ([5] * 31, 0),
        ([1, 2, 3] * 12, 9),  # not 3: a loop has 8 tokens at least, and 9 are thrice 3
        ([1, 2, 3] * 11, 0),
        ([*range(97)] * 4, 0),  # longer than any that is looked for
        ([*range(96)] * 4, 96),
        ([], 0),
    ],
)
def test_a_loop_is_noticed_the_fourth_time_round(ids: list[int], tokens: int) -> None:
    assert loop(ids) == tokens


def test_a_loop_goes_on_to_the_limit() -> None:
    assert filled([7, 1, 2, 3], 3, 9) == (7, 1, 2, 3, 1, 2, 3, 1, 2)
    assert filled([7, 1, 2, 3], 3, 4) == (7, 1, 2, 3)


def _texts() -> list[list[int]]:
    """Texts of three words: some end in loops, some do not."""
    draw = random.Random(0)
    texts = [[draw.randrange(3) for _ in range(draw.randrange(80))] for _ in range(60)]
    return [text + text[-draw.randrange(1, 20) :] * draw.randrange(6) for text in texts]


def test_vllm_stops_where_we_notice_a_loop() -> None:
    rule = pytest.importorskip("vllm.v1.core.sched.utils").check_sequence_repetition
    params = pytest.importorskip("vllm.sampling_params").RepetitionDetectionParams(LONGEST, SHORTEST, TIMES)
    found = [loop(text) > 0 for text in _texts()]
    assert found == [rule(text, params) for text in _texts()]
    assert 10 < sum(found) < 50


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import loops

    yield loops
    sys.modules.pop("loops", None)


def test_the_benchmark_cuts_at_the_first_loop(benchmark: ModuleType) -> None:
    for text in _texts():
        first = next((n for n in range(len(text) + 1) if loop(text[:n])), None)
        assert benchmark.noticed(text) == first


class Letters:
    """A tokenizer whose tokens are letters."""

    def decode(self, ids: tuple[int, ...]) -> str:
        return "".join(map(chr, ids))


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("ab" * 20, None, ("ab" * 20, True, 8)),  # noticed after 32 of the 40 letters
        ("ab" * 16 + "b" * 8, None, ("ab" * 20, False, 8)),  # it left the loop before the limit
        ("ab" * 16, 40, ("ab" * 20, False, 0)),  # it ended by itself, right where the loop is noticed
        ("abc", 40, ("abc", True, 0)),
    ],
)
def test_the_benchmark_on_one_answer_by_hand(
    benchmark: ModuleType, text: str, limit: int | None, expected: tuple[str, bool, int]
) -> None:
    assert benchmark.outcome([ord(letter) for letter in text], text, limit, Letters()) == expected


def test_the_benchmark_on_published_answers(
    benchmark: ModuleType, smollm2: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lm_eval")
    assert benchmark.main([str(RESULTS / "pocket" / "01_degradation"), "--tokenizer", str(smollm2)]) == 0
    printed = capsys.readouterr().out
    assert "720 answers, 62 that loop; not computed: 18 % of the tokens" in printed
    assert "scored otherwise: 0" in printed


def test_the_benchmark_says_what_is_wrong(benchmark: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["nowhere", "--tokenizer", "nowhere"]) == 2
    assert capsys.readouterr().err == "error: there is no folder nowhere\n"
