"""Objectives that look at the untrained model: it is the adapter switched off, and is asked no oftener than needed."""

import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from peft import PeftModel
from tiny_student import LORA, Run, random_examples
from torch import Tensor
from transformers import AutoModelForCausalLM

from offmodel.data.chat import MASKED, Example
from offmodel.errors import RequestError
from offmodel.training.objectives import objective
from offmodel.training.reference import reference_log_probabilities, untrained, with_given
from offmodel.training.sft import StudentTrainer

EXAMPLES = [*random_examples(6), Example([3, 4, 5], [MASKED] * 3)]  # the last has nothing to learn
ALL, CPU = slice(None), torch.device("cpu")


def _by_transformers(folder: Path) -> list[Tensor]:
    """The log-probability of each learned token, one example at a time."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    found = []
    for example in EXAMPLES:
        with torch.no_grad():
            logp = model(torch.tensor([example.input_ids])).logits[0].log_softmax(-1)
        gold = [(t - 1, label) for t, label in enumerate(example.labels) if label != MASKED]
        found.append(torch.tensor([logp[t, label].item() for t, label in gold]))
    return found


@pytest.fixture
def moved(tiny: Path, run: Run) -> PeftModel:
    """A student that has learned, with its adapter in place."""
    adapter = run(random_examples(8))
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny), str(adapter), is_trainable=True)


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_the_reference_is_the_start_whatever_the_adapter_has_learned(tiny: Path, moved: PeftModel, batch: int) -> None:
    found = reference_log_probabilities(moved, EXAMPLES, torch.float32, CPU, batch, ALL)
    assert [len(logp) for logp in found] == [sum(label != MASKED for label in one.labels) for one in EXAMPLES]
    for ours, theirs in zip(found, _by_transformers(tiny), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_adapter_is_back_and_learns_when_the_reference_was_asked(moved: PeftModel) -> None:
    ids, learning = torch.tensor([[1, 2, 3]]), [name for name, one in moved.named_parameters() if one.requires_grad]
    before = moved(ids).logits
    with untrained(moved):
        start = moved(ids).logits
    assert not torch.allclose(start, before)
    assert torch.equal(moved(ids).logits, before)
    assert learning == [name for name, one in moved.named_parameters() if one.requires_grad]
    assert learning


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize(
    ("name", "parameters"), [("flow", {}), ("flow", {"tau": 3.0}), ("stm", {"perplexity": 200}), ("clip", {})]
)
def test_fixed_weights_are_those_of_the_start(
    tiny: Path, run: Run, name: str, parameters: dict[str, float], method: str
) -> None:
    training = LORA.but(objective=name, parameters=parameters, method=method, batch_size=7, learning_rate=1e-3)
    curve = pd.read_parquet(run(EXAMPLES, training, device_batch=7) / "training.parquet")
    logp = torch.cat(_by_transformers(tiny))
    tokens = torch.tensor([sum(label != MASKED for label in one.labels) for one in EXAMPLES])
    sequence = torch.arange(len(EXAMPLES)).repeat_interleave(tokens)
    weight = objective(name, parameters)(reference=logp, sequence=sequence).weight
    assert len(set(weight.tolist())) > 1
    assert curve["loss"][0] == pytest.approx((weight * -logp).mean().item(), rel=1e-5)


def test_weights_are_taken_over_the_whole_training_set_not_a_step(run: Run) -> None:
    def first_loss(examples: list[Example]) -> float:
        training = LORA.but(objective="clip", parameters={"fraction": 0.3}, batch_size=2, epochs=2 / len(examples))
        return pd.read_parquet(run(examples, training, device_batch=2) / "training.parquet")["loss"][0]

    # two sure tokens among the others; alone, a third of them would be left out
    few = random_examples(2, seed=4)
    assert first_loss(few) != first_loss([*few, *random_examples(6)])


def test_at_the_first_step_the_student_is_its_reference(run: Run) -> None:
    rows = {
        name: pd.read_parquet(run(EXAMPLES, LORA.but(objective=name)) / "training.parquet").iloc[0]
        for name in ("sft", "dft", "iw_sft", "asft")
    }
    assert rows["iw_sft"]["loss"] == pytest.approx(rows["sft"]["loss"], rel=1e-5)  # every weight is 1
    assert rows["asft"]["loss"] == pytest.approx(rows["dft"]["loss"], rel=1e-5)  # no KL yet


def test_iw_sft_runs_on_full_weights_which_are_asked_before_they_move(run: Run) -> None:
    training = LORA.but(objective="iw_sft", method="full", learning_rate=1e-3, epochs=3)
    curve = pd.read_parquet(run(random_examples(4), training) / "training.parquet")
    assert curve["loss"][0] == pytest.approx(curve["nll"][0], rel=1e-5)
    assert (curve["loss"][1:] > curve["nll"][1:]).all()  # learned answers have become likelier than they were


def test_a_stronger_anchor_keeps_the_student_nearer_to_its_start(tiny: Path, run: Run) -> None:
    def distance(kl: float) -> float:
        training = LORA.but(objective="asft", parameters={"kl": kl}, epochs=8, learning_rate=3e-3)
        adapter = run(random_examples(8), training)
        base = AutoModelForCausalLM.from_pretrained(tiny)
        ids = torch.tensor([random_examples(1)[0].input_ids])
        with torch.no_grad():
            start = base(ids).logits.log_softmax(-1)
            now = PeftModel.from_pretrained(base, str(adapter))(ids).logits.log_softmax(-1)
        return torch.nn.functional.kl_div(now, start, reduction="batchmean", log_target=True).item()

    assert distance(100.0) < 0.2 * distance(0.001)


def test_the_reference_is_asked_once_for_several_objectives_on_the_same_data(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def counted(model: object, examples: list[Example], *rest: object) -> list[Tensor]:
        asked.append(len(examples))
        return reference_log_probabilities(model, examples, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("offmodel.training.sft.reference_log_probabilities", counted)
    students = StudentTrainer(tiny, torch.float32)
    for at, (name, seed) in enumerate([("sft", 0), ("clip", 0), ("flow", 0), ("flow", 1)]):
        training = LORA.but(objective=name)
        students.train(random_examples(4, seed), training, tmp_path / f"{at}", tmp_path / f"{at}-work", device_batch=4)
    assert len(asked) == 2


# What goes wrong


def test_an_objective_that_leaves_nothing_is_refused(run: Run) -> None:
    with pytest.raises(RequestError, match="'stm' leaves no token to learn; change its parameters"):
        run(random_examples(4), LORA.but(objective="stm", parameters={"perplexity": 1.0001}))


def test_examples_without_tokens_get_nothing() -> None:
    made = with_given(EXAMPLES[-2:], [torch.tensor([-1.0, -2.0]), torch.zeros(0)], objective("flow"))
    assert [one.given.tolist() for one in made] == [pytest.approx([math.exp(-1)] * 2), []]
