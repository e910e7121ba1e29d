"""The untrained model beside the student, without a second copy of its weights: the adapter switched off.

What an objective only needs to know of single tokens (their log-probabilities under the untrained model) never changes,
so it is taken once, before the first step, also for full weights, which then still are the untrained ones. Whole
distributions are too large to keep: an objective that compares them runs the untrained model at every step.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate.utils import gather_object
from peft import PeftModel
from torch import Tensor

from offmodel.data.chat import Example
from offmodel.errors import RequestError
from offmodel.training.batches import GivenExample, collate, learned
from offmodel.training.head import token_losses
from offmodel.training.objectives import objective as by_name
from offmodel.training.terms import Objective


def untrained(model: Any) -> AbstractContextManager[Any]:
    """While open, `model` is its start again. Full weights are their own start, so long as no step was taken."""
    return model.disable_adapter() if isinstance(model, PeftModel) else nullcontext()


def parts(model: Any) -> tuple[Any, Any, Any]:
    """The causal model, its backbone and its output embedding, with any adapter in place."""
    causal_lm: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    return causal_lm, causal_lm.base_model, causal_lm.get_output_embeddings()


def hidden_states(backbone: Any, input_ids: Tensor, labels: Tensor, dtype: torch.dtype) -> Tensor:
    """`(n, d)` in `dtype`: the last hidden states at the positions that predict a learned token."""
    with torch.autocast(input_ids.device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        hidden = backbone(input_ids=input_ids, use_cache=False).last_hidden_state
    return hidden[:, :-1][learned(labels)].to(dtype)


def reference_log_probabilities(
    model: Any, examples: Sequence[Example], dtype: torch.dtype, device: torch.device, batch: int, share: slice
) -> list[Tensor]:
    """For each example the log-probabilities `(n,)` of its learned tokens under the untrained model: nats, fp32, CPU.

    One forward pass without gradient. Every process runs its own `share` of the examples, `slice(rank, None,
    processes)`, and all receive all.
    """
    mine = range(len(examples))[share]
    was_training = model.training
    model.eval()
    with untrained(model):
        read = log_probabilities(model, [examples[index] for index in mine], dtype, device, batch)
    model.train(was_training)
    found = [(index, logp.tolist()) for index, logp in zip(mine, read, strict=True)]
    by_index: dict[int, list[float]] = dict(gather_object(found))
    return [torch.tensor(by_index[index]) for index in range(len(examples))]


@torch.no_grad()
def log_probabilities(
    model: Any,
    examples: Sequence[Example],
    dtype: torch.dtype,
    device: torch.device,
    batch: int,
    on_progress: Callable[[int, int], None] = lambda examples, tokens: None,
) -> list[Tensor]:
    """For each example the log-probabilities `(n,)` of its learned tokens under the model: nats, fp32, CPU.

    One forward pass, `batch` examples at a time; `on_progress` is told each batch's examples and tokens.
    """
    _, backbone, head = parts(model)
    likelihood = by_name("sft")
    # Of like length, so that little is padded; the longest first, so that too little memory is found out at once.
    order = sorted(range(len(examples)), key=lambda index: len(examples[index].input_ids), reverse=True)
    found: dict[int, Tensor] = {}
    for start in range(0, len(order), batch):
        indices = order[start : start + batch]
        tensors = collate([Example(examples[i].input_ids, examples[i].labels) for i in indices])
        ids, labels = tensors["input_ids"].to(device), tensors["labels"].to(device)
        hidden = hidden_states(backbone, ids, labels, dtype)
        tokens = token_losses(hidden, head.weight.to(dtype), labels[:, 1:][learned(labels)], likelihood)
        each = (-tokens.nll).float().cpu().split(learned(labels).sum(1).tolist())
        found |= dict(zip(indices, each, strict=True))
        on_progress(len(indices), int(tensors["lengths"].sum()))
    return [found[index] for index in range(len(examples))]


def with_given(examples: Sequence[Example], reference: Sequence[Tensor], objective: Objective) -> list[GivenExample]:
    """The examples with what `objective` needs to be given: the reference itself, or the weights when they are fixed.

    Raises:
        RequestError: no token is left with a weight.
    """
    sizes = [len(logp) for logp in reference]
    given = torch.cat(list(reference))
    if objective.fixed:
        sequence = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        given = objective(reference=given, sequence=sequence).weight
        if not given.any():
            raise RequestError(
                f"objective '{objective.function.__name__}' leaves no token to learn; change its parameters"
            )
    each = zip(examples, given.split(sizes), strict=True)
    return [GivenExample(example.input_ids, example.labels, part) for example, part in each]
