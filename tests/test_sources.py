"""Data sets are found, named by their bytes, brought into one form, and drawn in a stable order."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from offmodel.data.draw import draw
from offmodel.data.prompts import MATH, load_prompts
from offmodel.data.sources import HUB, OWN, load_rows, resolve
from offmodel.errors import RequestError
from offmodel.paths import ROOT
from offmodel.values import Prompts

MIRROR = ROOT.parent / "shared" / "data"
needs_mirror = pytest.mark.skipif(not MIRROR.is_dir(), reason=f"no mirror of the public data sets at {MIRROR}")

# One row of each public data set with the hub's columns, and what it becomes.
RAW: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "alpaca": (
        {"instruction": "Name a colour.", "input": "", "output": "Red", "text": "…"},
        {"id": "alpaca-0", "instruction": "Name a colour.", "input": ""},
    ),
    "ifeval": (
        {
            "key": 7,
            "prompt": "No commas, in 9 words.",
            "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
            "kwargs": [{"num_words": None, "relation": None}, {"num_words": 9, "relation": "at least"}],
        },
        {
            "id": "7",
            "key": 7,
            "prompt": "No commas, in 9 words.",
            "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
            "kwargs": [{}, {"num_words": 9, "relation": "at least"}],
            "level": 2,
        },
    ),
    "mmlu": (
        {"question": "2+2?", "subject": "abacus", "choices": ["1", "2", "3", "4"], "answer": 3},
        {"id": "mmlu-0", "question": "2+2?", "choices": ["1", "2", "3", "4"], "answer": 3, "subject": "abacus"},
    ),
    "math500": (
        {"problem": "1+1?", "solution": "…", "answer": "2", "subject": "Algebra", "level": 1, "unique_id": "test/1"},
        {"id": "test/1", "question": "1+1?", "answers": ["2"], "tolerance": None, "level": 1, "subject": "Algebra"},
    ),
    "olympiads": (
        {
            "id": 5,
            "subfield": "Geometry",
            "context": None,
            "question": "Find all x.",
            "final_answer": ["$1$,$\\frac{1}{2}$"],
            "unit": None,
            "error": "1e-1",
        },
        {"id": "5", "question": "Find all x.", "answers": ["1,\\frac{1}{2}"], "tolerance": 0.1, "subject": "Geometry"},
    ),
    "gsm8k": (
        {"question": "How much?", "answer": "First 1+1=<<1+1=2>>2.\nThen 2*600=1,200.\n#### 1,200"},
        {"id": "gsm8k-0", "question": "How much?", "answer": "1200", "level": 2},
    ),
}


def write_mirror(folder: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    path = folder / HUB[name].mirror
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", RAW)
def test_row_is_brought_into_one_form(name: str, tmp_path: Path) -> None:
    raw, expected = RAW[name]
    write_mirror(tmp_path, name, [raw])
    assert load_rows(name, tmp_path) == [expected]


def test_revision_follows_the_bytes(tmp_path: Path) -> None:
    path = write_mirror(tmp_path, "math500", [RAW["math500"][0]])
    before = resolve("math500", tmp_path)
    assert before.where == str(path)
    assert before.revision.startswith("sha256:") and len(before.revision) == 19
    path.write_text(path.read_text() + "\n")
    assert resolve("math500", tmp_path).revision != before.revision


def test_environment_names_the_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mirror(tmp_path, "math500", [RAW["math500"][0]])
    monkeypatch.setenv("OFFMODEL_DATA", str(tmp_path))
    assert load_rows("math500")[0]["id"] == "test/1"
    monkeypatch.delenv("OFFMODEL_DATA")
    assert resolve("math500").revision == HUB["math500"].commit


def test_every_public_data_set_is_pinned() -> None:
    assert all(re.fullmatch("[0-9a-f]{40}", hub.commit) for hub in HUB.values())


def test_missing_data_set_names_the_path_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="'math500' is not in the mirror") as caught:
        resolve("math500", tmp_path)
    assert str(tmp_path / "math500" / "test.jsonl") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_data_set_offers_the_nearest() -> None:
    with pytest.raises(RequestError, match="did you mean 'math500'"):
        resolve("math50")


def test_broken_line_is_named(tmp_path: Path) -> None:
    path = write_mirror(tmp_path, "math500", [RAW["math500"][0]])
    path.write_text(path.read_text() + '{"problem": \n')
    with pytest.raises(RequestError, match=r"test\.jsonl:2: not valid JSON"):
        load_rows("math500", tmp_path)


@pytest.mark.parametrize("row", [{"question": "?", "answer": "1"}, {"problem": "?"}])
def test_missing_column_is_named(row: dict[str, Any], tmp_path: Path) -> None:
    write_mirror(tmp_path, "math500", [RAW["math500"][0], row])
    with pytest.raises(RequestError, match="row 2 is not a row of 'math500'"):
        load_rows("math500", tmp_path)


def test_unreachable_hub_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    code = (
        "from offmodel.data.sources import load_rows\nfrom offmodel.errors import RequestError\n"
        "try:\n    load_rows('math500')\nexcept RequestError as error:\n    print(error)\n"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9", "OFFMODEL_DATA": ""}
    for offline in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**environment, "HF_HUB_OFFLINE": offline},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.stdout.split("\n")[:-1] == [
            "the hub's HuggingFaceH4/MATH-500 cannot be reached; give --data DIR, a mirror with math500/test.jsonl"
        ], done.stderr


@pytest.mark.parametrize("name", OWN)
def test_own_files_have_unique_ids(name: str) -> None:
    ids = [row["id"] for row in load_rows(name)]
    assert ids and len(set(ids)) == len(ids)


@needs_mirror
@pytest.mark.parametrize(
    ("name", "rows"),
    [("alpaca", 6000), ("ifeval", 541), ("mmlu", 14042), ("math500", 500), ("olympiads", 675), ("gsm8k", 1319)],
)
def test_mirror_is_whole(name: str, rows: int) -> None:
    loaded = load_rows(name, MIRROR)
    assert len(loaded) == rows == len({row["id"] for row in loaded})


ROWS = [{"id": number, "kind": "rare" if number % 10 == 0 else "common"} for number in range(100)]


@pytest.mark.parametrize("strata", [None, "kind"])
def test_smaller_draw_begins_the_larger(strata: str | None) -> None:
    large = draw(ROWS, 100, 3, strata)
    assert {row["id"] for row in large} == set(range(100))
    for n in (1, 8, 50):
        assert draw(ROWS, n, 3, strata) == large[:n]
    assert draw(ROWS, 8, 4, strata) != large[:8]


def test_strata_come_in_proportion() -> None:
    for seed in range(20):
        order = draw(ROWS, 100, seed, "kind")
        for n in range(10, 101, 10):
            assert abs(Counter(row["kind"] for row in order[:n])["rare"] - n / 10) <= 1


def test_no_stratum_is_favoured_over_the_seeds() -> None:
    # A tenth of the rows is rare, so the first ten hold one of them on average: 1000 draws, over five standard errors.
    rare = sum(row["kind"] == "rare" for seed in range(1000) for row in draw(ROWS, 10, seed, "kind"))
    assert abs(rare / 1000 - 1) < 0.05


def test_draw_is_the_same_in_every_process() -> None:
    code = "from offmodel.data.draw import draw\nprint([row['i'] for row in draw([{'i': i} for i in range(99)], 9, 0)])"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert outputs == {str([row["i"] for row in draw([{"i": i} for i in range(99)], 9, 0)]) + "\n"}


@pytest.mark.parametrize("n", [0, -1, 101])
def test_impossible_draw_is_refused(n: int) -> None:
    with pytest.raises(RequestError, match="there are 100"):
        draw(ROWS, n, 0)


def chat(n: int, **changes: Any) -> Prompts:
    return Prompts(source="chat", revision=resolve("chat").revision, n=n, **changes)


def test_prompts_are_user_messages_with_the_input() -> None:
    by_id = {row["id"]: row for row in load_rows("chat")}
    for prompt in load_prompts(chat(64)):
        row = by_id[prompt["id"]]
        content = f"{row['instruction']}\n\n{row['input']}" if row["input"] else row["instruction"]
        assert prompt["messages"] == [{"role": "user", "content": content}]


def test_held_out_prompts_follow_and_never_overlap() -> None:
    recipe = chat(64)
    trained, held_out = load_prompts(recipe), load_prompts(recipe.held_out(32))
    assert trained + held_out == load_prompts(chat(96))
    assert len({prompt["id"] for prompt in trained + held_out}) == 96


def test_held_out_prompts_without_mathematics_are_none_that_were_trained_on_with_it() -> None:
    trained, held_out = load_prompts(chat(64)), load_prompts(chat(64).held_out(32).but(math=False))
    assert any(prompt["math"] for prompt in trained) and not any(prompt["math"] for prompt in held_out)
    assert len({prompt["id"] for prompt in trained + held_out}) == 96


def test_leaving_out_mathematics_keeps_the_order() -> None:
    everything = load_prompts(chat(128))
    assert any(prompt["math"] for prompt in everything)
    plain = [prompt for prompt in everything if not prompt["math"]]
    assert load_prompts(chat(len(plain)).but(math=False)) == plain


def test_another_seed_is_another_order() -> None:
    assert load_prompts(chat(16)) != load_prompts(chat(16, seed=1))


def test_too_few_prompts_are_refused() -> None:
    with pytest.raises(RequestError, match="there are 320 in all"):
        load_prompts(chat(300, skip=21))
    with pytest.raises(RequestError, match="without mathematics"):
        load_prompts(chat(320).but(math=False))


def test_prompts_of_another_revision_are_refused() -> None:
    with pytest.raises(RequestError, match="planned with sha256:0"):
        load_prompts(chat(4).but(revision="sha256:000000000000"))


def test_unknown_prompt_source_is_refused() -> None:
    with pytest.raises(RequestError, match="did you mean 'alpaca'"):
        load_prompts(chat(4).but(source="alpacca"))


@needs_mirror
def test_alpaca_without_mathematics() -> None:
    recipe = Prompts(source="alpaca", revision=resolve("alpaca", MIRROR).revision, n=500, math=False)
    prompts = load_prompts(recipe, MIRROR)
    assert len(prompts) == 500
    assert [p for p in prompts if MATH.search(p["messages"][0]["content"])] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Calculate the sum of 5857 and 9224.", True),
        ("What is 3 + 4?", True),
        ("Find the two prime factors of 24.", True),
        ("Convert 180 centimeters to inches.", True),
        ("Who was the prime minister in 1940?", False),
        ("Add a comma between the two parts of the sentence.", False),
        ("Summarize the given text in 30 words.", False),
    ],
)
def test_mathematics_is_recognised(text: str, expected: bool) -> None:
    assert (MATH.search(text) is not None) is expected
