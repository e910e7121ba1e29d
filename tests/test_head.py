"""The fused head against plain autograd on full logits, and its edges."""

import math

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from offmodel.training.head import weighted_nll
from offmodel.training.objectives import OBJECTIVES, Objective, dft, sft

N, WIDTH, VOCABULARY = 11, 6, 23


def _inputs(dtype: torch.dtype = torch.float32, n: int = N) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(n, WIDTH, generator=generator).to(dtype).requires_grad_()
    head = torch.randn(VOCABULARY, WIDTH, generator=generator).to(dtype).requires_grad_()
    return hidden, head, torch.randint(VOCABULARY, (n,), generator=generator)


def _plain(hidden: Tensor, head: Tensor, labels: Tensor, weight: Objective) -> Tensor:
    logp = (hidden @ head.T).log_softmax(-1).gather(1, labels[:, None]).squeeze(1)
    return (weight(logp.detach()) * -logp).sum()


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("chunk", [1, 4, 11, 256])
def test_loss_and_gradients_equal_plain_autograd(objective: str, dtype: torch.dtype, chunk: int) -> None:
    weight, upstream = OBJECTIVES[objective], 0.37
    fused, plain = _inputs(dtype), _inputs(dtype)
    loss = weighted_nll(*fused, weight, chunk).loss
    expected = _plain(*plain, weight)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    (loss * upstream).backward()
    (expected * upstream).backward()
    for ours, theirs in zip(fused[:2], plain[:2], strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-6)


def test_dft_is_half_of_cross_entropy_when_two_tokens_are_equally_likely() -> None:
    hidden, head, labels = torch.zeros(3, WIDTH), torch.ones(2, WIDTH), torch.tensor([0, 1, 1])
    assert weighted_nll(hidden, head, labels, sft).loss.item() == pytest.approx(3 * math.log(2))
    assert weighted_nll(hidden, head, labels, dft).loss.item() == pytest.approx(3 * math.log(2) / 2)


def test_token_values_are_those_of_each_row_and_carry_no_gradient() -> None:
    hidden, head, labels = _inputs()
    _, nll, weight = weighted_nll(hidden, head, labels, dft, chunk=4)
    expected = torch.nn.functional.cross_entropy(hidden @ head.T, labels, reduction="none")
    torch.testing.assert_close(nll, expected.detach())
    torch.testing.assert_close(weight, (-expected).exp().detach())
    assert not nll.requires_grad
    assert not weight.requires_grad


def test_without_tokens_the_loss_is_zero_and_still_has_a_graph() -> None:
    hidden, head, labels = _inputs(n=0)
    backbone = torch.randn(5, WIDTH, requires_grad=True)
    empty = backbone[torch.zeros(5, dtype=torch.bool)]
    loss = weighted_nll(empty + hidden, head, labels, dft).loss
    loss.backward()
    assert loss.item() == 0
    assert backbone.grad is not None
    assert backbone.grad.abs().sum() == 0
    assert head.grad is not None
    assert head.grad.abs().sum() == 0


def test_a_frozen_head_gets_no_gradient_and_costs_two_matrix_products() -> None:
    hidden, head, labels = _inputs()
    head.requires_grad_(False)
    with FlopCounterMode(display=False) as flops:
        weighted_nll(hidden, head, labels, sft, chunk=4).loss.backward()
    assert head.grad is None
    assert flops.get_total_flops() == 2 * (2 * N * WIDTH * VOCABULARY)


def test_a_head_alone_can_be_trained() -> None:
    hidden, head, labels = _inputs()
    weighted_nll(hidden.detach(), head, labels, sft, chunk=4).loss.backward()
    other = _inputs()
    _plain(*other, sft).backward()
    torch.testing.assert_close(head.grad, other[1].grad)


def test_scoring_without_gradient_does_only_the_forward_product() -> None:
    hidden, head, labels = _inputs()
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        loss = weighted_nll(hidden, head, labels, sft).loss
    assert not loss.requires_grad
    assert flops.get_total_flops() == 2 * N * WIDTH * VOCABULARY


def test_softmax_of_bf16_products_is_taken_in_fp32() -> None:
    hidden, head, labels = _inputs(torch.bfloat16)
    loss, nll, _ = weighted_nll(hidden, head, labels, sft)
    assert nll.dtype == torch.float32
    expected = torch.nn.functional.cross_entropy((hidden @ head.T).float(), labels, reduction="none")
    torch.testing.assert_close(nll, expected.detach(), rtol=1e-6, atol=1e-6)
    loss.backward()
    assert hidden.grad is not None
    assert hidden.grad.dtype == torch.bfloat16
    plain = _inputs(torch.float32)
    _plain(plain[0].to(torch.bfloat16).float(), plain[1].to(torch.bfloat16).float(), labels, sft).backward()
    torch.testing.assert_close(hidden.grad.float(), plain[0].grad, rtol=0.05, atol=0.05)
