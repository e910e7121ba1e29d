"""Tokens a second that vLLM answers with, by how many answers it works on at once and whether memory is kept.

    python benchmarks/generation.py --student data/runs/base/smollm2-135m-4bffe55570

Each way is a process of its own, for the C library reads how it keeps memory when it starts. The ways take turns, A B C
C B A; a ratio is the median over the rounds, each to the first way of its own round, with its range. First the gate:
keeping memory may not change a word, or the exit code is 1.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from offmodel.data.chat import load_chat_format
from offmodel.engines.base import Stop, answer_seed, open_engine
from offmodel.errors import RequestError
from offmodel.evaluation.registry import load_items
from offmodel.executors import KEEP_MEMORY
from offmodel.values import Decoding

FEW, MANY = 64, 256
CONTEXT, GPU_MEMORY = 2048, 0.9


@dataclass(frozen=True)
class Way:
    """Answers at once, and whether the process keeps memory that it took."""

    max_num_seqs: int
    keeps: bool

    @property
    def name(self) -> str:
        return f"{self.max_num_seqs} at once{', memory kept' if self.keeps else ''}"


WAYS = [Way(FEW, False), Way(MANY, False), Way(MANY, True)]


@dataclass(frozen=True)
class Measured:
    """What one process did; `seconds` without its start."""

    answers: list[str]
    tokens: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


def answer(student: Path, prompts: int, tokens: int, temperature: float, max_num_seqs: int) -> Measured:
    """Answers of a student to problems of `arithmetic`, in this process."""
    chat = load_chat_format(student, "template")
    problems = load_items("arithmetic", prompts)
    asked = [chat.prompt_ids([{"role": "user", "content": problem["question"]}]) for problem in problems]
    engine = open_engine("vllm", student, max_num_seqs, CONTEXT, GPU_MEMORY, fill_loops=False)
    decoding = Decoding(temperature=temperature, max_tokens=tokens)
    seeds = [answer_seed(0, str(problem["id"])) for problem in problems]
    began = time.perf_counter()
    made = engine.generate(asked, seeds, decoding, Stop(chat.stop_token_ids, chat.stop), lambda answers, tokens: None)
    seconds = time.perf_counter() - began
    return Measured([one.text for one in made], sum(one.tokens for one in made), seconds)


def in_a_process(way: Way, arguments: Sequence[str]) -> Measured:
    """As `answer`, in a process that is started for it.

    Raises:
        RequestError: it failed.
    """
    outside = {name: value for name, value in os.environ.items() if name not in KEEP_MEMORY}
    command = [sys.executable, __file__, *arguments, "--measure", str(way.max_num_seqs)]
    done = subprocess.run(command, env=outside | (KEEP_MEMORY if way.keeps else {}), capture_output=True, text=True)
    if done.returncode:
        raise RequestError(f"{way.name}: {(done.stderr.strip().splitlines() or ['it died'])[-1]}")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the gate and the table; 0, or 1 where the gate does not open, 2 for a wrong request."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--student", type=Path, required=True, help="a checkpoint folder")
    parser.add_argument("--prompts", type=int, default=300)
    parser.add_argument("--tokens", type=int, default=160, help="at most, of an answer")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=2, help="each A B … B A")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    how = options.student, options.prompts, options.tokens, options.temperature
    try:
        if not options.student.is_dir():
            raise RequestError(f"there is no folder {options.student}")
        if min(options.prompts, options.tokens, options.rounds) < 1:
            raise RequestError("--prompts, --tokens and --rounds must be at least 1")
        if options.measure:
            print(json.dumps(vars(answer(*how, options.measure))))
            return 0
        names = "student", "prompts", "tokens", "temperature"
        return _compare([f"--{name}={value}" for name, value in zip(names, how, strict=True)], options.rounds)
    except RequestError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _compare(given: list[str], rounds: int) -> int:
    measured: dict[Way, list[Measured]] = {way: [] for way in WAYS}
    order = [*WAYS, *reversed(WAYS)] * rounds
    for number, way in enumerate(order, start=1):
        measured[way].append(in_a_process(way, given))
        print(f"{number} of {len(order)}: {way.name}, {measured[way][-1].rate:.0f} tokens/s", file=sys.stderr)
    first, many, kept = (measured[way] for way in WAYS)
    if many[0].answers != kept[0].answers:
        print("gate FAILED: keeping memory changes answers")
        return 1
    alike = sum(one == other for one, other in zip(first[0].answers, many[0].answers, strict=True))
    print(f"gate passed; {alike} of {len(many[0].answers)} answers are the same with {FEW} and {MANY} at once")
    print(f"load {os.getloadavg()[0]:.1f}\n\n{'':24} {'tokens/s':>8}  x first [range]")
    for way, own in measured.items():
        ratios = [one.rate / base.rate for one, base in zip(own, first, strict=True)]
        rates = median(one.rate for one in own)
        print(f"{way.name:24} {rates:8.0f}  {median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
