"""The numbered script where vLLM is not installed: the same work on the transformers engine."""

import json
from pathlib import Path

import pandas as pd
import pytest
from conftest import SMOKE, run_study


def test_the_transformers_engine_answers_trains_and_is_scored(run_folder_with_models, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs the extra `cpu` or `gpu`")
    runs = run_folder_with_models()
    asked = ("--preset", str(SMOKE), "--only", "on_model_sft", "--tasks", "arithmetic", "--limit", "5")
    done = run_study(*asked, "--engine", "transformers", "--runs", str(runs))
    assert done.returncode == 0, done.stdout + done.stderr
    items = pd.read_parquet(runs / "results" / "smoke.part" / "01_degradation" / "items.parquet")
    assert items[items.arm == "on_model_sft"].item.nunique() == 5
    (answers,) = (runs / "completions").iterdir()
    assert json.loads((answers / "provenance.json").read_text())["engine"] == "transformers"
