"""The fused head against plain autograd on full logits, and its edges."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from offmodel.training.head import TokenLoss, token_losses
from offmodel.training.objectives import OBJECTIVES, objective
from offmodel.training.terms import Objective

N, WIDTH, VOCABULARY = 11, 6, 23
SEQUENCE = torch.tensor([0, 0, 0, 1, 1, 3, 3, 3, 3, 3, 3])  # example 2 has no token


def _inputs(dtype: torch.dtype = torch.float32, n: int = N) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(n, WIDTH, generator=generator).to(dtype).requires_grad_()
    head = torch.randn(VOCABULARY, WIDTH, generator=generator).to(dtype).requires_grad_()
    return hidden, head, torch.randint(VOCABULARY, (n,), generator=generator)


def _reference(objective: Objective, hidden: Tensor, head: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """What a loop hands over beside the student's hidden states: those of another model, and what comes of them."""
    other = hidden.detach() + 0.3 * torch.randn(hidden.shape, generator=torch.Generator().manual_seed(2)).to(hidden)
    known = {"sequence": SEQUENCE[: len(labels)], "reference": _gold(other, head.detach(), labels)}
    given = objective(**known).weight if objective.fixed else known["reference"]
    return {"sequence": known["sequence"], "given": given, "reference_hidden": other}


def _gold(hidden: Tensor, head: Tensor, labels: Tensor) -> Tensor:
    return (hidden @ head.T).log_softmax(-1).gather(1, labels[:, None]).squeeze(1)


def _fused(name: str, hidden: Tensor, head: Tensor, labels: Tensor, chunk: int = 256) -> TokenLoss:
    chosen = objective(name)
    return token_losses(hidden, head, labels, chosen, **_reference(chosen, hidden, head, labels), chunk=chunk)


def _plain(name: str, hidden: Tensor, head: Tensor, labels: Tensor) -> Tensor:
    chosen = objective(name)
    beside = _reference(chosen, hidden, head, labels)
    logits = hidden @ head.T
    logp = _gold(hidden, head, labels)
    if chosen.fixed:
        return (beside["given"] * -logp).sum()
    weight, _, kl = chosen(
        logp=logp.detach(), logits=logits.detach(), sequence=beside["sequence"], reference=beside["given"]
    )
    loss = (weight * -logp).sum()
    if kl:
        log_q = (beside["reference_hidden"] @ head.T).detach().log_softmax(-1)
        loss = loss + kl * F.kl_div(logits.log_softmax(-1), log_q, reduction="sum", log_target=True)
    if name == "sed":
        loss = loss + _sed_term(logits, logp)
    return loss


def _sed_term(logits: Tensor, logp: Tensor) -> Tensor:
    wavers = logits.softmax(-1).topk(2).values.sum(-1) < 0.95
    return 0.2 * (wavers * (logp.exp() - 0.5) ** 2).sum()


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("chunk", [1, 4, 11, 256])
@pytest.mark.parametrize("frozen", [False, True], ids=["head learns", "head frozen"])
def test_loss_and_gradients_equal_plain_autograd(name: str, dtype: torch.dtype, chunk: int, frozen: bool) -> None:
    upstream = 0.37
    fused, plain = _inputs(dtype), _inputs(dtype)
    for _, head, _ in (fused, plain):
        head.requires_grad_(not frozen)
    loss = _fused(name, *fused, chunk=chunk).loss
    expected = _plain(name, *plain)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    (loss * upstream).backward()
    (expected * upstream).backward()
    torch.testing.assert_close(fused[0].grad, plain[0].grad, rtol=1e-5, atol=1e-6)
    if frozen:
        assert fused[1].grad is None
    elif not objective(name).compares:  # there the reference's head would learn too, which full weights do not have
        torch.testing.assert_close(fused[1].grad, plain[1].grad, rtol=1e-5, atol=1e-6)


def test_dft_is_half_of_cross_entropy_when_two_tokens_are_equally_likely() -> None:
    hidden, head, labels = torch.zeros(3, WIDTH), torch.ones(2, WIDTH), torch.tensor([0, 1, 1])
    assert _fused("sft", hidden, head, labels).loss.item() == pytest.approx(3 * math.log(2))
    assert _fused("dft", hidden, head, labels).loss.item() == pytest.approx(3 * math.log(2) / 2)


def test_token_values_are_those_of_each_row_and_carry_no_gradient() -> None:
    hidden, head, labels = _inputs()
    _, nll, weight = _fused("dft", hidden, head, labels, chunk=4)
    expected = torch.nn.functional.cross_entropy(hidden @ head.T, labels, reduction="none")
    torch.testing.assert_close(nll, expected.detach())
    torch.testing.assert_close(weight, (-expected).exp().detach())
    assert not nll.requires_grad
    assert not weight.requires_grad


