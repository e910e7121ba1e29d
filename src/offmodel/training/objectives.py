"""What is minimised: the family of objectives, each a pure function to weights on tokens' negative log-likelihoods.

The loss is sum(weight * nll) / N with N the completion tokens of the whole optimiser step, whatever the weights sum to.
Weights carry no gradient, so the losses of two objectives are on different scales and are never compared: `nll`, which
is logged for each, is. Below, t runs over the T tokens of an example, p_t is the probability that the student gives
token t now, q_t the one that the untrained model gave it; sg(...) passes no gradient.

What the arguments hold, and how a function asks for them by name, stands in `training.terms`. Another objective is a
function here and a line in `offmodel.objective_names`.
"""

import math
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from offmodel import objective_names
from offmodel.training.terms import Function, Objective, Terms


def sft(logp: Tensor) -> Tensor:
    """Weight 1: cross-entropy on the teacher's tokens."""
    return torch.ones_like(logp)


def dft(logp: Tensor) -> Tensor:
    """Weight sg(p_t): dynamic fine-tuning, arXiv 2508.05629, equation 9.

    Its gradient is that of -p_t (equation 13), so tokens that the student finds impossible get no push. p is that of
    the student at this step. Whose answers are learned is no part of it: on the student's own judged samples, drawn
    once before training, it is *offline DFT* (the paper's offline RL table); *online DFT* would draw them anew from the
    student as it changes, and is not run here.
    """
    return logp.exp()


def dft_sentence(logp: Tensor, sequence: Tensor) -> Tensor:
    """Weight sg(Π_t p_t) for all tokens of an example: arXiv 2508.05629, ablation of the level of weighting.

    The equation without the step to single tokens (before equation 9). The product is summed in logarithms, and is
    still next to nothing for an answer of usual length: in the paper this learns nothing.
    """
    return _sums(logp, sequence)[0][sequence].exp().to(logp.dtype)


def dft_geometric(logp: Tensor, sequence: Tensor) -> Tensor:
    """Weight sg((Π_t p_t)^(1/T)), the geometric mean: arXiv 2508.05629, same ablation."""
    return _means(logp, sequence)[sequence].exp().to(logp.dtype)


def iw_sft(logp: Tensor, sequence: Tensor, reference: Tensor, *, temperature: float, ceiling: float) -> Tensor:
    """Weight sg(min(exp(temperature * mean_t(log p_t - log q_t)), ceiling)): importance-weighted SFT, arXiv 2507.12856.

    The mean over tokens in place of the sum, temperature 1 and ceiling 16 are those of the authors' code
    (github.com/emmyqin/iw_sft, bounding_trainers.py), which takes no gradient through the weight. Every weight is 1 at
    the first step.
    """
    ratio = _means(logp - reference, sequence)[sequence]
    return (temperature * ratio).clamp(max=math.log(ceiling)).exp().to(logp.dtype)


def asft(logp: Tensor, *, kl: float) -> Terms:
    """DFT + kl * KL(q ‖ p): anchored SFT, arXiv 2509.23753.

    The direction is that of the authors' code (github.com/zhuchichi56/ASFT, train_v2.py: `F.kl_div(log p, q)`): the
    expectation is under the untrained model, over the whole vocabulary. There kl is 0.05 to 0.1.
    """
    return Terms(logp.exp(), kl=kl)


def sft_kl(logp: Tensor, *, kl: float) -> Terms:
    """SFT + kl * KL(q ‖ p): cross-entropy held to the untrained model, with the KL of `asft`.

    Beside `asft` it tells what the KL does and what DFT's weights do: the mode "sft+kl" of the authors' code.
    """
    return Terms(torch.ones_like(logp), kl=kl)


