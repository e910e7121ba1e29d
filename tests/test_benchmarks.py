"""The benchmark's smoke size: its gate opens, or nothing is timed. Never how fast anything is."""

import sys
from collections.abc import Iterator
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
    assert [who.strip() for name, who in rows if name == "dft"] == ["ours", "plain autograd", "TRL", "LLaMA-Factory"]


def test_nothing_is_timed_when_a_contender_computes_something_else(
    training_step: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = sys.modules["peers"]
    monkeypatch.setitem(peers.PEERS["dft"], "TRL", peers.transformers_sft)  # the weight forgotten
    assert training_step.main([*SMOKE, "--objectives", "dft"]) == 1
    printed = capsys.readouterr().out
    assert "gate: dft, TRL: loss differs by" in printed
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
