"""The weights that objectives put on tokens, against numbers worked by hand."""

import math

import pytest
import torch

from offmodel.training.objectives import OBJECTIVES, dft, sft


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


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_keep_shape_and_take_no_tokens(name: str) -> None:
    assert OBJECTIVES[name](torch.zeros(5)).shape == (5,)
    assert OBJECTIVES[name](torch.zeros(0)).shape == (0,)
