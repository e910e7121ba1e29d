"""What an answer scores: the `process_results` of the tasks. The scores' meaning is told in `evaluation.registry`."""

import contextlib
import io
import math
import random
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import Any

from offmodel.evaluation.answers import last_number, verify
from offmodel.evaluation.punkt import ensure_punkt, needs_punkt


def formula(doc: dict[str, Any], results: Sequence[str]) -> dict[str, int]:
    """MATH-500 and OlympiadBench: equal to one of `answers`, by math-verify."""
    verdict = verify(doc["answers"], results[0], tolerance=doc["tolerance"])
    return {"acc": int(verdict.correct), "answered": int(verdict.answered)}


def number(doc: dict[str, Any], results: Sequence[str]) -> dict[str, int]:
    """Arithmetic and GSM8K: the same number, exactly."""
    given = last_number(results[0])
    return {"acc": int(given == Fraction(doc["answer"])), "answered": int(given is not None)}


def choice(doc: dict[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, int]:
    """Four choices: `results` holds (log p of the letter in nats, is it greedy) in the order A to D.

    The letter chosen is the likeliest; in lm-eval's log of samples it is the largest of `filtered_resps`.
    """
    logprobs = [logprob for logprob, _ in results]
    chosen = logprobs.index(max(logprobs))
    mass = sum(math.exp(logprob) for logprob in logprobs)
    return {"acc": int(chosen == doc["answer"]), "answered": int(mass > 0.5)}


def instructions(doc: dict[str, Any], results: Sequence[str]) -> dict[str, int]:
    """IFEval (Zhou et al., 2023, arXiv:2311.07911): `acc` is prompt-level strict, `acc_loose` prompt-level loose."""
    if needs_punkt(doc["instruction_id_list"]):
        ensure_punkt()
    checkers, drawn = _ifeval(), random.getstate()
    # A checker draws what it does not take: another letter, where two of IFEval's prompts (keys 1122 and 1129) ask for
    # "#" and "!".
    random.seed(0)
    try:
        scores = checkers.process_results(doc, results)
    except RecursionError:
        # Its JSON check lets this one through: an answer that only opens brackets, which is no JSON. No other check
        # recurses, so the prompt's instructions are not all followed.
        scores = {"prompt_level_strict_acc": False, "prompt_level_loose_acc": False}
    finally:
        random.setstate(drawn)
    return {
        "acc": int(scores["prompt_level_strict_acc"]),
        "acc_loose": int(scores["prompt_level_loose_acc"]),
        "answered": int(bool(results[0].strip())),
    }


@cache
def _ifeval() -> Any:
    import nltk
    from langdetect import DetectorFactory

    # On import lm-eval downloads NLTK's punkt_tab, and says that it did even where it could not. `ensure_punkt` has
    # seen to it where it is needed, so the import is kept from trying.
    download, nltk.download = nltk.download, lambda *_, **__: False
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            from lm_eval.tasks.ifeval import utils
    finally:
        nltk.download = download
    # The language checker draws at random unless told otherwise, and then flips an item now and then.
    DetectorFactory.seed = 0
    return utils
