"""How an answer is written, not whether it is right: rules on its text, its opening, and a classifier of two writers.

Every rule reads the answer alone. The patterns are for English, and each is tested on answers worked by hand. That chat
models have habits of this kind, by which a classifier tells them apart: Sun et al. 2025, arXiv 2502.12150.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from offmodel.errors import RunError
from offmodel.statistics import Array, Estimate, mean_share

SURFACE = ["words", "steps", "latex", "boxed", "self_check", "loops"]  # the keys of `surface`
OPENING_WORDS = 3
COMMON_OPENINGS = 50
FEWEST_PROMPTS = 10
_FOLDS = 5
# scikit-learn's C of 1 leaves the probabilities of a few hundred short answers near one half: for the two pocket models
# the log loss of held-out answers is 0.47 at 1, 0.31 at 10 and 0.28 from 30 on, and their accuracy the same.
_INVERSE_PENALTY = 10.0

# "Step 1", "Step two:"; two lines that begin "1. …" or "2) …", in a list or a heading too; "First, … Then …".
_STEP = re.compile(r"\bstep\s+(?:\d+|one|two|three)\b", re.IGNORECASE)
_NUMBERED = re.compile(r"^[ \t>#*_-]*\d{1,2}[.)][ \t*_]+\S", re.MULTILINE)
_FIRST_THEN = re.compile(
    r"(?:^|[.!?:]\s+)first(?:ly)?\b.*?\b(?:then|next|second|secondly|finally)\b",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)
# Dollars as in Pandoc's tex_math_dollars: no space inside either one and no digit after, so that prices are not maths.
_LATEX = re.compile(
    r"\\\(|\\\[|\$\$|\\begin\{|(?<![\\$])\$(?=\S)[^$\n]*(?<=[^\s\\])\$(?!\d)"
    r"|\\(?:d?frac|sqrt|times|cdot|div|text|mathbf|mathrm|boxed|left|pi|leq?|geq?|neq|approx|sum|int)(?![A-Za-z])"
)
_BOXED = re.compile(r"\\f?boxed(?![A-Za-z])")
# "wait" only where it opens a sentence and stops it: "Wait, that is wrong", not "wait for the bus".
_SELF_CHECK = re.compile(
    r"(?:^|[.!?…—]\s*|\s[-–]\s)(?:but |oh,? )?(?:wait|hold on|hmm+)\s*(?:[,.!?…—-]|$)"
    r"|\blet(?:['’]s| us| me)(?: just| quickly)? (?:double[- ]?check|re-?check|check|verify|re-?think|reconsider)\b"
    r"|\bdouble[- ]check"
    r"|\b(?:to|we can|i(?:['’]ll| will| can)) (?:check|verify) (?:the|our|my|this) (?:answer|result|solution|work)\b"
    r"|\bon second thoughts?\b",
    re.IGNORECASE | re.MULTILINE,
)
# Greedy answers of small models can end in a loop, which no token limit cures. Among the last words of an answer that
# still goes on, most runs of four are new.
_LOOP_WORDS, _LOOP_RUN, _LOOP_FEWEST = 120, 4, 24
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def surface(text: str) -> dict[str, int]:
    """The measures of one answer; all but the first are 0 or 1.

    words: runs of characters between white space. steps: "Step 1", at least two numbered lines, or a sentence "First …"
    and a "then", "next", "second" or "finally" after it. latex: a common command, an environment, or text between
    \\( \\), \\[ \\] or dollars that are no prices. boxed: \\boxed. self_check: "Wait, …", "let me check",
    "double-check" and their kin. loops: of the runs of four among its last 120 words, each number as 0, under half are
    different ones (distinct-n, Li et al. 2016, arXiv 1510.03055).
    """
    steps = _STEP.search(text) or len(_NUMBERED.findall(text)) > 1 or _FIRST_THEN.search(text)
    found = {"steps": steps, "latex": _LATEX.search(text), "boxed": _BOXED.search(text)}
    found["self_check"] = _SELF_CHECK.search(text)
    found["loops"] = _loops(text)
    return {"words": len(text.split()), **{name: int(bool(hit)) for name, hit in found.items()}}


def _loops(text: str) -> bool:
    last = _NUMBER.sub("0", text[-20 * _LOOP_WORDS :]).split()[-_LOOP_WORDS:]
    runs = [tuple(last[i : i + _LOOP_RUN]) for i in range(len(last) - _LOOP_RUN + 1)]
    return len(last) >= _LOOP_FEWEST and len(set(runs)) < len(runs) / 2


def opening(text: str) -> str:
    """The first three words, case-folded, each number as 0: "12 + 5 = 17" opens as "0 + 0". Empty for no words."""
    return " ".join(_NUMBER.sub("0", text.casefold()).split()[:OPENING_WORDS])


class Openings:
    """The most common openings of a model's answers, to see how often another model's answers begin alike.

    With `items`, what the model wrote to an item does not count as common for answers to that same item. Else a model
    would share every opening of its own, and so would one that gives the same answer to a problem.
    """

    def __init__(self, texts: Sequence[str], items: Sequence[str] | None = None) -> None:
        found = [opening(text) for text in texts]
        self._all = Counter(one for one in found if one)
        self._of: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for item, one in zip(items or (), found if items else (), strict=True):
            self._of[item][one] += 1

    def share(self, text: str, item: str) -> int:
        """1 if the answer opens like one of the 50 most common openings (ties by alphabet), else 0."""
        mine, own = opening(text), self._of.get(item, Counter())
        count = self._all[mine] - own[mine]
        if not mine or count <= 0:
            return 0
        ahead = sum((own[other] - times, other) < (-count, mine) for other, times in self._all.items())
        return int(ahead < COMMON_OPENINGS)


class StyleClassifier:
    """Tells the answers of a teacher from those of the untrained student to the same prompts.

    Logistic regression (C = 10, classes balanced) on TF-IDF of words and punctuation marks, alone and in pairs, that
    occur in two answers or more; numbers count as one word and the tf is 1 + ln tf. `accuracy` is that on held-out
    answers, a mean over prompts with the interval of `statistics.mean_share`, in 5-fold cross-validation that never
    splits a prompt, so that no topic is known beforehand; `n` is the number of answers. Chance is one half where both
    wrote equally many.

    Raises:
        RunError: fewer than 10 prompts, one writer only, or no words that two answers share.
    """

    accuracy: Estimate
    n: int

    def __init__(self, texts: Sequence[str], from_teacher: Sequence[bool], prompts: Sequence[str]) -> None:
        # In this order whatever that of the rows, since sums in another order round otherwise.
        rows = sorted(zip(prompts, from_teacher, texts, strict=True))
        if len(set(from_teacher)) < 2:
            raise RunError("a style classifier needs answers of two models and got one; give both their chat answers")
        if len({prompt for prompt, _, _ in rows}) < FEWEST_PROMPTS:
            raise RunError(f"a style classifier needs answers to {FEWEST_PROMPTS} chat prompts; raise `n` under [chat]")
        from sklearn.model_selection import GroupKFold, cross_val_predict

        written, labels = [text for _, _, text in rows], np.array([label for _, label, _ in rows], dtype=bool)
        groups = np.unique([prompt for prompt, _, _ in rows], return_inverse=True)[1]
        try:
            guessed = cross_val_predict(_pipeline(), written, labels, groups=groups, cv=GroupKFold(_FOLDS))
            self._model = _pipeline().fit(written, labels)
        except ValueError as error:
            raise RunError(f"no style can be learnt from these {len(rows)} chat answers ({error}); use more") from error
        self.n = len(rows)
        hits = np.bincount(groups, weights=guessed == labels) / np.bincount(groups)
        self.accuracy = mean_share(hits, runs=self.n / len(hits))

    @classmethod
    def between(cls, student: pd.DataFrame, teacher: pd.DataFrame, names: tuple[str, str]) -> "StyleClassifier":
        """From two tables of answers (columns prompt_id, answer), kept to the prompts that both answered with a word.

        Raises:
            RunError: as the class; `names` (student, teacher) are the aliases that it names.
        """
        both = [table[table["answer"].str.strip() != ""] for table in (student, teacher)]
        common = set(both[0]["prompt_id"]) & set(both[1]["prompt_id"])
        if len(common) < FEWEST_PROMPTS:
            raise RunError(
                f"{names[0]} and {names[1]} both answered {len(common)} chat prompts, and telling their styles apart "
                f"needs {FEWEST_PROMPTS}; raise `n` under [chat] in the preset"
            )
        kept = pd.concat([table.assign(teacher=i == 1) for i, table in enumerate(both)])
        kept = kept[kept["prompt_id"].isin(common)]
        return cls(kept["answer"].tolist(), kept["teacher"].tolist(), kept["prompt_id"].tolist())

    def teacher_probability(self, texts: Sequence[str]) -> Array:
        """For each text, in [0, 1], that the teacher wrote it; NaN for one without words, which has no style."""
        worded = np.array([bool(text.strip()) for text in texts], dtype=bool)
        probability = np.full(len(worded), np.nan)
        if worded.any():
            given = [text for text, keep in zip(texts, worded, strict=True) if keep]
            probability[worded] = self._model.predict_proba(given)[:, 1]
        return probability


def _without_numbers(text: str) -> str:
    return _NUMBER.sub(" 0 ", text.casefold())


def _pipeline() -> Any:
    """Untrained. Here because scikit-learn takes a second to import, and the base install lacks it."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    vectors = TfidfVectorizer(
        preprocessor=_without_numbers,
        token_pattern=r"[^\W\d_]+(?:['’][^\W\d_]+)*|0|[^\w\s]",
        ngram_range=(1, 2),
        sublinear_tf=True,
        min_df=2,
    )
    return make_pipeline(vectors, LogisticRegression(C=_INVERSE_PENALTY, class_weight="balanced", max_iter=1000))
