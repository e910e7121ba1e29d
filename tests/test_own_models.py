"""Models that a preset brings along: planned, refused with one line, and really asked."""

import json
from pathlib import Path

import huggingface_hub
import pandas as pd
import pytest
from conftest import SMOKE, run_study
from pydantic import ValidationError

from offmodel.engines.provider import ApiModel
from offmodel.errors import RequestError, RunError
from offmodel.models import MODELS, add_own_models, model
from offmodel.models.own import OwnModel, own_card
from offmodel.models.trainable import check_student
from offmodel.presets import load_preset
from offmodel.study import Study
from offmodel.weights.checkpoints import LocalCheckpoint, copy_checkpoint

FILES = {"model.safetensors": b"weights", "config.json": b"{}", "tokenizer_config.json": b"{}", "modeling.py": b"code"}
COMMIT = "c" * 40


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test adds is gone after it."""
    known = dict(MODELS)
    for module in ("offmodel.models", "offmodel.study"):
        monkeypatch.setattr(f"{module}.MODELS", known)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


def preset(tmp_path: Path, described: str, student: str = "mine") -> str:
    path = tmp_path / "own.toml"
    text = SMOKE.read_text().replace('students = ["smollm2-135m"]', f'students = ["{student}"]')
    path.write_text(f"{text}\n[models.{student}]\n{described}\n")
    return str(path)


def test_one_of_the_hub_is_pinned_by_its_commit_and_known_by_its_options() -> None:
    own = OwnModel(repository="maker/big", commit=COMMIT, parameters=10**9, template_options={"enable_thinking": False})
    add_own_models({"mine": own})
    base = model("mine")
    assert (base.weights, base.chat) == ("hub:" + "c" * 16, 'template:{"enable_thinking": false}')


def test_one_of_this_machine_is_another_model_once_any_file_is_another(checkpoint: Path) -> None:
    add_own_models({"mine": OwnModel(folder=checkpoint, parameters=10)})
    before = model("mine")
    assert before.weights.startswith("sha256:") and model("mine") == before
    (checkpoint / "modeling.py").write_bytes(b"is never taken")
    assert model("mine") == before
    (checkpoint / "tokenizer_config.json").write_bytes(b'{"chat_template": ""}')
    assert model("mine").id != before.id


def test_it_is_copied_without_code_and_not_linked(checkpoint: Path, tmp_path: Path) -> None:
    add_own_models({"mine": OwnModel(folder=checkpoint, parameters=10)})
    weights, out = model("mine").weights, tmp_path / "out"
    out.mkdir()
    copy_checkpoint(LocalCheckpoint(checkpoint), weights, out, lambda line: None)
    assert {path.name for path in out.iterdir()} == FILES.keys() - {"modeling.py"}
    (checkpoint / "model.safetensors").write_bytes(b"trained on")
    assert (out / "model.safetensors").read_bytes() == b"weights"
    with pytest.raises(RunError, match="has changed since this run began"):
        copy_checkpoint(LocalCheckpoint(checkpoint), weights, out, lambda line: None)


HUB, LOCAL = {"repository": "maker/big"}, {"folder": "/x"}


@pytest.mark.parametrize(
    "place",
    [
        {},
        HUB,
        {"commit": COMMIT},
        {**LOCAL, "commit": COMMIT},
        {**LOCAL, **HUB, "commit": COMMIT},
        {"served_as": "big"},
        {**LOCAL, "served_as": "big", "url": "http://here/v1"},
    ],
)
def test_it_is_in_one_place(place: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="give repository and commit, or folder, or served_as and url"):
        OwnModel.model_validate({**place, "parameters": 1})


def test_one_of_a_server_teaches_under_its_own_name(tmp_path: Path) -> None:
    own = OwnModel(served_as="big-one", url="http://localhost:8000/v1")
    add_own_models({"mine": own})
    assert (model("mine").weights, model("mine").chat) == ("api:big-one", "api")
    assert own_card("mine", own).source == ApiModel("big-one", "http://localhost:8000/v1")
    options: dict[str, bool | str] = {"enable_thinking": False}
    silent = own_card("mine", own.model_copy(update={"template_options": options}))
    assert silent.template_options == options and silent.source == ApiModel(
        "big-one", "http://localhost:8000/v1", template_options=options
    )
    planned = preset(tmp_path, 'served_as = "big-one"\nurl = "http://localhost:8000/v1"', "mine")
    with pytest.raises(RequestError, match="asked over the network: it can teach, and cannot be a student"):
        _ = Study(load_preset(planned), 0).pairs


def test_weights_say_how_many_they_are() -> None:
    with pytest.raises(ValidationError, match="say how many parameters it has"):
        OwnModel.model_validate({**HUB, "commit": COMMIT})


def test_a_registered_name_is_not_given_twice() -> None:
    with pytest.raises(RequestError, match="has the name of a registered model"):
        add_own_models({"smollm2-135m": OwnModel(repository="maker/big", commit=COMMIT, parameters=1)})


def test_a_name_that_is_no_file_name() -> None:
    with pytest.raises(RequestError, match="small letters"):
        add_own_models({"../mine": OwnModel(repository="maker/big", commit=COMMIT, parameters=1)})


def test_folders_that_hold_no_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"there is no config.json in .*nowhere"):
        add_own_models({"mine": OwnModel(folder=tmp_path / "nowhere", parameters=1)})
    (checkpoint / "model.safetensors").rename(checkpoint / "consolidated.safetensors")
    with pytest.raises(RequestError, match="holds no safetensors weights as transformers writes them"):
        add_own_models({"mine": OwnModel(folder=checkpoint, parameters=1)})
    (checkpoint / "adapter_config.json").write_text("{}")
    with pytest.raises(RequestError, match="holds an adapter; merge it"):
        add_own_models({"mine": OwnModel(folder=checkpoint, parameters=1)})


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"text_config": {}}, "mine is a model of text and more: it can be a teacher, not a student"),
        ({"final_logit_softcapping": 30.0}, "(final_logit_softcapping = 30.0 in its config.json)"),
        ({"logits_scaling": 8.0}, "(logits_scaling = 8.0 in its config.json)"),
        ({"logits_scaling": 1.0, "logit_scale": None, "final_logit_softcapping": None}, None),
    ],
)
def test_one_that_no_training_would_take_is_refused_at_once(
    checkpoint: Path, config: dict[str, object], said: str | None
) -> None:
    (checkpoint / "config.json").write_text(json.dumps(config))
    card = own_card("mine", OwnModel(folder=checkpoint, parameters=1))
    if said is None:
        check_student(card, None)
        return
    with pytest.raises(RequestError) as refused:
        check_student(card, None)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_one_of_the_hub_is_refused_by_the_config_in_the_mirror(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = own_card("mine", OwnModel(repository="maker/big", commit=COMMIT, parameters=1))
    (checkpoint / "config.json").write_text('{"logit_scale": 0.0625}')
    (tmp_path / "maker").mkdir()
    checkpoint.rename(tmp_path / "maker" / "big")
    with pytest.raises(RequestError, match=r"logit_scale = 0\.0625"):
        check_student(card, tmp_path)

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    check_student(card, tmp_path / "elsewhere")  # what is wrong is said when it is fetched


def test_broken_sections_of_a_preset(tmp_path: Path) -> None:
    place = f'repository = "maker/big"\ncommit = "{COMMIT}"\n'
    for described, said in [
        (place + "parameter = 1", "[models.mine] unknown field 'parameter'; did you mean 'parameters'?"),
        (place.replace("cc", "", 1) + "parameters = 1", "[models.mine] commit: String should match"),
        ("parameters = 1\nfolder = 'here'", "give the whole path of the folder, not here"),
    ]:
        with pytest.raises(RequestError) as refused:
            load_preset(preset(tmp_path, described))
        assert said in str(refused.value) and "\n" not in str(refused.value)


def test_a_checkpoint_of_this_machine_answers_problems(smollm2: Path, tmp_path: Path) -> None:
    mine = preset(tmp_path, f'folder = "{smollm2}"\nparameters = 134_515_008', "tuned")
    done = run_study(
        *("--preset", mine, "--only", "untrained", "--tasks", "instructions", "--limit", "2"),
        *("--runs", str(tmp_path / "runs"), "--engine", "transformers"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (items,) = (tmp_path / "runs").glob("results/*/01_degradation/items.parquet")
    answered = pd.read_parquet(items)
    untrained = answered[answered["arm"] == "untrained"]
    assert untrained["student"].unique().tolist() == ["tuned"] and untrained["response_tokens"].gt(0).all()
