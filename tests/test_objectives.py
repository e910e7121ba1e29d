"""The weights that objectives put on tokens, against numbers worked by hand."""

import math
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from tiny_student import random_examples
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from offmodel import objective_names
from offmodel.training import objectives
from offmodel.training.head import token_losses
from offmodel.training.objectives import (
    OBJECTIVES,
    asft,
    clip,
    dft,
    dft_geometric,
    dft_sentence,
    eaft,
    flow,
    iw_sft,
    objective,
    sed,
    sft,
    sft_kl,
    stm,
)
from offmodel.training.terms import INPUTS

# Two examples of tokens with probabilities 1/2, 1/8 and 1/4, 1/4, 1/2
TWO = torch.tensor([0, 0, 1, 1, 1])


def logs(*probabilities: float) -> Tensor:
    return torch.tensor(probabilities).log()


P = logs(1 / 2, 1 / 8, 1 / 4, 1 / 4, 1 / 2)

# One token at a time


def test_sft_weighs_every_token_alike() -> None:
    assert sft(torch.tensor([0.0, -3.0, -900.0])).tolist() == [1, 1, 1]


def test_dft_weighs_a_token_by_its_probability() -> None:
    logp = torch.tensor([0.0, math.log(0.5), math.log(0.1), -900.0])
    assert dft(logp).tolist() == pytest.approx([1, 0.5, 0.1, 0])


def test_dft_gradient_is_that_of_minus_the_probability() -> None:
    """arXiv 2508.05629, equation 13."""
    logits = torch.tensor([[0.3, -1.2, 2.0], [0.0, 0.5, -0.5]], dtype=torch.float64, requires_grad=True)
    logp = logits.log_softmax(-1)[[0, 1], [2, 0]]
    (by_objective,) = torch.autograd.grad((dft(logp.detach()) * -logp).sum(), logits, retain_graph=True)
    (by_probability,) = torch.autograd.grad(-logp.exp().sum(), logits)
    torch.testing.assert_close(by_objective, by_probability)


def test_asft_is_dft_and_a_share_of_the_kl() -> None:
    terms = asft(P, kl=0.05)
    assert terms.weight.tolist() == dft(P).tolist()
    assert (terms.extra, terms.kl) == (None, 0.05)


def test_sft_with_a_kl_is_sft_and_a_share_of_the_kl() -> None:
    terms = sft_kl(P, kl=0.05)
    assert terms.weight.tolist() == [1, 1, 1, 1, 1]
    assert (terms.extra, terms.kl) == (None, 0.05)


def test_eaft_weighs_by_the_entropy_of_the_20_likeliest_tokens() -> None:
    flat = torch.zeros(20)  # entropy log 20
    coin = torch.full((20,), -100.0).index_fill(0, torch.tensor([3, 7]), 0.0)  # log 2
    sure = torch.full((20,), -100.0).index_fill(0, torch.tensor([5]), 0.0)  # 0
    rest = torch.full((3, 30), -3.0)  # less likely than the 20 where these are flat, and so not counted there
    rest[1:] = -200.0
    logits = torch.cat([torch.stack([flat, coin, sure]), rest], dim=1)
    assert eaft(logits, power=1.0).tolist() == pytest.approx([math.log(20) / 3, math.log(2) / 3, 0], abs=1e-6)
    assert eaft(logits, power=2.0)[1].item() == pytest.approx((math.log(2) / 3) ** 2)
    assert eaft(logits[:, :2], power=1.0)[0].item() == pytest.approx(math.log(2) / 3)  # a vocabulary of two


def test_sed_draws_the_probability_to_a_half_where_the_student_wavers() -> None:
    # likeliest two: 0.5 + 0.3 < 0.95, a wavering student; 0.9 + 0.06 > 0.95, a sure one; the gold token is the first
    logits = torch.stack([logs(0.5, 0.3, 0.2), logs(0.9, 0.06, 0.04), logs(0.1, 0.6, 0.3)])
    logp = logits[:, 0].clone().requires_grad_()
    terms = sed(logp, logits, strength=0.2, certainty=0.95)
    assert terms.weight.tolist() == [1, 1, 1]
    assert terms.extra is not None
    # 0.2 * (0.5 - 0.5)^2, nothing, 0.2 * (0.1 - 0.5)^2
    assert terms.extra.tolist() == pytest.approx([0, 0, 0.032])
    (by_logp,) = torch.autograd.grad(terms.extra.sum(), logp)
    # 0.2 * 2 * (p - 1/2) * p
    assert by_logp.tolist() == pytest.approx([0, 0, -0.016])


# Whole examples


def test_dft_of_a_sentence_weighs_by_the_product_of_its_probabilities() -> None:
    assert dft_sentence(P, TWO).tolist() == pytest.approx([1 / 16, 1 / 16, 1 / 32, 1 / 32, 1 / 32])


