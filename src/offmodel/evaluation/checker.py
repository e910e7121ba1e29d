"""The process that runs math-verify: one JSON request a line in, one JSON verdict a line out.

Run by `offmodel.evaluation.answers` as `python -m offmodel.evaluation.checker`. Comparing two expressions can take
forever, inside C code where no Python signal handler runs, so it must happen where it can be killed.
"""

import json
import logging
import os
import resource
import signal
import sys
from typing import Any

MEMORY = 4 * 2**30
"""Address space in bytes; sympy with its parsers takes about 0.6 GB of it."""


def judge(gold: list[str], answer: str, tolerance: float | None) -> bool:
    """Whether `answer` states one of the answers in `gold` (LaTeX, without dollar signs).

    math-verify takes the last box, then what follows "the answer is", then the last formula or number. Boxes with no
    more than a word or two between them are one answer to it, a set ("x=\\boxed{1} or x=\\boxed{3}"): a model that
    corrects itself so briefly is judged by both.
    """
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    targets = [LatexExtractionConfig(), ExprExtractionConfig()]
    # A bare percentage does not parse, and whether the sign is wanted is said in the problem.
    texts = [answer] + ([answer.replace("\\%", "").replace("%", "")] if "%" in answer else [])
    wanted = [f"\\boxed{{{text}}}" for text in gold]
    wanted += [text.replace("\\%", "").replace("%", "") for text in wanted if "%" in text]
    # Their own time limits are off: they rest on signals and do not hold (Math-Verify issue 65).
    golds = [parse(text, targets, parsing_timeout=None) for text in wanted]  # type: ignore[arg-type]
    for text in texts:
        given = parse(text, targets, parsing_timeout=None)  # type: ignore[arg-type]
        for parsed in golds:
            if verify(parsed, given, timeout_seconds=None):
                return True
            if tolerance is not None and _near(parsed, given, tolerance):
                return True
    return False


def _near(gold: list[Any], given: list[Any], tolerance: float) -> bool:
    try:
        return abs(float(gold[0]) - float(given[0])) <= tolerance
    except (IndexError, TypeError, ValueError):
        return False


def main() -> None:
    """Answer requests until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    logging.disable(logging.WARNING)
    # Whatever the parsers print goes to stderr; the verdicts have the pipe for themselves.
    verdicts = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    judge(["1"], "\\boxed{1}", None)  # imports and compiles everything, before the first clock starts
    verdicts.write('{"ready": true}\n')
    for line in sys.stdin:
        request = json.loads(line)
        # The default action of this timer ends the process, whatever code it is in and even if the parent is gone.
        signal.setitimer(signal.ITIMER_PROF, request["timeout"])
        correct, broke = False, False
        try:
            correct = judge(request["gold"], request["answer"], request["tolerance"])
        except (Exception, RecursionError, MemoryError):  # the answer is a stranger's text: what breaks on it is wrong
            broke = True
        signal.setitimer(signal.ITIMER_PROF, 0)
        verdicts.write(json.dumps({"correct": bool(correct), "broke": broke}) + "\n")


if __name__ == "__main__":
    main()