@pytest.mark.parametrize("name", OBJECTIVES)
def test_without_tokens_the_loss_is_zero_and_still_has_a_graph(name: str) -> None:
    hidden, head, labels = _inputs(n=0)
    backbone = torch.randn(5, WIDTH, requires_grad=True)
    empty = backbone[torch.zeros(5, dtype=torch.bool)]
    loss = _fused(name, empty + hidden, head, labels).loss
    loss.backward()
    assert loss.item() == 0
    assert backbone.grad is not None
    assert backbone.grad.abs().sum() == 0
    assert head.grad is not None
    assert head.grad.abs().sum() == 0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_frozen_head_gets_no_gradient_and_costs_the_products_of_sft(name: str) -> None:
    hidden, head, labels = _inputs()
    head.requires_grad_(False)
    chosen = objective(name)
    beside = _reference(chosen, hidden, head, labels)
    with FlopCounterMode(display=False) as flops:
        token_losses(hidden, head, labels, chosen, **beside, chunk=4).loss.backward()
    assert head.grad is None
    products = 3 if chosen.compares else 2  # the reference's own logits are one more
    assert flops.get_total_flops() == products * (2 * N * WIDTH * VOCABULARY)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_more_than_a_chunk_of_logits_is_held(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    products = Tensor.__matmul__

    def counted(one: Tensor, other: Tensor) -> Tensor:
        product = products(one, other)
        rows.extend([len(product)] if product.shape[-1] == VOCABULARY else [])
        return product

    hidden, head, labels = _inputs()
    head.requires_grad_(False)
    beside = _reference(objective(name), hidden, head, labels)
    monkeypatch.setattr(Tensor, "__matmul__", counted)
    token_losses(hidden, head, labels, objective(name), **beside, chunk=4)
    assert max(rows) == (2 if objective(name).compares else 4)


def test_the_kl_of_a_student_that_is_its_reference_is_zero_and_pushes_nothing() -> None:
    hidden, head, labels = _inputs()
    head.requires_grad_(False)
    anchored = token_losses(hidden, head, labels, objective("asft", {"kl": 5.0}), reference_hidden=hidden.detach())
    (pushed,) = torch.autograd.grad(anchored.loss, hidden)
    unanchored = _fused("dft", hidden, head, labels)
    (expected,) = torch.autograd.grad(unanchored.loss, hidden)
    torch.testing.assert_close(anchored.loss, unanchored.loss)
    torch.testing.assert_close(pushed, expected)


def test_the_kl_is_taken_under_the_reference() -> None:
    """q = (3/4, 1/4), p = (1/2, 1/2), gold 0: dft 1/2 log 2, KL(q ‖ p) = 3/4 log 3/2 + 1/4 log 1/2 = 0.13081."""
    hidden, head, labels = torch.tensor([[0.0]]), torch.tensor([[1.0], [0.0]]), torch.tensor([0])
    reference = torch.tensor([[math.log(3)]])
    loss = token_losses(hidden, head, labels, objective("asft", {"kl": 2.0}), reference_hidden=reference).loss
    assert loss.item() == pytest.approx(0.5 * math.log(2) + 2 * 0.130812, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_token_of_probability_1e_8_keeps_its_weight_and_a_finite_gradient(dtype: torch.dtype) -> None:
    # logits (18.5, 0), gold the second: p = e^-18.5 = 9.24e-9; taken as 1 - p(other) it would be 0 in fp32, too
    hidden, head, labels = torch.tensor([[18.5]], dtype=dtype), torch.tensor([[1.0], [0.0]], dtype=dtype), torch.ones(1)
    hidden.requires_grad_()
    loss, nll, weight = _fused("dft", hidden, head, labels.long())
    loss.backward()
    assert nll.item() == pytest.approx(18.5)
    assert weight.item() == pytest.approx(math.exp(-18.5), rel=1e-5)
    assert hidden.grad is not None
    assert hidden.grad.item() == pytest.approx(math.exp(-18.5), rel=0.01)  # weight * (softmax of the other token)


def test_a_whole_answer_too_unlikely_for_fp32_gives_zeros_not_nans() -> None:
    hidden, head = torch.full((30, 1), 18.5, requires_grad=True), torch.tensor([[1.0], [0.0]])
    labels, sequence = torch.ones(30, dtype=torch.long), torch.zeros(30, dtype=torch.long)
    for name, weight in (("dft_sentence", 0.0), ("dft_geometric", math.exp(-18.5))):
        tokens = token_losses(hidden, head, labels, objective(name), sequence)
        (gradient,) = torch.autograd.grad(tokens.loss, hidden)
        assert tokens.weight.tolist() == pytest.approx([weight] * 30)
        assert gradient.isfinite().all()


def test_what_an_objective_needs_must_be_there() -> None:
    hidden, head, labels = _inputs()
    for name, missing in (("flow", "given"), ("dft_geometric", "sequence"), ("asft", "reference_hidden")):
        with pytest.raises(TypeError, match=f"needs `{missing}`"):
            token_losses(hidden, head, labels, objective(name))


def test_a_head_alone_can_be_trained() -> None:
    hidden, head, labels = _inputs()
    _fused("sft", hidden.detach(), head, labels, chunk=4).loss.backward()
    other = _inputs()
    _plain("sft", *other).backward()
    torch.testing.assert_close(head.grad, other[1].grad)


def test_scoring_without_gradient_does_only_the_forward_product() -> None:
    hidden, head, labels = _inputs()
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        loss = token_losses(hidden, head, labels, objective("sft")).loss
    assert not loss.requires_grad
    assert flops.get_total_flops() == 2 * N * WIDTH * VOCABULARY


def test_softmax_of_bf16_products_is_taken_in_fp32() -> None:
    hidden, head, labels = _inputs(torch.bfloat16)
    loss, nll, _ = _fused("sft", hidden, head, labels)
    assert nll.dtype == torch.float32
    expected = torch.nn.functional.cross_entropy((hidden @ head.T).float(), labels, reduction="none")
    torch.testing.assert_close(nll, expected.detach(), rtol=1e-6, atol=1e-6)
    loss.backward()
    assert hidden.grad is not None
    assert hidden.grad.dtype == torch.bfloat16
    plain = _inputs(torch.float32)
    _plain("sft", plain[0].to(torch.bfloat16).float(), plain[1].to(torch.bfloat16).float(), labels).backward()
    torch.testing.assert_close(hidden.grad.float(), plain[0].grad, rtol=0.05, atol=0.05)
