"""Whole checkpoints of the Hugging Face hub at a pinned commit, from a mirror folder or the hub itself.

Only safetensors weights, configs and tokenizers are taken, and every weights file is checked against the digest that
the hub published for that commit. A mirror made with `hf download ID --revision COMMIT --local-dir DIR/ID` carries
those digests; for one that does not, its bytes can be accepted by their own digest. Nothing here needs torch.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from offmodel.errors import RunError
from offmodel.weights.packages import sha256_of

_WEIGHTS = "*.safetensors"
_TWICE = "consolidated*"  # Mistral's repositories hold their weights in a second format too
_OTHERS = ("*.safetensors.index.json", "config.json", "generation_config.json", "tokenizer*.json", "tokenizer.model",
           "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "*.jinja")  # fmt: skip


@dataclass(frozen=True)
class HubCheckpoint:
    """A repository of the hub at one commit.

    Attributes:
        repository: hub id, `owner/name`.
        commit: the 40 digits of the commit.
    """

    repository: str
    commit: str


@dataclass(frozen=True)
class LocalCheckpoint:
    """A folder of this machine: safetensors, config and a tokenizer with a chat template."""

    folder: Path


def copy_checkpoint(source: LocalCheckpoint, weights: str, out: Path, log: Callable[[str], None]) -> None:
    """Copy a checkpoint of this machine into `out`, an empty folder: linked, it would change with what is trained
    there next.

    Args:
        source: where it is.
        weights: `sha256:` and the first digits of its `digest_of_all`.
        out: where to put it.
        log: called with one line per step.

    Raises:
        RunError: it is no longer what it was when the run began.
    """
    log(f"copying {source.folder}")
    for path in _taken(source.folder):
        shutil.copyfile(path, out / path.name)
    if not digest_of_all(out).startswith(weights.removeprefix("sha256:")):
        raise RunError(f"{source.folder} has changed since this run began; run the same command again")


def fetch_checkpoint(
    source: HubCheckpoint, alias: str, weights: str, models: Path | None, out: Path, log: Callable[[str], None]
) -> None:
    """Bring a checked checkpoint into `out`, an empty folder; linked where the disk is the same, copied elsewhere.

    Args:
        source: where it is.
        alias: the model's name in this project.
        weights: `hub:` and the first digits of the commit, or `sha256:` and those of `digest_of` an accepted folder.
        models: the mirror folder, or None.
        out: where to put it.
        log: called with one line per step.

    Raises:
        RunError: it is neither in the mirror nor to be had from the hub, holds no safetensors, or does not match.
    """
    folder = models / source.repository if models else None
    if folder is not None and (folder / "config.json").is_file():
        published = _published_beside(folder)
    else:
        log(f"fetching {source.repository} from the hub")
        folder, published = _download(source, folder)
    log(f"checking {source.repository}")
    kind, _, expected = weights.partition(":")
    if kind == "sha256":
        if not (found := digest_of(folder)).startswith(expected):
            raise RunError(f"the weights in {folder} have digest {found}, not the {expected}… that the preset accepts")
    else:
        _check(source, alias, folder, published)
    for path in _taken(folder):
        _link(path.resolve(), out / path.name)


def config_of_hub(source: HubCheckpoint, models: Path | None) -> Path | None:
    """Its `config.json`, from the mirror folder or the hub; None where neither can tell."""
    from huggingface_hub import hf_hub_download

    if models is not None and (found := models / source.repository / "config.json").is_file():
        return found
    try:
        return Path(hf_hub_download(source.repository, "config.json", revision=source.commit))
    except Exception:  # as in `_download`; what is wrong is said when the weights are fetched
        return None


def weights_in(folder: Path) -> list[Path]:
    """The weights files that are taken from a checkpoint's folder, sorted."""
    return [path for path in _taken(folder) if fnmatch(path.name, _WEIGHTS)]


def digest_of(folder: Path) -> str:
    """One sha256 for all weights files of a checkpoint: of a line with name and digest for each, sorted.

    Raises:
        RunError: there are none.
    """
    return _whole(_digests(folder))


def digest_of_all(folder: Path) -> str:
    """As `digest_of`, and of config and tokenizer as well."""
    return _whole({path.name: sha256_of(path) for path in _taken(folder)})


def _digests(folder: Path) -> dict[str, str]:
    """The sha256 of each weights file by its name, sorted."""
    files = weights_in(folder)
    if not files:
        raise RunError(f"{folder} holds no safetensors weights; other formats can run code and are not loaded")
    return {path.name: sha256_of(path) for path in files}


def _whole(digests: Mapping[str, str]) -> str:
    return hashlib.sha256("".join(f"{name} {digest}\n" for name, digest in digests.items()).encode()).hexdigest()


def _check(source: HubCheckpoint, alias: str, folder: Path, published: Mapping[str, tuple[str, str]]) -> None:
    """Every weights file must be the one that the hub published for the pinned commit."""
    digests = _digests(folder)
    for name, found in digests.items():
        commit, digest = published.get(name, ("", ""))
        if commit == source.commit and digest == found:
            continue
        reason = "is of no known commit" if not commit else f"is of commit {commit[:12]}"
        if commit == source.commit:
            reason = "is damaged: its digest is not the one that the hub published"
        raise RunError(
            f"{folder / name} {reason}; fetch it with `hf download {source.repository} --revision {source.commit} "
            f'--local-dir {folder}`, or, if you trust these weights, put `"{alias}" = "{_whole(digests)}"` under '
            "[weights] of a preset of your own"
        )


def _published_beside(folder: Path) -> dict[str, tuple[str, str]]:
    """By file: the commit and digest that `hf download --local-dir` wrote down when it fetched it."""
    notes = folder / ".cache" / "huggingface" / "download"
    found = {}
    for note in notes.glob(f"{_WEIGHTS}.metadata"):
        commit, digest, *_ = [*note.read_text(encoding="utf-8").split("\n"), "", ""]
        found[note.name.removesuffix(".metadata")] = (commit.strip(), digest.strip())
    return found


def _download(source: HubCheckpoint, mirrored: Path | None) -> tuple[Path, dict[str, tuple[str, str]]]:
    from huggingface_hub import HfApi, snapshot_download

    try:
        told = HfApi().model_info(source.repository, revision=source.commit, files_metadata=True, timeout=20)
        folder = snapshot_download(
            source.repository,
            revision=source.commit,
            allow_patterns=[_WEIGHTS, *_OTHERS],
            ignore_patterns=["*/*", _TWICE],
        )
    except Exception as error:  # the client raises unrelated types for no network, no access and no such repository
        where = f"{mirrored} holds no checkpoint, and " if mirrored else ""
        raise RunError(
            f"{where}the hub's {source.repository} cannot be fetched ({type(error).__name__}); log in with `hf auth "
            f"login` where it is gated, or give --models DIR, a folder with {source.repository}"
        ) from error
    files = told.siblings or []
    return Path(folder), {file.rfilename: (source.commit, file.lfs.sha256) for file in files if file.lfs}


def _taken(folder: Path) -> list[Path]:
    wanted = (_WEIGHTS, *_OTHERS)
    found = (path for path in folder.iterdir() if any(fnmatch(path.name, pattern) for pattern in wanted))
    return sorted(path for path in found if not fnmatch(path.name, _TWICE))


def _link(path: Path, target: Path) -> None:
    try:
        os.link(path, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(path, target)
