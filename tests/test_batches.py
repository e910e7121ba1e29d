"""Which examples a step sees, and as what tensors."""

import numpy as np

from offmodel.data.chat import MASKED, Example
from offmodel.training.batches import collate, order_of_examples


def test_every_epoch_shows_every_example_once() -> None:
    order = order_of_examples([7, 3, 9, 9, 1, 4, 2], epochs=3, batch_size=7, seed=1)
    assert len(order) == 21
    assert all(sorted(order[at : at + 7]) == list(range(7)) for at in (0, 7, 14))


def test_a_share_of_an_epoch_rounds_to_examples() -> None:
    assert len(set(order_of_examples([5] * 10, epochs=0.5, batch_size=4, seed=0))) == 5
    assert len(order_of_examples([5] * 10, epochs=1.25, batch_size=4, seed=0)) == 12


def test_the_order_is_drawn_by_its_seed_and_grouped_by_length() -> None:
    lengths = np.random.default_rng(0).integers(20, 400, size=256).tolist()
    order = order_of_examples(lengths, 1, 8, seed=3)
    assert order == order_of_examples(lengths, 1, 8, seed=3)
    assert order != order_of_examples(lengths, 1, 8, seed=4)

    def padded(indices: list[int]) -> int:
        return sum(8 * max(lengths[i] for i in indices[at : at + 8]) for at in range(0, 256, 8))

    assert padded(order) < 1.15 * sum(lengths) < padded(list(range(256)))
    longest_of_each_step = [max(lengths[i] for i in order[at : at + 8]) for at in range(0, 64, 8)]
    assert longest_of_each_step != sorted(longest_of_each_step, reverse=True)


def test_padding_is_on_the_right_and_never_learned() -> None:
    batch = collate([Example([2, 5, 2], [MASKED, 5, 2]), Example([2], [MASKED])])
    assert batch["labels"].tolist() == [[MASKED, 5, 2], [MASKED, MASKED, MASKED]]
    assert batch["input_ids"][:, 0].tolist() == [2, 2]
    assert batch["lengths"].tolist() == [3, 1]
