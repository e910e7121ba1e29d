"""The language-model head and the loss in one step, over completion positions only and a few rows at a time.

With a small model and a large vocabulary the head is most of the work and nearly all of the memory: logits of 8 answers
of 200 tokens over 262 144 words are 1.7 GB in fp32. Because an objective's weights are detached, they are known as soon
as a chunk's logits are, so its gradient can be taken at once and its logits dropped: two matrix products in all (none
is recomputed in the backward pass) and a peak of `chunk` rows of logits.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from offmodel.training.objectives import Objective


class TokenLoss(NamedTuple):
    """`loss`: the sum over tokens of weight * nll, differentiable. `nll`, `weight`: `(N,)`, detached, nats and 1."""

    loss: Tensor
    nll: Tensor
    weight: Tensor


def weighted_nll(hidden: Tensor, head: Tensor, labels: Tensor, weight: Objective, chunk: int = 256) -> TokenLoss:
    """Sum over tokens of weight(log p) * -log p, with p = softmax(hidden @ head.T)[label].

    The products run in the dtype of `hidden` and `head` (or of autocast), the softmax in fp32 or better. No gradient
    flows through the weights.

    Args:
        hidden: `(N, d)`, the last hidden states at the positions that predict a label; N may be 0.
        head: `(V, d)`, the output embedding.
        labels: `(N,)`, token ids, none masked.
        weight: an objective, applied to a chunk of log-probabilities at a time: it may not look across tokens.
        chunk: rows whose logits are held at once.
    """
    with_gradient = torch.is_grad_enabled()  # always off inside a Function's forward, so it is asked here
    return TokenLoss(*_WeightedNLL.apply(hidden, head, labels, weight, chunk, with_gradient))


class _WeightedNLL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, labels: Tensor, weight: Objective, chunk: int, with_gradient: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        grad_hidden = torch.empty_like(hidden) if with_gradient and ctx.needs_input_grad[0] else None
        grad_head = torch.zeros_like(head) if with_gradient and ctx.needs_input_grad[1] else None
        precision = torch.promote_types(hidden.dtype, torch.float32)
        nll = torch.empty(labels.shape, dtype=precision, device=hidden.device)
        weights = torch.empty_like(nll)

        for start in range(0, len(labels), chunk):
            rows = slice(start, start + chunk)
            gold = labels[rows, None]
            logits = (hidden[rows] @ head.T).to(precision)
            log_normaliser = logits.logsumexp(-1, keepdim=True)
            nll[rows] = (log_normaliser - logits.gather(1, gold)).squeeze(1)
            weights[rows] = weight(-nll[rows])
            if grad_hidden is None and grad_head is None:
                continue
            # d(weight * nll) / d(logits) = weight * (softmax - onehot), in the memory of the logits
            grad_logits = logits.sub_(log_normaliser).exp_()
            grad_logits.scatter_add_(1, gold, torch.full_like(log_normaliser, -1))
            grad_logits = grad_logits.mul_(weights[rows, None]).to(hidden.dtype)
            if grad_hidden is not None:
                grad_hidden[rows] = grad_logits @ head
            if grad_head is not None:
                grad_head += grad_logits.T @ hidden[rows]

        ctx.save_for_backward(grad_hidden, grad_head)
        ctx.mark_non_differentiable(nll, weights)
        return (weights * nll).sum(), nll, weights

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        upstream = grad_outputs[0]
        scaled = (None if saved is None else saved * upstream.to(saved.dtype) for saved in ctx.saved_tensors)
        return *scaled, None, None, None, None
