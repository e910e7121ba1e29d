"""A second, independent tokeniser: what a GGUF says about its vocabulary, read by llama.cpp's two greedy algorithms."""

import math
from itertools import pairwise
from pathlib import Path

import regex
from transformers.integrations.gguf.reader import read_gguf_metadata


def byte_alphabet() -> list[str]:
    """GPT-2's printable stand-in for each byte: itself if printable, else the next code point from 256 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    unprintable = [byte for byte in range(256) if byte not in printable]
    return [chr(byte if byte in printable else 256 + unprintable.index(byte)) for byte in range(256)]


class GgufVocabulary:
    """What a GGUF says about its tokenizer, and llama.cpp's two greedy algorithms read from it.

    `gpt2` merges byte-level BPE pairs by their rank in the merge list; `llama` (SentencePiece BPE) merges whichever
    adjacent pair forms the token of highest score, and spells what is left in byte tokens.
    """

    _GPT2_WORDS = regex.compile(r"'(?:[stmd]|re|ve|ll)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")

    def __init__(self, path: Path) -> None:
        metadata, _ = read_gguf_metadata(str(path), ("tokenizer.ggml.tokens", "tokenizer.ggml.merges"))
        entry = {key.removeprefix("tokenizer.ggml."): value for key, value in metadata.items()}
        self.byte_level = entry["model"] == "gpt2"
        self.ids = {token: number for number, token in enumerate(entry["tokens"])}
        self.bos = [entry["bos_token_id"]] if entry["add_bos_token"] else []
        self.rank = {merge: rank for rank, merge in enumerate(entry.get("merges", ()))}
        self.score = dict(zip(entry["tokens"], entry.get("scores", ()), strict=False))
        whole = [token for token, kind in zip(entry["tokens"], entry["token_type"], strict=True) if kind in (3, 4)]
        whole.sort(key=len, reverse=True)  # control and user-defined tokens are found first, the longest first
        self.whole = regex.compile("(" + "|".join(map(regex.escape, whole)) + ")")

    def encode(self, text: str) -> list[int]:
        ids = list(self.bos)
        for piece in filter(None, self.whole.split(text)):
            if self.whole.fullmatch(piece):
                ids.append(self.ids[piece])
            elif self.byte_level:
                for part in filter(None, regex.split(r"(\p{N})", piece)):  # llama.cpp's `smollm`: digits one by one
                    for word in self._GPT2_WORDS.findall(part):
                        ids += self._merged([byte_alphabet()[byte] for byte in word.encode()])
            else:
                ids += self._merged(list(piece.replace(" ", "▁")))
        return ids

    def _merged(self, symbols: list[str]) -> list[int]:
        while True:
            costs = [self._cost(left, right) for left, right in pairwise(symbols)]
            if not costs or min(costs) == math.inf:
                break
            at = costs.index(min(costs))
            symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
        spelt = [[s] if s in self.ids else [f"<0x{byte:02X}>" for byte in s.encode()] for s in symbols]
        return [self.ids[token] for tokens in spelt for token in tokens]

    def _cost(self, left: str, right: str) -> float:
        if self.byte_level:
            return self.rank.get(f"{left} {right}", math.inf)
        return -self.score[left + right] if left + right in self.ids else math.inf
