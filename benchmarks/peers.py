"""The same losses as others compute them, so that nothing else of their trainers is timed: LLaMA-Factory's and those of
TRL to 1.10 re-stated in plain torch from what they publish; TRL 1.16's, which runs both of its losses through a fused
head of its own, by the kernel of the installed TRL.

What belongs to the model, the product with the head, is part of each, for that is where we differ. Logits become fp32
when they leave the model, as under accelerate's mixed precision. Left out, to their advantage: what they log.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from offmodel.training.batches import learned
from offmodel.training.terms import Objective

try:
    from trl.kernels import ChunkedLogProbFunction
except ImportError:  # the extra `rl` is not installed: this contender is left out
    ChunkedLogProbFunction = None


@dataclass(frozen=True)
class Batch:
    """One micro-batch at the top of the backbone.

    Attributes:
        hidden: `(batch, length, d)`, of the student; `reference_hidden` of the untrained model.
        head: `(V, d)`.
        labels: `(batch, length)`, -100 on prompts and padding.
        sequence: `(n,)`, the example that each of the `n` learned tokens belongs to.
        reference: `(n,)`, their log-probabilities under the untrained model.
    """

    hidden: Tensor
    reference_hidden: Tensor
    head: Tensor
    labels: Tensor
    sequence: Tensor
    reference: Tensor

    @property
    def gold(self) -> Tensor:
        return self.labels[:, 1:][learned(self.labels)]

    def rows(self, hidden: Tensor) -> Tensor:
        return hidden[:, :-1][learned(self.labels)]


Loss = Callable[[Batch, Objective], Tensor]
"""The mean over the learned tokens."""


def plain(batch: Batch, objective: Objective) -> Tensor:
    """The simple way that is still careful: logits of completion positions only, then autograd. Not a project's."""
    logits = (batch.rows(batch.hidden) @ batch.head.T).float()
    log_p = logits.log_softmax(-1)
    logp = log_p.gather(1, batch.gold[:, None]).squeeze(1)
    terms = objective(logp=logp, logits=logits.detach(), sequence=batch.sequence, reference=batch.reference)
    loss = (terms.weight.detach() * -logp).sum()
    if terms.extra is not None:
        loss = loss + terms.extra.sum()
    if terms.kl:
        with torch.no_grad():
            log_q = (batch.rows(batch.reference_hidden) @ batch.head.T).float().log_softmax(-1)
        loss = loss + terms.kl * F.kl_div(log_p, log_q, reduction="sum", log_target=True)
    return loss / len(logp)


def transformers_sft(batch: Batch, objective: Objective) -> Tensor:
    """transformers' `ForCausalLMLoss`, which TRL (to 1.10, `loss_type="nll"`) and LLaMA-Factory run."""
    logits = (batch.hidden @ batch.head.T).float()
    following = F.pad(batch.labels, (0, 1), value=-100)[:, 1:]
    return F.cross_entropy(logits.flatten(0, 1), following.flatten(), reduction="sum") / len(batch.gold)


def trl_dft(batch: Batch, objective: Objective) -> Tensor:
    """TRL's `dft_loss` (trl/trainer/sft_trainer.py, to 1.10), its normaliser taken example by example."""
    logits = (batch.hidden @ batch.head.T).float()
    following = F.pad(batch.labels, (0, 1), value=-100)[:, 1:]
    mask = following != -100
    normaliser = torch.stack([one.logsumexp(-1) for one in logits])
    logp = logits.gather(-1, following.where(mask, 0)[..., None]).squeeze(-1) - normaliser
    return ((-logp.exp().detach() * logp) * mask).sum() / len(batch.gold)


def _trl_fused_logp(batch: Batch) -> Tensor:
    """By TRL 1.16's kernel, which is given the learned rows alone, as where it is Triton's; on a CPU TRL gives it all
    positions."""
    assert ChunkedLogProbFunction is not None
    columns = 32_768  # of the vocabulary, at once: `_CHUNKED_LOGPROB_CHUNK_SIZE` of trl/trainer/utils.py
    rows = batch.rows(batch.hidden)
    logp, *_ = ChunkedLogProbFunction.apply(rows, batch.head, None, batch.gold, 1.0, columns, None, 1.0, ())
    return logp


def trl_fused_sft(batch: Batch, objective: Objective) -> Tensor:
    """TRL 1.16's `loss_type="nll"` (`compute_loss` in trl/trainer/sft_trainer.py)."""
    return -_trl_fused_logp(batch).sum() / len(batch.gold)


def trl_fused_dft(batch: Batch, objective: Objective) -> Tensor:
    """TRL 1.16's `loss_type="dft"`."""
    logp = _trl_fused_logp(batch)
    return -(logp.exp().detach() * logp).sum() / len(batch.gold)


def _all_logits(batch: Batch, hidden: Tensor) -> tuple[Tensor, Tensor]:
    logits = (hidden @ batch.head.T).float().flatten(0, 1)
    return logits, F.pad(batch.labels, (0, 1), value=-100)[:, 1:].flatten()


def llama_factory_dft(batch: Batch, objective: Objective) -> Tensor:
    """LLaMA-Factory's `use_dft_loss` (train/trainer_utils.py, `_dft_cross_entropy`)."""
    logits, following = _all_logits(batch, batch.hidden)
    loss = F.cross_entropy(logits, following, reduction="none")[following != -100]
    return (loss * (-loss).exp().detach()).sum() / len(batch.gold)


def llama_factory_asft(batch: Batch, objective: Objective) -> Tensor:
    """LLaMA-Factory's `use_asft_loss` (`_asft_cross_entropy`, `_kl_divergence`): KLs of all positions, then masked."""
    with torch.no_grad():
        reference, _ = _all_logits(batch, batch.reference_hidden)
    logits, following = _all_logits(batch, batch.hidden)
    loss = F.cross_entropy(logits, following, reduction="none")[following != -100]
    kl = F.kl_div(logits.log_softmax(-1), reference.softmax(-1), reduction="none").sum(-1)
    anchor = (kl * (following != -100)).sum() / len(batch.gold)
    return (loss * (-loss).exp().detach()).sum() / len(batch.gold) + _given(objective, "kl") * anchor


def _given(objective: Objective, name: str) -> float:
    value = objective.parameters[name]
    assert value is not None, f"{name} has no number"
    return value


def llama_factory_eaft(batch: Batch, objective: Objective) -> Tensor:
    """LLaMA-Factory's `use_eaft_loss` (`_eaft_cross_entropy`)."""
    logits, following = _all_logits(batch, batch.hidden)
    mask = following != -100
    loss = F.cross_entropy(logits, following, reduction="none")[mask]
    with torch.no_grad():
        top = logits[mask].topk(20, dim=-1).values.log_softmax(-1)
        weight = (-(top.exp() * top).sum(-1) / 3).pow(_given(objective, "power"))
    return (loss * weight).sum() / len(batch.gold)


PEERS: Final[dict[str, dict[str, Loss]]] = {
    "sft": {"TRL ≤ 1.10, LLaMA-Factory": transformers_sft},
    "dft": {"TRL ≤ 1.10": trl_dft, "LLaMA-Factory": llama_factory_dft},
    "asft": {"LLaMA-Factory": llama_factory_asft},
    "eaft": {"LLaMA-Factory": llama_factory_eaft},
}
if ChunkedLogProbFunction is not None:
    PEERS["sft"]["TRL 1.16"] = trl_fused_sft
    PEERS["dft"]["TRL 1.16"] = trl_fused_dft