def test_the_geometric_mean_takes_the_length_out() -> None:
    # (1/16)^(1/2) = 1/4; (1/32)^(1/3) = 0.31498
    assert dft_geometric(P, TWO).tolist() == pytest.approx([0.25, 0.25, 0.31498, 0.31498, 0.31498], rel=1e-4)


def test_iw_sft_weighs_an_example_by_how_much_likelier_it_has_become() -> None:
    reference = logs(1 / 4, 1 / 16, 1 / 2, 1 / 4, 1 / 8)
    # ratios 2, 2: mean log 2; ratios 1/2, 1, 4: mean (log 2) / 3
    weights = iw_sft(P, TWO, reference, temperature=1.0, ceiling=16.0)
    assert weights.tolist() == pytest.approx([2, 2, 2 ** (1 / 3), 2 ** (1 / 3), 2 ** (1 / 3)])
    assert iw_sft(P, TWO, reference, temperature=3.0, ceiling=16.0).tolist() == pytest.approx([8, 8, 2, 2, 2])
    assert iw_sft(P, TWO, reference, temperature=3.0, ceiling=4.0).tolist() == pytest.approx([4, 4, 2, 2, 2])
    assert iw_sft(P, TWO, P, temperature=1.0, ceiling=16.0).tolist() == [1, 1, 1, 1, 1]
    assert iw_sft(P + 5000, TWO, P, temperature=1.0, ceiling=16.0).tolist() == pytest.approx([16] * 5)


def test_no_gradient_leaks_through_the_weight_of_an_example() -> None:
    hidden = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    head, labels = torch.randn(7, 4, generator=torch.Generator().manual_seed(1)), torch.tensor([1, 6, 2, 2, 0])
    logp = (hidden @ head.T).log_softmax(-1)[torch.arange(5), labels]
    for name in ("dft_sentence", "dft_geometric", "iw_sft"):
        chosen = objective(name)
        weight = chosen(logp=logp.detach(), sequence=TWO, reference=P).weight
        (expected,) = torch.autograd.grad((weight * -logp).sum(), hidden, retain_graph=True)
        (ours,) = torch.autograd.grad(token_losses(hidden, head, labels, chosen, TWO, P).loss, hidden)
        torch.testing.assert_close(ours, expected)
        leaking = chosen(logp=logp, sequence=TWO, reference=P).weight
        (leaked,) = torch.autograd.grad((leaking * -logp).sum(), hidden, retain_graph=True)
        assert not torch.allclose(leaked, expected, rtol=0.01)


# What the untrained model says, once


def test_flow_weighs_an_example_by_its_loss_against_the_median() -> None:
    # losses in log 2: (1 + 3) / 2 = 2, (2 + 2 + 1) / 3 = 5/3, 6; their median is 2
    reference, sequence = torch.cat([P, logs(1 / 64)]), torch.tensor([0, 0, 1, 1, 1, 4])
    weights = [math.exp(-1), math.exp(-1), *[math.exp(-5 / 6)] * 3, math.exp(-3)]
    assert flow(reference, sequence, tau=None).tolist() == pytest.approx(weights)  # 2 and 3 have no token
    in_bits = [math.exp(-2), math.exp(-2), *[math.exp(-5 / 3)] * 3, math.exp(-6)]
    assert flow(reference, sequence, tau=math.log(2)).tolist() == pytest.approx(in_bits)


def test_the_median_of_two_examples_lies_between_them() -> None:
    # losses log 2 and 3 log 2, median 2 log 2
    assert flow(logs(1 / 2, 1 / 8), torch.tensor([0, 1]), tau=None).tolist() == pytest.approx(
        [math.exp(-1 / 2), math.exp(-3 / 2)]
    )


def test_stm_leaves_out_tokens_of_high_perplexity() -> None:
    # perplexities 2, 2.49, 2.51, 1000
    assert stm(logs(0.5, 1 / 2.49, 1 / 2.51, 0.001), perplexity=2.5).tolist() == [1, 1, 0, 0]


def test_clip_leaves_out_the_least_likely_share_rounded_down() -> None:
    reference = logs(0.5, 0.01, 0.3, 0.2, 0.05, 0.9, 0.05, 0.6, 0.7, 0.8)
    assert clip(reference, fraction=0.1).tolist() == [1, 0, 1, 1, 1, 1, 1, 1, 1, 1]
    assert clip(reference, fraction=0.29).tolist() == [1, 0, 1, 1, 0, 1, 1, 1, 1, 1]  # of two alike, the first
    assert clip(reference, fraction=0.05).tolist() == [1] * 10
    assert clip(-torch.arange(100.0), fraction=0.29).sum() == 71  # 0.29 * 100 is 28.999… in floating point


# The family


