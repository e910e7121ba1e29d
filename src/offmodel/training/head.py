"""The language-model head and the loss in one step, over completion positions only and a few rows at a time.

With a small model and a large vocabulary the head is most of the work and nearly all of the memory: logits of 8 answers
of 200 tokens over 262 144 words are 1.7 GB in fp32. Because an objective's weights are detached, they are known as soon
as a chunk's logits are, so its gradient can be taken at once and its logits dropped: two matrix products in all (none
is recomputed in the backward pass) and a peak of `chunk` rows of logits. Weights that need a whole example come after
its last chunk: a token's weight is one factor on the gradient of its own hidden state, which is multiplied then.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from offmodel.training.terms import Objective, Terms


class TokenLoss(NamedTuple):
    """`loss`: the sum over tokens, differentiable. `nll`, `weight`: `(N,)`, detached, nats and 1."""

    loss: Tensor
    nll: Tensor
    weight: Tensor


def token_losses(
    hidden: Tensor,
    head: Tensor,
    labels: Tensor,
    objective: Objective,
    sequence: Tensor | None = None,
    given: Tensor | None = None,
    reference_hidden: Tensor | None = None,
    chunk: int = 256,
) -> TokenLoss:
    """Sum over tokens of weight * -log p + extra + kl * KL, with p = softmax(hidden @ head.T)[label].

    The products run in the dtype of `hidden` and `head` (or of autocast), the softmax in fp32 or better. No gradient
    flows through the weights.

    Args:
        hidden: `(N, d)`, the last hidden states at the positions that predict a label; N may be 0.
        head: `(V, d)`, the output embedding.
        labels: `(N,)`, token ids, none masked.
        sequence: `(N,)`, which example a row belongs to, from 0; all rows of an example are here. For objectives that
            see examples.
        given: `(N,)`, what was taken before training: the weights themselves for a fixed objective, else the untrained
            model's log-probabilities. For objectives that need a reference.
        reference_hidden: `(N, d)`, the untrained model's hidden states. For objectives that compare.
        chunk: rows whose logits are held at once.
    """
    if objective.needs_reference:
        _required(given, "given")
    if objective.compares:
        _required(reference_hidden, "reference_hidden")
        chunk = max(chunk // 2, 1)  # a KL holds three blocks of logits at once
    with_gradient = torch.is_grad_enabled()  # always off inside a Function's forward, so it is asked here

    def of_examples(logp: Tensor) -> Tensor:
        return objective(logp=logp, sequence=_required(sequence, "sequence"), reference=given).weight

    known = given if objective.fixed else None
    late: Callable[[Tensor], Tensor] | None = None
    if objective.sees_examples:
        if with_gradient and head.requires_grad:
            # A head's gradient is a sum over rows, whose weights must be known before: one more forward product.
            with torch.no_grad():
                known = token_losses(hidden, head, labels, objective, sequence, given, chunk=chunk).weight
        else:
            late = of_examples

    def of_rows(rows: slice, logp: Tensor, logits: Tensor) -> Terms:
        if late is not None:
            return Terms(torch.ones_like(logp))
        if known is not None:
            return Terms(known[rows])
        return objective(logp=logp, logits=logits, reference=None if given is None else given[rows])

    return TokenLoss(*_TokenLosses.apply(hidden, head, labels, of_rows, late, reference_hidden, chunk, with_gradient))


def _required(value: Tensor | None, name: str) -> Tensor:
    if value is None:
        raise TypeError(f"this objective needs `{name}`")
    return value


class _TokenLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head: Tensor,
        labels: Tensor,
        of_rows: Callable[[slice, Tensor, Tensor], Terms],
        late: Callable[[Tensor], Tensor] | None,
        reference: Tensor | None,
        chunk: int,
        with_gradient: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        grad_hidden = torch.empty_like(hidden) if with_gradient and ctx.needs_input_grad[0] else None
        grad_head = torch.zeros_like(head) if with_gradient and ctx.needs_input_grad[1] else None
        precision = torch.promote_types(hidden.dtype, torch.float32)
        nll = torch.empty(labels.shape, dtype=precision, device=hidden.device)
        weights, beside = torch.empty_like(nll), torch.zeros_like(nll)

        for start in range(0, len(labels), chunk):
            rows = slice(start, start + chunk)
            gold = labels[rows, None]
            logits = (hidden[rows] @ head.T).to(precision)
            log_normaliser = logits.logsumexp(-1, keepdim=True)
            nll[rows] = (log_normaliser - logits.gather(1, gold)).squeeze(1)
            weights[rows], slope, beside[rows], kl = _terms(of_rows, rows, -nll[rows], logits)
            logits.sub_(log_normaliser)
            gap = None
            if kl:
                assert reference is not None
                gap, divergence = _compare(logits, (reference[rows] @ head.T).to(precision))
                beside[rows] += kl * divergence
            if grad_hidden is None and grad_head is None:
                continue
            # d(weight * nll) / d(logits) = weight * (softmax - onehot), in the memory of the logits
            grad_logits = logits.exp_()
            if gap is not None:
                gap = gap.neg_().add_(grad_logits)  # d(KL) / d(logits) = softmax - reference's softmax
            grad_logits.scatter_add_(1, gold, torch.full_like(log_normaliser, -1))
            grad_logits.mul_(slope[:, None])
            if gap is not None:
                grad_logits.add_(gap, alpha=kl)
            grad_logits = grad_logits.to(hidden.dtype)
            if grad_hidden is not None:
                grad_hidden[rows] = grad_logits @ head
            if grad_head is not None:
                grad_head += grad_logits.T @ hidden[rows]

        if late is not None:
            weights = late(-nll)
            if grad_hidden is not None:
                grad_hidden.mul_(weights[:, None])
        ctx.save_for_backward(grad_hidden, grad_head)
        ctx.mark_non_differentiable(nll, weights)
        return (weights * nll + beside).sum(), nll, weights

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        upstream = grad_outputs[0]
        scaled = (None if saved is None else saved * upstream.to(saved.dtype) for saved in ctx.saved_tensors)
        return *scaled, None, None, None, None, None, None


def _terms(
    of_rows: Callable[[slice, Tensor, Tensor], Terms], rows: slice, logp: Tensor, logits: Tensor
) -> tuple[Tensor, Tensor, Tensor | float, float]:
    """Weight, the loss's derivative by nll, the extra term's value, and the factor of the KL."""
    with torch.enable_grad():
        logp = logp.detach().requires_grad_()
        weight, extra, kl = of_rows(rows, logp, logits)
        weight = weight.detach()
        if extra is None:
            return weight, weight, 0.0, kl
        (by_logp,) = torch.autograd.grad(extra.sum(), logp)
    return weight, weight - by_logp, extra.detach(), kl


def _compare(logp: Tensor, reference_logits: Tensor) -> tuple[Tensor, Tensor]:
    """The reference's probabilities, and KL(reference ‖ student) of each row; `reference_logits` is written over."""
    log_q = reference_logits.sub_(reference_logits.logsumexp(-1, keepdim=True))
    q = log_q.exp()
    return q, log_q.sub_(logp).mul_(q).sum(-1)
