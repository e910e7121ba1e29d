"""Teachers behind a chat-completions address, as vLLM's server and many providers offer: messages in, text out.

The other side applies the chat template and holds the weights, and may change both: what it says of them is kept.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from offmodel.data.chat import Message
from offmodel.engines.base import Generation, OnProgress
from offmodel.engines.provider import URL_VARIABLE, ApiModel, Provider, Reply, address, key_of
from offmodel.errors import RequestError
from offmodel.journal import Journal
from offmodel.values import Decoding


def check_key(model: ApiModel) -> None:
    """Find now what would fail at the first request.

    Raises:
        RequestError: no key in the environment, an address that is none, or the extra `api` is not installed.
    """
    key, url = key_of(model), urlsplit(address(model))
    if not key:
        raise RequestError(
            f"'{model.name}' is asked over the network: put its key into ${model.key_variable} "
            "(any text for a server that asks for none)"
        )
    if not (key.isascii() and key.isprintable()):
        raise RequestError(f"${model.key_variable} holds what no key has: a line break, or a letter beyond ASCII")
    # Addresses are written into artefacts; one with a name, a password or a query may hold a key. It is not repeated.
    if url.scheme not in ("http", "https") or not url.hostname or "@" in url.netloc or url.query:
        raise RequestError(
            f"the address of '{model.name}' (${URL_VARIABLE}, or its card) must be http(s)://HOST/PATH and nothing more"
        )
    if find_spec("openai") is None:
        raise RequestError(f"'{model.name}' is asked over the network; install the extra `api`")


def answer_by_api(
    model: ApiModel,
    chats: Sequence[Sequence[Message]],
    keys: Sequence[str],
    seeds: Sequence[int],
    decoding: Decoding,
    journal: Journal,
    on_progress: OnProgress,
) -> list[Reply]:
    """One answer to each chat, in order. Each is journalled as it comes, so that no answer is paid for twice.

    Args:
        keys: a name of each chat, under which its answer is journalled, with the address and the model.
        seeds: of each chat; a provider that refuses seeds is asked without, and then draws as it likes.

    Raises:
        RequestError: see `check_key`.
        RunError: the provider refused the key, the model or a request, or its tries are used up. Requests under way
            are waited for and journalled; no further one is sent.
    """
    check_key(model)
    # Another address may mean another model by the same name: its leftovers never answer for this one.
    entries = [f"{address(model)}/{model.name}/{key}" for key in keys]
    answers = {
        i: Reply(**{**entry, "generation": Generation.of_json(entry["generation"])})
        for i, name in enumerate(entries)
        if (entry := journal.get(name)) is not None
    }
    if answers:
        on_progress(len(answers), 0)
    provider, one_at_a_time = Provider(model, decoding), threading.Lock()

    def ask(i: int) -> None:
        try:
            made = provider.answer(chats[i], seeds[i])
            if made is not None:
                with one_at_a_time:
                    journal.put(entries[i], asdict(made))
                    answers[i] = made
                    on_progress(1, made.generation.tokens)
        except BaseException:
            provider.stopped.set()
            raise

    with ThreadPoolExecutor(model.max_parallel) as pool:
        try:
            list(pool.map(ask, [i for i in range(len(chats)) if i not in answers]))
        except BaseException:  # an interrupt comes to this thread only
            provider.stopped.set()
            raise
    return [answers[i] for i in range(len(chats))]


def told(model: ApiModel, replies: Sequence[Reply]) -> dict[str, Any]:
    """What provenance keeps of answers that came over the network.

    `answered_by`: the models that the provider named; `seeded`: whether every answer was drawn with our seed, so that
    another run could draw alike.
    """
    named = sorted({reply.model for reply in replies if reply.model})
    seeded = all(reply.seeded for reply in replies)
    return {"engine": "api", "name": model.name, "url": address(model), "answered_by": named, "seeded": seeded}
