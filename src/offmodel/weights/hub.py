"""Models of the Hugging Face hub: a GGUF file with a known digest, or a safetensors checkpoint at a pinned commit.

A model is first looked for in a mirror folder that is laid out as hub ids (`DIR/owner/name/…`), then on the hub, and is
checked either way. Nothing here needs torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from offmodel.errors import RunError
from offmodel.weights.packages import sha256_of


@dataclass(frozen=True)
class HubGguf:
    """One GGUF file of a hub repository, whichever commit it comes from: its digest pins it.

    Attributes:
        repository: hub id, `owner/name`.
        file: path inside the repository.
        sha256: lowercase hexadecimal digest of the file.
    """

    repository: str
    file: str
    sha256: str


def locate(source: HubGguf, alias: str, expected: str, models: Path | None, log: Callable[[str], None]) -> Path:
    """The checked file, in the mirror or in the hub's cache.

    Args:
        source: where it is.
        alias: the model's name in this project, for what is said when it does not match.
        expected: the first digits of the digest that is accepted.
        models: the mirror folder, or None.
        log: called with one line per step.

    Raises:
        RunError: it is neither in the mirror nor to be had from the hub, or its digest is another.
    """
    path = models / source.repository / source.file if models else None
    if path is None or not path.is_file():
        log(f"fetching {source.file} of {source.repository} from the hub")
        path = _download(source, path)
    log(f"checking {path.name}")
    found = sha256_of(path)
    if not found.startswith(expected):
        raise RunError(
            f"{path} has sha256 {found}, expected {expected}; fetch it again, or, if you trust this file, put "
            f'`"{alias}" = "{found}"` under [weights] of a preset of your own'
        )
    return path


def _download(source: HubGguf, mirrored: Path | None) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(source.repository, source.file))
    except Exception as error:  # the client raises unrelated types for no network, no access and no such file
        where = f"{mirrored} does not exist, and " if mirrored else ""
        raise RunError(
            f"{where}the hub's {source.repository} cannot be reached; give --models DIR, a folder with "
            f"{source.repository}/{source.file}"
        ) from error
