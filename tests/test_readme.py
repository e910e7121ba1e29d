"""What the README names is there, and what it tells to run is accepted."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import SMOKE, run_study

from analysis.load import load
from analysis.objectives_text import markdown_t6
from analysis.recovery_text import markdown_t4
from analysis.tables import print_scores
from analysis.versus_text import markdown_t5
from offmodel.paths import RESULTS, ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE = [line.strip().partition("#")[0].strip() for line in README.splitlines() if line.startswith("    ")]
COMMANDS = [line for line in CODE if line.startswith("python experiments/")]
TREE = re.findall(r"^    (\S+?/?)  +\S", README.partition("## Where things are")[2], flags=re.MULTILINE)
MIRROR = ROOT.parent / "shared" / "data"


def test_every_path_is_there() -> None:
    linked = re.findall(r"\]\(([\w./-]+)\)", README)
    quoted = re.findall(
        r"`((?:experiments|analysis|src|data|notebooks|tests|benchmarks|requirements)/[\w./-]*)`", README
    )
    assert TREE and linked
    named = [path for path in [*TREE, *linked, *quoted] if not path.startswith("data/runs/")]  # made by a first study
    missing = [path for path in named if not (ROOT / path).exists()]
    assert not missing


def test_every_make_target_is_there() -> None:
    named = {line.split()[1] for line in CODE if line.startswith("make ")} | set(re.findall(r"`make (\w+)", README))
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert named and named <= targets


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_accepted(command: str, tmp_path: Path) -> None:
    _, script, *arguments = command.split()
    if "DIR" in arguments and not MIRROR.is_dir():
        pytest.skip("the mirror of public data sets is not beside the checkout")
    given = {"DIR": str(MIRROR), "FILE": str(SMOKE), "mine.toml": str(SMOKE), "FOLDER": str(tmp_path)}
    done = run_study(*(given.get(one, one) for one in arguments), "--plan", script=Path(script).name)
    assert done.returncode == 0, done.stderr
    assert "artefacts are there" in done.stdout


def test_the_table_is_the_one_of_the_committed_results() -> None:
    block = README.partition("    Arithmetic: ")[2].partition("\n\n")[0]
    lines = f"Arithmetic: {block}".replace("\n    ", "\n")
    assert len(lines.splitlines()) == 7
    assert lines in print_scores(load("pocket", "01_degradation").scores)


def test_what_brings_it_back_is_a_part_of_t4() -> None:
    shown = README.partition("## What brings it back")[2].partition("\n\n    python")[0]
    rows = [line for line in shown.splitlines() if line.startswith("|")]
    assert len(rows) > 5 and set(rows) <= set(markdown_t4(RESULTS / "desk").splitlines())


def test_what_dft_does_is_a_part_of_t5_and_t6() -> None:
    section = README.partition("## What DFT does")[2].partition("\n## ")[0]
    against_sft, objectives = (
        {line for line in part.splitlines() if line.startswith("|")} for part in section.split("\n### ")[1:]
    )
    t5 = [line for preset in ("desk", "pocket") for line in markdown_t5(RESULTS / preset).splitlines()]
    assert len(against_sft) > 10 and against_sft <= set(t5)
    t6 = [line for line in markdown_t6(load("desk", "18_objectives")).splitlines() if "| 0.0001 |" not in line]
    assert objectives == {line for line in t6 if line.startswith("|")}


def test_the_script_that_shows_how_to_extend_it_is_one(tmp_path: Path) -> None:
    example = README.partition("`20_then_dft.py`, say:\n")[2].partition("\n  It prints")[0]
    script = tmp_path / "20_then_dft.py"
    script.write_text(textwrap.dedent(example).strip() + "\n", encoding="utf-8")
    command = [sys.executable, str(script), "--plan", "--runs", str(tmp_path / "runs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert "20_then_dft: 20 · Does DFT on own answers" in done.stdout
    assert "smollm2-135m.sft-gemma3-270m.dft-smollm2-135m" in done.stdout
