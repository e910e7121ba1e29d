"""Is an answer right? Formulas are compared by math-verify in a process that can be killed, numbers by value.

A model's answer is a stranger's text: nothing here evaluates it, and all work on it is bounded in time and length.
"""

import atexit
import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from offmodel.errors import RunError

MAX_CHARACTERS = 16_000
"""Only the end of an answer is read; that is where the result stands, after about 5,000 tokens of reasoning."""

STARTUP_SECONDS = 120.0
PATIENCE = 10

# A minus sign belongs to a number only where no number or letter stands before it: "5-3" is a difference.
_NUMERAL = r"(?:(?<![\w)\]}])[-−])?(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|(?<!\d)\.\d+)"
_NUMBER = re.compile(_NUMERAL)
# What an answer that is stated as such may hold: a ratio is one number, a power is none, and an exponent not even that.
_TERM = re.compile(
    rf"(?P<minus>[-−]\s*)?\\[dt]?frac\s*{{\s*(?P<above>{_NUMERAL})\s*}}\s*{{\s*(?P<below>{_NUMERAL})\s*}}"
    rf"|(?P<over>{_NUMERAL})\s*/\s*(?P<under>{_NUMERAL})"
    rf"|(?P<power>{_NUMERAL}\s*\^\s*{{?\s*{_NUMERAL})|(?P<exponent>\^\s*{{?\s*{_NUMERAL})|{_NUMERAL}"
)
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|\\,)(?=\d{3}(?!\d))")  # as LaTeX separates them
_BRACE = re.compile(r"\\boxed\{|[{}]")
_STATED = re.compile(r"\banswer\b[^\n.:=]{0,40}?(?:\bis\b|:|=)", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?](?:\s|$)")
_MAX_DIGITS = 100


@dataclass(frozen=True)
class Verdict:
    """`answered`: the text states an answer, in a box or as "the answer is".

    An answer on which the comparison `timed_out` or `broke` (it raised, or died for want of memory) counts as wrong.
    """

    correct: bool
    answered: bool
    timed_out: bool
    broke: bool = False


def boxed(text: str) -> str | None:
    r"""The content of the last closed `\boxed{...}` that is not empty, or None."""
    text = text[-MAX_CHARACTERS:]
    opened: list[int | None] = []  # where the content of an open box begins; None for other braces
    content = None
    for mark in _BRACE.finditer(text):
        if mark[0] != "}":
            opened.append(mark.end() if mark[0] != "{" else None)
        elif opened and (start := opened.pop()) is not None:
            content = text[start : mark.start()].strip() or content
    return content


def stated(text: str) -> str | None:
    """What a text gives as its answer: the last box, or else what the sentence says after its last "answer is"."""
    if (content := boxed(text)) is not None:
        return content
    text = text[-MAX_CHARACTERS:]
    *_, last = [None, *_STATED.finditer(text)]
    if last is None:
        return None
    line = text[last.end() :].partition("\n")[0]
    sentence = _SENTENCE_END.split(line, maxsplit=1)[0].strip(" \t*$")
    return sentence if any(character.isalnum() for character in sentence) else None


def last_number(text: str) -> Fraction | None:
    r"""The number that a text ends on: the last one in the box, or in "the answer is ...", or in the whole text.

    In a stated sentence the first number counts, or the first after its last `=` ("the answer is 3 + 4 = 7").
    Thousands separators, decimals, both minus signs, and ratios in a box or stated sentence are read; a power there is
    None, and the 2 of a unit such as `m^2` is no number.
    """
    text = _THOUSANDS.sub("", text[-MAX_CHARACTERS:])
    if (content := boxed(text)) is not None and (terms := _terms(content)):
        return _term_value(terms[-1])
    if (sentence := stated(text)) is not None and (terms := _terms(sentence.rpartition("=")[2])):
        return _term_value(terms[0])
    found = _NUMBER.findall(text)
    return _value(found[-1]) if found else None


def numbers(text: str) -> set[Fraction]:
    """Every number in a text, by value; of a ratio its two parts, and the ratio."""
    text = _THOUSANDS.sub("", text[-MAX_CHARACTERS:])
    found = [*map(_term_value, _terms(text)), *map(_value, _NUMBER.findall(text))]
    return {value for value in found if value is not None}


def _terms(text: str) -> list[re.Match[str]]:
    return [term for term in _TERM.finditer(text) if term["exponent"] is None]


def _term_value(term: re.Match[str]) -> Fraction | None:
    if term["power"]:
        return None
    above, below = term["above"] or term["over"], term["below"] or term["under"]
    if above is None:
        return _value(term[0])
    numerator, denominator = _value(above), _value(below)
    if numerator is None or not denominator:
        return None
    return (-1 if term["minus"] else 1) * numerator / denominator


def _value(numeral: str) -> Fraction | None:
    # Python refuses to read numbers of thousands of digits, and no answer has them.
    return Fraction(numeral.replace(",", "").replace("−", "-")) if len(numeral) <= _MAX_DIGITS else None


class Checker:
    """A child process that compares formulas, started at the first question and restarted after a kill."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""

    def verify(self, gold: list[str], answer: str, timeout: float = 5.0, tolerance: float | None = None) -> Verdict:
        """Judge an answer.

        Args:
            gold: acceptable answers in LaTeX, any one of which is right; a set of values is one entry ("1, 3, 5").
            answer: the model's whole text, of which the end is read.
            timeout: seconds of the child's processor time, so that a busy machine changes no score; after that, or
                after `PATIENCE` times as long by the clock, the answer is wrong and the process is killed.
            tolerance: largest absolute error of a numerical answer; None compares as math-verify does.

        Raises:
            RunError: the process does not start, so math-verify is missing or broken.
        """
        answer = answer[-MAX_CHARACTERS:]
        answered = stated(answer) is not None
        request = {"gold": gold, "answer": answer, "tolerance": tolerance, "timeout": timeout}
        with self._lock:
            process = self._started()
            assert process.stdin is not None
            try:
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
                reply = self._read(process, PATIENCE * timeout)
            except OSError as error:  # out of time, or dead: for want of memory or stack, or by its own timer
                self.close()
                timed_out = isinstance(error, TimeoutError) or process.returncode == -signal.SIGPROF
                return Verdict(correct=False, answered=answered, timed_out=timed_out, broke=not timed_out)
        return Verdict(correct=reply["correct"], answered=answered, timed_out=False, broke=reply["broke"])

    def close(self) -> None:
        """End the process, if there is one."""
        process, self._process, self._buffer = self._process, None, b""
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.kill()
        process.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        # The folder of this package, so that the child finds it from any working directory.
        package = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "offmodel.evaluation.checker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
        )
        try:
            self._read(self._process, STARTUP_SECONDS)
        except OSError as error:  # a TimeoutError is one
            self.close()
            raise RunError(
                "the answer checker does not start; install the extra `cpu` or `gpu` (math-verify), then see "
                "`python -m offmodel.evaluation.checker`"
            ) from error
        return self._process

    def _read(self, process: subprocess.Popen[bytes], timeout: float) -> dict[str, bool]:
        assert process.stdout is not None
        end = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise TimeoutError
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                raise BrokenPipeError
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)


_checker = Checker()
atexit.register(_checker.close)


def verify(gold: list[str], answer: str, timeout: float = 5.0, tolerance: float | None = None) -> Verdict:
    """`Checker.verify` on the one checker of this process; see there."""
    return _checker.verify(gold, answer, timeout, tolerance)
