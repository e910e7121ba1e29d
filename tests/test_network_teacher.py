"""A teacher behind a network in a study: planned, refused without a key, its answers kept like any other's."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from conftest import SMOKE, run_study

from offmodel.builders import Workshop
from offmodel.data.chat import Message
from offmodel.engines.base import Generation
from offmodel.engines.provider import ApiModel, Reply
from offmodel.errors import RequestError
from offmodel.models import model
from offmodel.presets import load_preset
from offmodel.settings import Settings
from offmodel.store import Store
from offmodel.study import Study

TEACHER = "gpt-4.1-nano"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    text = SMOKE.read_text(encoding="utf-8")
    assert 'teachers = ["gemma3-270m"]' in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace('teachers = ["gemma3-270m"]', f'teachers = ["{TEACHER}"]'))
    return path


def test_a_plan_needs_no_key_and_says_what_is_paid_for(mine: Path, tmp_path: Path) -> None:
    done = run_study("--preset", str(mine), "--plan", "--runs", str(tmp_path / "runs"), OFFMODEL_API_KEY="")
    assert done.returncode == 0, done.stderr
    assert f"16 requests to '{TEACHER}', at most 384 answer tokens; its provider may charge" in done.stdout


def test_without_a_key_nothing_starts(mine: Path, tmp_path: Path) -> None:
    done = run_study("--preset", str(mine), "--runs", str(tmp_path / "runs"), OFFMODEL_API_KEY="")
    assert done.returncode == 2
    assert "OFFMODEL_API_KEY" in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not list((tmp_path / "runs").glob("*/*"))


def test_it_cannot_be_a_student(mine: Path) -> None:
    preset = load_preset(str(mine)).model_copy(update={"students": [TEACHER]})
    with pytest.raises(RequestError, match="asked over the network: it can teach, and cannot be a student"):
        _ = Study(preset, 0).pairs


def test_its_answers_are_kept_like_any_other(mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def answer(source: ApiModel, chats: Sequence[Sequence[Message]], keys: Sequence[str], seeds: Sequence[int],
               *_: object) -> list[Reply]:  # fmt: skip
        asked.append((source.name, len(chats)))
        made = [Generation(f"about {chat[-1]['content'][:9]}", 4, "stop") for chat in chats]
        return [Reply(one, "nano-of-april", seeded=i > 0) for i, one in enumerate(made)]

    monkeypatch.setattr("offmodel.builders.data.answer_by_api", answer)
    study = Study(load_preset(str(mine)), 0)
    teacher, store = model(TEACHER), Store(tmp_path / "runs")
    recipe = teacher.answer(study.chat, study.sampling)
    with Workshop(store, Settings(runs=store.root)) as workshop:
        for one in (teacher, recipe):
            store.make(one, lambda out, scratch, one=one: workshop.build(one, out, scratch), lambda: workshop.details)
    assert asked == [("gpt-4.1-nano-2025-04-14", 16)]
    table = pd.read_parquet(store.require(recipe) / "completions.parquet")
    assert len(table) == 16 and table["answer"].str.startswith("about ").all()
    assert table["prompt_tokens"].isna().all() and (table["answer_tokens"] == 4).all()
    told = json.loads((store.require(recipe) / "provenance.json").read_text())
    assert told["engine"] == "api" and told["name"] == "gpt-4.1-nano-2025-04-14"
    assert told["answered_by"] == ["nano-of-april"] and told["seeded"] is False
    assert set(json.loads((store.require(teacher) / "model.json").read_text())) == {"name", "url"}
