"""The error for a name that does not exist: it offers the nearest one that does."""

import difflib
from collections.abc import Iterable

from offmodel.errors import RequestError


def unknown(what: str, name: str, known: Iterable[str]) -> RequestError:
    """An error such as: unknown task 'mth500'; did you mean 'math500'? Known: ifeval, math500."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return RequestError(f"unknown {what} '{name}'; {hint}Known: {', '.join(names)}")
