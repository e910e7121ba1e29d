"""Artefacts on disk: a folder each, published by rename, with a checksum list written last.

    <root>/<kind>/<id>/        recipe.json, provenance.json, the data, DONE
    <root>/work/<id>/          scratch of an unfinished artefact: journals, checkpoints; resumed by the next run
    <root>/corrupt/<id>.<n>/   what no longer matched its checksums, moved aside and made again

A folder without a valid DONE is unfinished or damaged and is never read. One writer at a time for each artefact: a file
lock that dies with its process, so two runs on one store share the work.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from offmodel.errors import RequestError, RunError
from offmodel.recipes import Recipe

DONE = "DONE"


def sha256_of(path: Path) -> str:
    """The hex digest of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Store:
    """A folder of artefacts.

    Args:
        root: made on first write. Nothing is read from or written to any other place.
    """

    def __init__(self, root: Path):
        self.root = root
        self._verified: set[str] = set()

    def folder(self, recipe: Recipe) -> Path:
        """Where the finished artefact lies, whether or not it is there."""
        return self.root / getattr(recipe, "kind") / recipe.id  # noqa: B009  (every concrete recipe has a kind)

    def work(self, recipe: Recipe) -> Path:
        """Where an unfinished artefact keeps what it can resume from."""
        return self.root / "work" / recipe.id

    def is_done(self, recipe: Recipe) -> bool:
        """Whether the artefact is there and every byte matches its checksum; hashed once in a process."""
        if recipe.id in self._verified:
            return True
        if not _matches_checksums(self.folder(recipe)):
            return False
        self._verified.add(recipe.id)
        return True

    def require(self, recipe: Recipe) -> Path:
        """The folder of a finished artefact.

        Raises:
            RunError: it is not there, or damaged.
        """
        if not self.is_done(recipe):
            raise RunError(f"{recipe.id} is not in {self.root}; run the study again to make it")
        return self.folder(recipe)

    def make(
        self,
        recipe: Recipe,
        build: Callable[[Path, Path], None],
        provenance: Callable[[], dict[str, Any]],
        on_wait: Callable[[], None] = lambda: None,
    ) -> bool:
        """Make an artefact unless it is there. Returns whether this call made it.

        Args:
            build: writes the artefact's files into its first argument, a folder that is emptied before each try; the
                second argument is scratch that survives a killed run.
            provenance: called after `build`; written as provenance.json.
            on_wait: called once when another process is making the same artefact.
        """
        with self._lock(recipe, on_wait):
            if self.is_done(recipe):
                return False
            work, out = self.work(recipe), self.work(recipe) / "out"
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir(parents=True)
            build(out, work)
            (out / "recipe.json").write_text(_pretty(json.loads(recipe.canonical())), encoding="utf-8")
            (out / "provenance.json").write_text(_pretty(provenance()), encoding="utf-8")
            _write_checksums(out)
            self._move_damaged_aside(recipe)
            self.folder(recipe).parent.mkdir(parents=True, exist_ok=True)
            out.replace(self.folder(recipe))
            shutil.rmtree(work, ignore_errors=True)
            self._verified.add(recipe.id)
            return True

    def check_writable(self, needed_bytes: int) -> None:
        """Fail now rather than hours later.

        Raises:
            RequestError: the folder cannot be written, or has less than `needed_bytes` free.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.root):
                pass
        except OSError as error:
            reason = error.strerror or error
            raise RequestError(
                f"cannot write to the run folder {self.root} ({reason}); choose another with --runs DIR"
            ) from error
        free = shutil.disk_usage(self.root).free
        if free < needed_bytes:
            raise RequestError(
                f"the run folder {self.root} has {free / 1e9:.1f} GB free and this study needs about "
                f"{needed_bytes / 1e9:.1f} GB; free some space or choose another folder with --runs DIR"
            )

    @contextmanager
    def _lock(self, recipe: Recipe, on_wait: Callable[[], None]) -> Iterator[None]:
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / f"{recipe.id}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            on_wait()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _move_damaged_aside(self, recipe: Recipe) -> None:
        damaged = self.folder(recipe)
        if not damaged.exists():
            return
        aside = self.root / "corrupt"
        aside.mkdir(exist_ok=True)
        number = sum(1 for _ in aside.glob(f"{recipe.id}.*"))
        damaged.replace(aside / f"{recipe.id}.{number}")


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != DONE)


def _write_checksums(folder: Path) -> None:
    lines = [f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in _files(folder)]
    unfinished = folder / f".{DONE}"
    with unfinished.open("w", encoding="utf-8") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(folder / DONE)


def _matches_checksums(folder: Path) -> bool:
    try:
        lines = (folder / DONE).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines) if name}
    if not listed or len(listed) != len(lines):
        return False
    present = {path.relative_to(folder).as_posix() for path in _files(folder)}
    return present == set(listed) and all(sha256_of(folder / name) == digest for name, digest in listed.items())
