"""Checkpoints of the hub without the hub: a mirror with and without the digests that were published."""

import hashlib
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest

from offmodel.errors import RunError
from offmodel.weights.checkpoints import HubCheckpoint, digest_of, fetch_checkpoint

SOURCE = HubCheckpoint("maker/tiny", "c" * 40)
PINNED = "hub:" + "c" * 16
FILES = {"model-00001-of-00002.safetensors": b"one", "model-00002-of-00002.safetensors": b"two", "config.json": b"{}",
         "tokenizer.json": b"{}", "chat_template.jinja": b"",
         "pytorch_model.bin": b"code", "modeling.py": b"code", "consolidated.safetensors": b"one and two"}  # fmt: skip
TAKEN = {name for name in FILES if name not in ("pytorch_model.bin", "modeling.py", "consolidated.safetensors")}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A mirror as `hf download --local-dir` leaves it."""
    folder = tmp_path / "models" / "maker" / "tiny"
    notes = folder / ".cache" / "huggingface" / "download"
    notes.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
        (notes / f"{name}.metadata").write_text(f"{'c' * 40}\n{sha256(content)}\n1700000000.0\n")
    return tmp_path / "models"


def fetched(models: Path | None, out: Path, weights: str = PINNED) -> set[str]:
    out.mkdir(exist_ok=True)
    fetch_checkpoint(SOURCE, "tiny", weights, models, out, lambda line: None)
    return {path.name for path in out.iterdir()}


def test_weights_config_and_tokenizer_are_taken_and_no_code(models: Path, tmp_path: Path) -> None:
    assert fetched(models, tmp_path / "out") == TAKEN
    assert (tmp_path / "out" / "model-00002-of-00002.safetensors").read_bytes() == b"two"


def test_damaged_weights_are_refused(models: Path, tmp_path: Path) -> None:
    (models / "maker/tiny/model-00002-of-00002.safetensors").write_bytes(b"tw0")
    with pytest.raises(RunError, match=r"00002-of-00002.* is damaged"):
        fetched(models, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_another_commit_is_named(models: Path, tmp_path: Path) -> None:
    note = models / "maker/tiny/.cache/huggingface/download/model-00001-of-00002.safetensors.metadata"
    note.write_text(note.read_text().replace("c" * 40, "d" * 40))
    with pytest.raises(
        RunError, match=r"is of commit dddddddddddd; fetch it with `hf download maker/tiny --revision c{40}"
    ):
        fetched(models, tmp_path / "out")


def test_bytes_of_no_known_commit_can_be_accepted(models: Path, tmp_path: Path) -> None:
    folder = models / "maker" / "tiny"
    for note in (folder / ".cache/huggingface/download").iterdir():
        note.unlink()
    lines = "".join(f"{name} {sha256(FILES[name])}\n" for name in sorted(TAKEN) if name.endswith(".safetensors"))
    digest = sha256(lines.encode())
    assert digest_of(folder) == digest
    with pytest.raises(RunError, match=rf'no known commit.*put `"tiny" = "{digest}"` under \[weights\]'):
        fetched(models, tmp_path / "out")
    assert fetched(models, tmp_path / "out", f"sha256:{digest[:16]}") == TAKEN
    with pytest.raises(RunError, match=f"have digest {digest}, not the {'0' * 16}"):
        fetched(models, tmp_path / "other", "sha256:" + "0" * 16)


def test_a_checkpoint_without_safetensors_is_refused(models: Path, tmp_path: Path) -> None:
    for path in (models / "maker" / "tiny").glob("*.safetensors"):
        path.unlink()
    with pytest.raises(RunError, match="no safetensors weights"):
        fetched(models, tmp_path / "out")


def test_what_the_mirror_lacks_comes_from_the_hub(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = models / "maker" / "tiny"
    siblings = [SimpleNamespace(rfilename=name, lfs=SimpleNamespace(sha256=sha256(content)))
                for name, content in FILES.items() if name.endswith(".safetensors")]  # fmt: skip

    class Api:
        def model_info(self, repository: str, revision: str, **_: object) -> SimpleNamespace:
            assert (repository, revision) == ("maker/tiny", "c" * 40)
            return SimpleNamespace(siblings=siblings)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(served))
    assert fetched(None, tmp_path / "out") == TAKEN
    siblings[0].lfs.sha256 = "0" * 64
    with pytest.raises(RunError, match="is damaged"):
        fetched(None, tmp_path / "other")


def test_a_hub_that_cannot_be_reached_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Api:
        def model_info(self, *_: object, **__: object) -> None:
            raise ConnectionError("no route to host, token hf_secret")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    with pytest.raises(RunError, match=r"holds no checkpoint, and the hub's maker/tiny cannot be fetched") as raised:
        fetched(tmp_path, tmp_path / "out")
    assert "hf_secret" not in str(raised.value) and "\n" not in str(raised.value)