def test_every_name_has_its_function_and_every_function_its_name() -> None:
    public = {name for name, one in vars(objectives).items() if getattr(one, "__module__", "") == objectives.__name__}
    functions = {name for name in public if not name.startswith("_")} - {"objective"}
    assert functions == set(objective_names.OBJECTIVES) == set(OBJECTIVES)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_keep_shape_take_no_tokens_and_say_where_they_come_from(name: str) -> None:
    chosen = objective(name)
    assert set(chosen.inputs) <= set(INPUTS)
    for n in (5, 0):
        known = {"logp": P[:n], "reference": P[:n], "sequence": TWO[:n], "logits": torch.zeros(n, 30)}
        terms = chosen(**known)
        assert terms.weight.shape == (n,)
        assert bool(terms.kl) == chosen.compares
        assert not terms.weight.requires_grad
    assert name in ("sft", "sft_kl", "clip") or "arXiv 2" in (OBJECTIVES[name].__doc__ or "")


def test_what_each_looks_at() -> None:
    kinds = {
        name: [kind for kind in ("fixed", "sees_examples", "needs_reference", "compares") if getattr(one, kind)]
        for name, one in ((name, objective(name)) for name in OBJECTIVES)
    }
    assert {name: kind for name, kind in kinds.items() if kind} == {
        "dft_sentence": ["sees_examples"],
        "dft_geometric": ["sees_examples"],
        "iw_sft": ["sees_examples", "needs_reference"],
        "asft": ["compares"],
        "sft_kl": ["compares"],
        "flow": ["fixed", "needs_reference"],
        "stm": ["fixed", "needs_reference"],
        "clip": ["fixed", "needs_reference"],
    }


# DFT as others compute it


@pytest.mark.parametrize("loss_type", ["nll", "dft"])
def test_sft_and_dft_are_those_of_the_installed_trl(loss_type: str, tiny: Path, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl", reason="needs the extra `rl`")
    examples = [{"input_ids": one.input_ids, "labels": one.labels} for one in random_examples(6)]
    trainer = trl.SFTTrainer(
        AutoModelForCausalLM.from_pretrained(tiny),
        trl.SFTConfig(str(tmp_path), loss_type=loss_type, use_cpu=True, bf16=False, report_to=[], max_length=None),
        train_dataset=Dataset.from_list(examples),
        processing_class=AutoTokenizer.from_pretrained(tiny, pad_token="0", eos_token="0"),
    )
    model, batch = trainer.model, trainer.data_collator(examples)
    learned = batch["labels"][:, 1:] != -100
    n = learned.sum()

    hidden = model.model(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    labels = batch["labels"][:, 1:][learned]
    chosen = objective({"nll": "sft", "dft": "dft"}[loss_type])
    ours = token_losses(hidden[:, :-1][learned], model.lm_head.weight, labels, chosen, chunk=4).loss / n
    theirs = trainer.compute_loss(model, {**batch}, num_items_in_batch=n)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    weights = dict(model.named_parameters())
    for name in ("model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight"):
        by_ours, by_theirs = (torch.autograd.grad(one, weights[name], retain_graph=True)[0] for one in (ours, theirs))
        torch.testing.assert_close(by_ours, by_theirs, rtol=1e-4, atol=1e-6)


def _paper(logits: Tensor, labels: Tensor) -> Tensor:
    """The one line of arXiv 2508.05629 (github.com/yongliang-wu/DFT): cross-entropy times the detached softmax."""
    gold, mask = labels[:, 1:].clamp(min=0).reshape(-1), (labels[:, 1:] != -100).reshape(-1)
    flat = logits[:, :-1].reshape(len(gold), -1)
    loss = torch.nn.functional.cross_entropy(flat, gold, reduction="none")
    loss = loss * torch.softmax(flat, dim=-1).gather(1, gold[:, None]).squeeze(1).detach()
    return (loss * mask).sum() / mask.sum()


@pytest.mark.parametrize("seed", range(5))
def test_dft_is_the_one_line_of_the_paper(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    hidden = (2 * torch.randn(3, 9, 8, generator=draw)).requires_grad_()
    head = torch.randn(50, 8, generator=draw)
    labels = torch.randint(50, (3, 9), generator=draw)
    labels[0, :4], labels[1, :2], labels[1, 7:], labels[2, :] = -100, -100, -100, -100
    learned = labels[:, 1:] != -100
    n = int(learned.sum())

    ours = token_losses(hidden[:, :-1][learned], head, labels[:, 1:][learned], objective("dft"), chunk=4).loss / n
    logits = hidden @ head.T
    (by_ours,) = torch.autograd.grad(ours, hidden)
    theirs = _paper(logits, labels)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    (by_theirs,) = torch.autograd.grad(theirs, hidden)
    torch.testing.assert_close(by_ours, by_theirs, rtol=1e-5, atol=1e-6)
