"""Progress of long work on the terminal: what, how many of how many, tokens a second, time left."""

import os
import sys
import time
from typing import Any, TextIO

from tqdm import tqdm

# A worker's own output goes to its log; this names the descriptor on which the terminal still listens.
PROGRESS_FD = "OFFMODEL_PROGRESS_FD"


def terminal() -> TextIO:
    """The stream that the person who started the study sees."""
    descriptor = os.environ.get(PROGRESS_FD)
    if descriptor is None:
        return sys.stderr
    return os.fdopen(os.dup(int(descriptor)), "w", encoding="utf-8", buffering=1)


class _Lines:
    """A stream on which a bar that would be drawn over itself becomes lines, for a log or a pipe."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> None:
        if line := text.strip():
            self._stream.write(f"{line}\n")

    def flush(self) -> None:
        self._stream.flush()


class _Bar(tqdm):
    """One whose `bar_format` knows `{left}`: the seconds in `seconds_left`, None for not known."""

    seconds_left: float | None = None

    @property
    def format_dict(self) -> dict[str, Any]:
        seconds = self.seconds_left
        return {**super().format_dict, "left": "?" if seconds is None else self.format_interval(seconds)}


class Progress:
    """A bar for one artefact. Off a terminal it prints a line at most every ten seconds.

    Args:
        what: the artefact, and what is made of it.
        total: how many units there are.
        unit: what is counted.
        longest: tokens that one unit takes at most, where that is known. Many answers made at once end late, so that
            those that ended say little of the time left.
    """

    def __init__(self, what: str, total: int, unit: str, longest: int | None = None):
        stream = terminal()
        live = stream.isatty()
        self._longest = longest
        self._before, self._worked, self._tokens = 0, 0, 0
        self._started = time.monotonic()
        self._first: tuple[float, int, int] | None = None
        self._bar = _Bar(
            total=total,
            desc=what,
            unit=unit,
            file=stream if live else _Lines(stream),
            mininterval=0.5 if live else 10,
            miniters=0,  # tokens are news too
            dynamic_ncols=live,
            # Names are long: what a narrow terminal cuts off is theirs.
            bar_format="{n_fmt}/{total_fmt} {unit}s{postfix}, {elapsed} elapsed, {left} left  {desc}",
            leave=True,
        )

    def __call__(self, count: int, tokens: int) -> None:
        """Report `count` more finished and `tokens` more processed; what took no tokens was there before this run."""
        if tokens:
            self._worked += count
            self._tokens += tokens
            if self._first is None:  # how long it took is not known: models are loaded before
                self._first = time.monotonic(), self._worked, self._tokens
            self._bar.set_postfix_str(f"{self._rate():,.0f} tokens/s", refresh=False)
        else:
            self._before += count
        self._bar.seconds_left = self.left()
        self._bar.update(count)

    def _rate(self) -> float:
        """Tokens a second since the first report; at that one, since the start."""
        began, _, tokens = self._first or (self._started, 0, 0)
        if self._tokens == tokens:
            began, tokens = self._started, 0
        return (self._tokens - tokens) / max(time.monotonic() - began, 1e-9)

    def left(self) -> float | None:
        """Seconds, the less of two estimates since the first report: as units ended, and as tokens came, if all others
        are as long as they can be. None while nothing is known."""
        done, total = self._before + self._worked, self._bar.total
        if total and done >= total:
            return 0.0
        if self._first is None:
            return None
        began, worked, tokens = self._first
        elapsed = time.monotonic() - began
        estimates = []
        if self._worked > worked:
            estimates.append(elapsed / (self._worked - worked) * (total - done))
        if self._longest and self._tokens > tokens:
            to_come = min((total - self._before) * self._longest - self._tokens, (total - done) * self._longest)
            estimates.append(elapsed / (self._tokens - tokens) * max(to_come, 0))
        return min(estimates, default=None)

    def at(self, done: int, total: int, tokens: int) -> None:
        """Report that `done` of `total` are finished, the last of which took `tokens`."""
        self._bar.total = total
        self(done - 1 - self._bar.n, 0)
        self(1, tokens)

    def close(self) -> None:
        self._bar.close()