def flow(reference: Tensor, sequence: Tensor, *, tau: float | None) -> Tensor:
    """Weight exp(-f / tau) for all tokens of an example, f = mean_t(-log q_t), tau = median of f: arXiv 2502.02797.

    Easy examples are learned more. Weights are fixed before training and not scaled to mean 1, as in the paper. An
    example counts as many times as it has tokens, as in the authors' code; in the paper's formula it counts once.
    """
    loss = -_means(reference, sequence)
    if tau is None:
        of_examples = loss[sequence.unique()]  # without those that have no token
        tau = of_examples.quantile(0.5).item() if len(of_examples) else 1.0
    return (-loss / tau)[sequence].exp().to(reference.dtype)


def stm(reference: Tensor, *, perplexity: float) -> Tensor:
    """Weight 0 where 1 / q_t > perplexity, else 1: selective token masking, arXiv 2501.14315.

    2.5 is the threshold of the authors' code (github.com/appier-research/robust-llm-finetunes, collate_fn.py). There
    the loss is a mean over the tokens that are kept, here over all.
    """
    return (-reference <= math.log(perplexity)).to(reference.dtype)


def clip(reference: Tensor, *, fraction: float) -> Tensor:
    """Weight 0 for the share `fraction` of the training set's tokens with the lowest q_t (rounded down), else 1.

    Token clipping, made for off-model data, where most of what is lost comes back at a fraction of 0.025 to 0.1; a hard
    cousin of DFT. No paper is known to us.
    """
    weight = torch.ones_like(reference)
    left_out = math.floor(fraction * len(reference) + 1e-6)  # 0.29 * 100 is 28.999…
    weight[reference.argsort(stable=True)[:left_out]] = 0
    return weight


def eaft(logits: Tensor, *, power: float) -> Tensor:
    """Weight sg((H_t / 3)^power), H_t the entropy of the student's 20 likeliest tokens: arXiv 2601.02151.

    "Confident conflicts", where the student is sure of another token, are not learned. The entropy is that of the 20
    probabilities scaled to sum 1; its largest value is log 20 = 2.996, for which the authors' code has 3 (it is in
    LLaMA-Factory, train/trainer_utils.py, `_eaft_cross_entropy`).
    """
    top = logits.topk(min(20, logits.shape[-1]), dim=-1).values.log_softmax(-1)
    return (-(top.exp() * top).sum(-1) / 3).clamp(min=0).pow(power)


def sed(logp: Tensor, logits: Tensor, *, strength: float, certainty: float) -> Terms:
    """nll + strength * [the student's 2 likeliest tokens have less than `certainty`] * (p_t - 1/2)^2: arXiv 2602.07464.

    Where the student wavers between tokens, p_t is drawn to 1/2 instead of to 1. As in the authors' code
    (github.com/pppa2019/SED-SFT, utils/sed_triton_loss.py): k = 2, and the gradient of the square goes through p_t, not
    through the condition. Certainty 0.95 and strength 0.2 are the defaults of that class, and near to SFT. The authors'
    trainings (train.py, sft_trainer_v2.py) give others: strength 1, and a quantile of the untrained model's certainty.
    """
    two = logits.topk(min(2, logits.shape[-1]), dim=-1).values
    wavers = (two.logsumexp(-1) - logits.logsumexp(-1)) < math.log(certainty)
    return Terms(torch.ones_like(logp), extra=strength * wavers * (logp.exp() - 0.5).square())


def _sums(values: Tensor, sequence: Tensor) -> tuple[Tensor, Tensor]:
    """The sum over each example, in fp64, and its number of tokens; examples without tokens are 0 and 0."""
    count = torch.bincount(sequence)
    return count.new_zeros(len(count), dtype=torch.double).index_add_(0, sequence, values.double()), count


def _means(values: Tensor, sequence: Tensor) -> Tensor:
    total, count = _sums(values, sequence)
    return total / count.clamp(min=1)


OBJECTIVES: Final[dict[str, Function]] = {name: globals()[name] for name in objective_names.OBJECTIVES}


def objective(name: str, given: Mapping[str, float] | None = None) -> Objective:
    """An objective by name, with the parameters that are given and the defaults of the others."""
    parameters = objective_names.all_parameters(name, given or {})
    return Objective(OBJECTIVES[name], parameters, objective_names.OBJECTIVES[name].compares)
