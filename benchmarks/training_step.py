"""Head and loss of one micro-batch, forward and backward: ours, plain autograd, and as TRL and LLaMA-Factory do it.

    python benchmarks/training_step.py                              # all objectives, the head of SmolLM2-135M, bf16
    python benchmarks/training_step.py --size gemma3 --objectives dft,asft

First the gate: all contenders must give the same loss and gradient, or nothing is timed and the exit code is 1. Then
CPU seconds (all threads, so that other work on the machine matters little), in blocks that run every contender once in
each direction, A B C C B A; a ratio is the median over the blocks, with a bootstrap interval. Peak memory is what a
step takes above what was there before it.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from peers import PEERS, Batch, Loss, plain
from torch import Tensor

from offmodel.data.chat import MASKED
from offmodel.errors import RequestError
from offmodel.nearest import unknown
from offmodel.training.batches import learned
from offmodel.training.head import token_losses
from offmodel.training.objectives import OBJECTIVES, objective
from offmodel.training.terms import Objective

# Relative. bf16 rounds every logit to 2^-9 of itself, in an order that is each contender's own; over the few hundred
# tokens that an objective such as stm leaves of a batch, a mean loss keeps four digits. A forgotten weight changes the
# first.
LOSS_TOLERANCE: Final = {torch.float32: 1e-5, torch.bfloat16: 1e-4}
GRADIENT_TOLERANCE: Final = {torch.float32: 1e-4, torch.bfloat16: 1e-2}
OURS: Final = "ours"


@dataclass(frozen=True)
class Size:
    """A head, and a micro-batch with prompts and completions of about these many tokens."""

    vocabulary: int
    width: int
    examples: int
    prompt: tuple[int, int]
    completion: float


SIZES: Final = {
    "smoke": Size(vocabulary=300, width=16, examples=3, prompt=(2, 6), completion=6),
    "smollm2": Size(vocabulary=49152, width=576, examples=8, prompt=(30, 90), completion=100),
    "gemma3": Size(vocabulary=262144, width=640, examples=8, prompt=(30, 90), completion=100),
}


def make_batch(size: Size, dtype: torch.dtype, seed: int = 0) -> Batch:
    """Random hidden states that lean to the gold token, more or less; completions of log-normal length."""
    draw, noise = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    prompts = draw.integers(*size.prompt, size=size.examples)
    completions = np.clip(draw.lognormal(np.log(size.completion), 0.3, size.examples).astype(int), 2, None)
    lengths = prompts + completions
    labels = torch.full((size.examples, int(lengths.max())), MASKED)
    for row, (prompt, length) in enumerate(zip(prompts, lengths, strict=True)):
        labels[row, prompt:length] = torch.from_numpy(draw.integers(size.vocabulary, size=length - prompt))

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=noise, dtype=dtype)

    head = normal(size.vocabulary, size.width).mul_(size.width**-0.5)
    hidden = normal(*labels.shape, size.width).mul_(2)
    at = learned(labels)
    towards = head[labels[:, 1:][at]] * torch.rand(int(at.sum()), 1, generator=noise).mul_(15).to(dtype)
    hidden[:, :-1][at] += towards
    other = hidden + normal(*hidden.shape).mul_(0.2)
    batch = Batch(hidden.requires_grad_(), other, head, labels, at.nonzero()[:, 0], torch.empty(0))
    with torch.no_grad():
        logp = -token_losses(batch.rows(other), head, batch.gold, objective("sft")).nll
    return Batch(batch.hidden, other, head, labels, batch.sequence, logp)


def ours(batch: Batch, chosen: Objective) -> Tensor:
    """Our head and loss, as the training loop calls it."""
    given = batch.reference
    if chosen.fixed:
        given = chosen(reference=batch.reference, sequence=batch.sequence).weight
    reference_hidden = batch.rows(batch.reference_hidden) if chosen.compares else None
    hidden = batch.rows(batch.hidden)
    tokens = token_losses(hidden, batch.head, batch.gold, chosen, batch.sequence, given, reference_hidden)
    return tokens.loss / len(batch.gold)


def step(loss: Loss, batch: Batch, chosen: Objective) -> tuple[Tensor, Tensor]:
    """Loss and gradient of the hidden states."""
    value = loss(batch, chosen)
    (gradient,) = torch.autograd.grad(value, batch.hidden)
    return value.detach(), gradient


def differences(batch: Batch, chosen: Objective, one: Loss, other: Loss) -> tuple[float, float]:
    """Relative difference of the losses, and of the gradients in norm."""
    (a, by_a), (b, by_b) = step(one, batch, chosen), step(other, batch, chosen)
    tiny = torch.finfo(torch.float32).tiny  # the product of an answer's probabilities is often 0
    gap = (by_a.double() - by_b.double()).norm() / by_b.double().norm().clamp(min=tiny)
    return abs(float(a - b)) / max(abs(float(b)), tiny), float(gap)


def peak_megabytes(work: Callable[[], object]) -> float:
    """Memory that `work` takes at most above what is held now; NaN where the system does not tell (not Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is the present again
        before = _status("VmRSS")
        work()
        return (_status("VmHWM") - before) / 1e3
    except OSError:
        return float("nan")


def _status(field: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(field))


def cpu_seconds(contenders: Sequence[Callable[[], object]], blocks: int, warm_up: int) -> np.ndarray:
    """`(blocks, contenders)`: each block runs them once forwards and once backwards, and takes the mean."""
    for _ in range(warm_up):
        for work in contenders:
            work()
    times = np.zeros((blocks, len(contenders)))
    for block in range(blocks):
        for index in [*range(len(contenders)), *reversed(range(len(contenders)))]:
            began = time.process_time()
            contenders[index]()
            times[block, index] += (time.process_time() - began) / 2
    return times


def ratio(times: np.ndarray, to: np.ndarray) -> str:
    """The median of the blocks' ratios, with its 95 % bootstrap interval."""
    ratios = times / to
    draws = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return f"{np.median(ratios):5.2f} [{low:.2f}, {high:.2f}]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the gate and the table; 0, or 1 where the gate does not open, 2 for a wrong request."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="smollm2")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--objectives", default=",".join(OBJECTIVES), help="comma-separated (default: all)")
    parser.add_argument("--blocks", type=int, default=7, help="timed blocks, each A B … B A")
    parser.add_argument("--warm-up", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args(arguments)
    try:
        names = options.objectives.split(",")
        for name in names:
            if name not in OBJECTIVES:
                raise unknown("objective", name, OBJECTIVES)
        if min(options.blocks, options.threads) < 1 or options.warm_up < 0:
            raise RequestError("--blocks and --threads must be at least 1, --warm-up at least 0")
    except RequestError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    torch.set_num_threads(options.threads)
    size, dtype = SIZES[options.size], getattr(torch, options.dtype)
    batch = make_batch(size, dtype)
    contenders = {name: {OURS: ours, "plain autograd": plain, **PEERS.get(name, {})} for name in names}
    print(
        f"{options.size}: head {size.vocabulary} x {size.width}, {options.dtype}, {size.examples} examples, "
        f"{batch.labels.numel()} positions, {len(batch.gold)} of them learned; {options.threads} thread(s), "
        f"load {os.getloadavg()[0]:.1f}, torch {torch.__version__}"
    )
    if not _gate(batch, contenders, dtype):
        return 1
    print(f"\n{'objective':14} {'contender':26} {'CPU s':>7} {'peak MB':>8}  {'x ours [95 %]':20} x our sft [95 %]")
    for name, losses in contenders.items():
        _measure(batch, name, losses, options.blocks, options.warm_up)
    return 0


def _gate(batch: Batch, contenders: dict[str, dict[str, Loss]], dtype: torch.dtype) -> bool:
    passed, worst = True, [0.0, 0.0]
    for name, losses in contenders.items():
        for who, loss in losses.items():
            found = differences(batch, objective(name), loss, plain)
            worst = [max(one, other) for one, other in zip(worst, found, strict=True)]
            if not (found[0] <= LOSS_TOLERANCE[dtype] and found[1] <= GRADIENT_TOLERANCE[dtype]):
                print(f"gate: {name}, {who}: loss differs by {found[0]:.1e}, gradient by {found[1]:.1e}")
                passed = False
    verdict = "passed" if passed else "FAILED, nothing is timed"
    print(f"gate {verdict}: losses within {worst[0]:.1e}, gradients within {worst[1]:.1e} of plain autograd (relative)")
    return passed


def _measure(batch: Batch, name: str, losses: dict[str, Loss], blocks: int, warm_up: int) -> None:
    chosen, simple = objective(name), objective("sft")
    work: list[Callable[[], object]] = [lambda: step(ours, batch, simple)]
    work += [lambda loss=loss: step(loss, batch, chosen) for loss in losses.values()]
    times = cpu_seconds(work, blocks, warm_up)
    for index, who in enumerate(losses, start=1):
        against = "" if who == OURS else ratio(times[:, index], times[:, 1])
        to_sft = ratio(times[:, index], times[:, 0]) if who == OURS else ""
        peak = peak_megabytes(work[index])
        cpu = np.median(times[:, index])
        print(f"{name:14} {who:26} {cpu:7.3f} {peak:8.0f}  {against:20} {to_sft}".rstrip(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
