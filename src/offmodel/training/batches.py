"""Which examples each optimiser step sees, and how they become tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from offmodel.data.chat import MASKED, Example

_WINDOW: Final = 8
"""Steps whose examples are grouped by length together (transformers' group_by_length takes 50, for larger sets)."""


def order_of_examples(lengths: Sequence[int], epochs: float, batch_size: int, seed: int) -> list[int]:
    """Indices of the examples in the order in which they are trained on, all epochs in one list.

    Every `batch_size` of them are one optimiser step; only the last step may be smaller, for what does not fill a step
    waits for the next epoch. Within windows of a few steps examples are grouped by length, the longest of a step first,
    so that little is padded; which step of a window comes first is drawn. The order depends on nothing but the
    arguments: not on devices, and not on where a run was resumed.
    """
    generator = torch.Generator().manual_seed(seed)

    def shuffled(n: int) -> list[int]:
        return torch.randperm(n, generator=generator).tolist()

    def longest_first(indices: Sequence[int]) -> list[int]:
        return sorted(indices, key=lambda index: lengths[index], reverse=True)

    total = max(round(len(lengths) * epochs), 1)
    order: list[int] = []
    waiting: list[int] = []
    while len(order) + len(waiting) < total:
        waiting = [*waiting, *shuffled(len(lengths))][: total - len(order)]
        full = len(waiting) - len(waiting) % batch_size
        for start in range(0, full, _WINDOW * batch_size):
            window = longest_first(waiting[start : min(start + _WINDOW * batch_size, full)])
            for step in shuffled(len(window) // batch_size):
                order += window[step * batch_size : (step + 1) * batch_size]
        waiting = waiting[full:]
    return order + longest_first(waiting)


@dataclass(frozen=True)
class GivenExample(Example):
    """An example with what was taken before training: `given` `(n,)`, a number for each of its `n` learned tokens."""

    given: Tensor


def learned(labels: Tensor) -> Tensor:
    """Which of the positions 1, 2, … are learned, `(batch, length - 1)`; position t predicts token t + 1."""
    return labels[:, 1:] != MASKED


def collate(examples: Sequence[Example]) -> dict[str, Tensor]:
    """Tensors `(batch, longest)`, padded on the right, and `lengths` `(batch,)`; for given examples `given` `(n,)` too,
    one after the other.

    There is no attention mask: in a causal model no token sees what is right of it, padded positions carry no label,
    and attention without a mask is faster. What is padding is known by position alone (some models pad with the very
    token that ends a turn).
    """
    lengths = torch.tensor([len(example.input_ids) for example in examples])
    shape = (len(examples), int(lengths.max()))
    input_ids, labels = torch.zeros(shape, dtype=torch.long), torch.full(shape, MASKED)
    for row, example in enumerate(examples):
        input_ids[row, : len(example.input_ids)] = torch.tensor(example.input_ids)
        labels[row, : len(example.labels)] = torch.tensor(example.labels)
    batch = {"input_ids": input_ids, "labels": labels, "lengths": lengths}
    given = [example.given for example in examples if isinstance(example, GivenExample)]
    return {**batch, "given": torch.cat(given)} if given else batch
