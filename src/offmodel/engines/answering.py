"""Many prompts to one engine, journalled on the way."""

from dataclasses import asdict

from offmodel.data.chat import ChatFormat
from offmodel.engines.base import Engine, Generation, OnProgress, Stop
from offmodel.errors import RunError
from offmodel.journal import Journal
from offmodel.values import Decoding


def generate_in_chunks(
    engine: Engine,
    prompts: list[list[int]],
    seeds: list[int],
    decoding: Decoding,
    stop: Stop,
    journal: Journal,
    chunk: int,
    on_progress: OnProgress,
) -> list[Generation]:
    """Answers to all prompts, journalled chunk by chunk.

    The chunks are cut the same way each time and run whole, so a resumed run batches as an uninterrupted one does and
    gives the same answers.

    Raises:
        RunError: the engine's context would cut an answer before its own limit does.
    """
    longest = max(map(len, prompts), default=0)
    if engine.context is not None and longest + decoding.max_tokens > engine.context:
        raise RunError(
            f"a prompt of {longest:,} tokens and an answer of up to {decoding.max_tokens:,} do not fit into a context "
            f"of {engine.context:,}: raise `context` under [run], up to what the model takes, or lower max_tokens"
        )
    generations: list[Generation] = []
    for start in range(0, len(prompts), chunk):
        part = slice(start, start + chunk)
        key = f"{engine.name}/{chunk}/{start}"
        entry = journal.get(key)
        if entry is None:
            made = engine.generate(prompts[part], seeds[part], decoding, stop, on_progress)
            journal.put(key, [asdict(generation) for generation in made])
        else:
            made = [Generation.of_json(generation) for generation in entry]
            on_progress(len(made), 0)
        generations += made
    return generations


def stop_of(chat: ChatFormat) -> Stop:
    """What ends an answer of a model that is talked to in this way."""
    return Stop(tuple(chat.stop_token_ids), tuple(chat.stop))
