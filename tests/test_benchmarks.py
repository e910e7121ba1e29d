"""The benchmarks' smoke sizes: their gates open, or nothing is told. Never how fast anything is."""

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
import torch

from offmodel.paths import ROOT
from offmodel.training.objectives import OBJECTIVES

SMOKE = ["--size", "smoke", "--blocks", "1", "--warm-up", "0", "--threads", "1"]


@pytest.fixture
def training_step(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import training_step

    threads = torch.get_num_threads()
    yield training_step
    torch.set_num_threads(threads)
    for name in ("training_step", "peers"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_contender_computes_the_same(
    training_step: ModuleType, capsys: pytest.CaptureFixture[str], dtype: str
) -> None:
    assert training_step.main([*SMOKE, "--dtype", dtype]) == 0
    printed = capsys.readouterr().out
    assert "gate passed" in printed
    rows = [line[:35].split(maxsplit=1) for line in printed.splitlines()[4:]]
    assert {name for name, _ in rows} == set(OBJECTIVES)
    contenders = ["ours", "plain autograd", "TRL ≤ 1.10", "LLaMA-Factory"]
    installed = ["TRL 1.16"] if find_spec("trl") else []
    assert [who.strip() for name, who in rows if name == "dft"] == contenders + installed


def test_nothing_is_timed_when_a_contender_computes_something_else(
    training_step: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = sys.modules["peers"]
    monkeypatch.setitem(peers.PEERS["dft"], "TRL ≤ 1.10", peers.transformers_sft)  # the weight forgotten
    assert training_step.main([*SMOKE, "--objectives", "dft"]) == 1
    printed = capsys.readouterr().out
    assert "gate: dft, TRL ≤ 1.10: loss differs by" in printed
    assert "FAILED, nothing is timed" in printed
    assert "CPU s" not in printed


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (["--objectives", "dfft"], "error: unknown objective 'dfft'; did you mean 'dft'?"),
        (["--blocks", "0"], "error: --blocks and --threads must be at least 1"),
    ],
)
def test_a_wrong_request_is_one_line(
    training_step: ModuleType, capsys: pytest.CaptureFixture[str], wrong: list[str], line: str
) -> None:
    assert training_step.main([*SMOKE, *wrong]) == 2
    assert capsys.readouterr().err.startswith(line)


@pytest.fixture
def generation(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import generation

    yield generation
    sys.modules.pop("generation", None)


def test_one_way_of_answering_is_measured_in_a_process(generation: ModuleType, smollm2: Path) -> None:
    pytest.importorskip("vllm", reason="this benchmark is of vLLM")
    given = ["--student", str(smollm2), "--prompts", "2", "--tokens", "4"]
    found = generation.in_a_process(generation.WAYS[-1], given)
    assert len(found.answers) == 2 and 2 <= found.tokens <= 8 and found.seconds > 0


@pytest.mark.parametrize("changes", [False, True])
def test_memory_that_changes_answers_is_said(
    generation: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    changes: bool,
) -> None:  # fmt: skip
    speeds = iter([2.0, 1.0, 0.5, 0.5, 1.0, 4.0])  # seconds of 100 tokens, in the order A B C C B A

    def measured(way: object, _: object) -> object:
        answers = ["7", "8"] if changes and way.keeps else ["7", "9"]  # type: ignore[attr-defined]
        return generation.Measured(answers, 100, next(speeds))

    monkeypatch.setattr(generation, "in_a_process", measured)
    code = generation.main(["--student", str(tmp_path), "--rounds", "1"])
    printed = capsys.readouterr().out
    assert code == int(changes) and ("gate FAILED" in printed) == changes
    if not changes:
        # rates 50 and 25, 100 and 100, 200 and 200: to the first of the same round 2 and 4, 4 and 8
        rows = [line.split("  ")[-1] for line in printed.splitlines()[-3:]]
        assert rows == ["1.00 [1.00, 1.00]", "3.00 [2.00, 4.00]", "6.00 [4.00, 8.00]"]


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (["--student", "nowhere"], "error: there is no folder nowhere"),
        (["--student", ".", "--tokens", "0"], "error: --prompts, --tokens and --rounds must be at least 1"),
    ],
)
def test_a_wrong_request_for_answers_is_one_line(
    generation: ModuleType, capsys: pytest.CaptureFixture[str], wrong: list[str], line: str
) -> None:
    assert generation.main(wrong) == 2
    assert capsys.readouterr().err.startswith(line)
