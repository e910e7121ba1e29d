"""One provider of chat completions: requests, what its replies and refusals mean, and how long to wait.

Temperature and top_p are always sent, for defaults differ; what cannot be sent (top_k, penalties) a vLLM server takes
from the model's own files unless it is started with `--generation-config vllm`.
"""

import os
import random
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from offmodel.data.chat import Message
from offmodel.data.thoughts import marked
from offmodel.engines.base import Generation
from offmodel.errors import RunError
from offmodel.progress import terminal
from offmodel.values import Decoding

# Asks another address for every such model: the same models, for an artefact's name does not hold the address.
URL_VARIABLE = "OFFMODEL_API_URL"
# A request is tried this often. The waits between, in seconds, double from the first: two minutes in all. A provider
# that names a wait is given it, up to the longest.
TRIES = 8
FIRST_WAIT, LONGEST_WAIT = 1.0, 120.0
# Seconds without a byte before a request counts as lost: an answer comes whole, and a busy server queues it.
SILENCE = 600.0
# Its own generator: the waits must not move what a seeded one draws.
_JITTER = random.Random()


@dataclass(frozen=True)
class ApiModel:
    """A model that is asked over the network.

    Attributes:
        name: what the provider calls it.
        url: the address before `/chat/completions`, usually ending in `/v1`; `$OFFMODEL_API_URL` takes its place.
        key_variable: the environment variable that holds the key; any text for a server that asks for none.
        max_parallel: requests under way at once, at most.
        template_options: passed to the chat template, which vLLM's and SGLang's servers do.
    """

    name: str
    url: str
    key_variable: str = "OFFMODEL_API_KEY"
    max_parallel: int = 8
    template_options: dict[str, bool | str] = field(default_factory=dict)


def address(model: ApiModel) -> str:
    """Where the model is asked; safe to publish once `check_key` has passed."""
    return (os.environ.get(URL_VARIABLE) or model.url).rstrip("/")


def key_of(model: ApiModel) -> str:
    return os.environ.get(model.key_variable, "").strip()


@dataclass(frozen=True)
class Reply:
    """An answer; the model that the provider says gave it, often a dated one behind a name; whether it took a seed."""

    generation: Generation
    model: str | None
    seeded: bool


class Provider:
    """What the threads of one call share: the connection, the parameters that were refused, and whether to stop."""

    def __init__(self, model: ApiModel, decoding: Decoding):
        import openai

        self._model, self._decoding, self._key = model, decoding, key_of(model)
        self._client: Any = openai.OpenAI(
            api_key=self._key,
            base_url=address(model),
            max_retries=0,  # its own waits could not be stopped
            timeout=openai.Timeout(SILENCE, connect=min(SILENCE, 20)),
        )
        self._refused: set[str] = set()
        self.stopped = threading.Event()

    def answer(self, chat: Sequence[Message], seed: int) -> Reply | None:
        """One answer; None when another request failed for good before this one was answered.

        Raises:
            RunError: this request failed for good.
        """
        import openai

        tried = 0
        while not self.stopped.is_set():
            refused = frozenset(self._refused)
            try:
                return _read(self._request(chat, seed, refused), seeded="seed" not in refused)
            except (openai.OpenAIError, ValueError) as error:  # a ValueError is a reply that is cut off, or empty
                if getattr(error, "code", None) in ("content_filter", "content_policy_violation"):
                    return Reply(Generation("", 0, "stop"), None, "seed" not in refused)
                parameter = _refused_parameter(error)
                if parameter is not None and parameter not in refused:
                    if parameter == "seed" and parameter not in self._refused:
                        print(f"{self._model.name} takes no seed: another run would draw otherwise", file=terminal())
                    self._refused.add(parameter)
                    continue
                tried += 1
                if tried == TRIES or not _may_pass(error):
                    # Not chained: what the libraries say in a traceback could hold the key.
                    raise RunError(self._explain(error, tried)) from None
                wait = _wait_after(error, tried)
            _pause(self.stopped, wait)
        return None

    def _request(self, chat: Sequence[Message], seed: int, refused: frozenset[str]) -> Any:
        limit = "max_completion_tokens" if "max_tokens" in refused else "max_tokens"
        options: dict[str, Any] = {limit: self._decoding.max_tokens}
        if self._decoding.temperature > 0 and "seed" not in refused:
            options["seed"] = seed % 2**31  # some providers take no more bits
        if self._model.template_options:
            options["extra_body"] = {"chat_template_kwargs": self._model.template_options}
        reply = self._client.chat.completions.create(
            model=self._model.name,
            messages=list(chat),
            temperature=self._decoding.temperature,
            top_p=self._decoding.top_p,
            **options,
        )
        if isinstance(reply, str):
            raise RunError(f"{address(self._model)} sent a page instead of an answer; should it end in /v1?")
        return reply

    def _explain(self, error: Exception, tried: int) -> str:
        """One line that says how to mend it, without the key."""
        status, where, name = getattr(error, "status_code", None), address(self._model), self._model.name
        said = " ".join(_words(error).replace(self._key, "[key]").split())[:300]
        said, kept = f"HTTP {status}: {said}" if status else said, "what was answered is kept"
        if status == 401:  # providers repeat parts of the key here: their words are left out
            return f"{where} refuses the key in ${self._model.key_variable} (HTTP 401); {kept}"
        if status == 403:
            return f"{where} does not let the key in ${self._model.key_variable} ask '{name}' ({said}); {kept}"
        if status == 404:
            return f"{where} knows no model '{name}', or is not the address of one ({said}); {kept}"
        if _may_pass(error):
            return f"{where} gave no answer in {tried} tries ({said}); {kept}, the same command goes on from here"
        return f"{where} refused a request to '{name}' ({said}); {kept}"


def _read(reply: Any, seeded: bool) -> Reply:
    if not reply.choices or reply.choices[0].finish_reason == "error":
        raise ValueError(f"a reply without an answer: {getattr(reply, 'error', None)}")
    choice, message = reply.choices[0], reply.choices[0].message
    # Servers that part a thought from the answer have two names for it; neither is in OpenAI's own format.
    told = (getattr(message, name, None) for name in ("reasoning_content", "reasoning"))
    thoughts = next((one.strip() for one in told if isinstance(one, str)), "")
    text = "" if choice.finish_reason == "content_filter" else marked(thoughts, message.content or "")
    text = text.encode("utf-8", "replace").decode("utf-8")  # half an emoji, cut by the limit, is no text
    counted = getattr(reply.usage, "completion_tokens", None)
    tokens = len(text.split()) if counted is None else counted
    made = Generation(text, tokens, "length" if choice.finish_reason == "length" else "stop")
    return Reply(made, getattr(reply, "model", None), seeded)


def _words(error: Exception) -> str:
    """What the provider said, or the network."""
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    return said if isinstance(said, str) else str(body or error.__cause__ or error)


def _refused_parameter(error: Exception) -> str | None:
    """The parameter of ours that a provider does not take, where that is what it says."""
    if getattr(error, "status_code", None) not in (400, 422):
        return None
    said = f"{getattr(error, 'param', None)} {getattr(error, 'body', None)}"
    if "max_completion_tokens" in said:  # what to send instead
        return "max_tokens"
    return "seed" if re.search(r"\bseed\b", said) else None


def _may_pass(error: Exception) -> bool:
    """Whether the same request can go well later: a busy or broken server, or no connection to one."""
    status = getattr(error, "status_code", None)
    if getattr(error, "code", None) == "insufficient_quota":  # a 429 that only money ends
        return False
    return status is None or status in (408, 409, 429) or status >= 500


def _wait_after(error: Exception, tried: int) -> float:
    """Seconds until the next try: what the provider asks for, else doubling; spread, so that not all come at once."""
    asked = _retry_after(getattr(error, "response", None))
    if asked is not None:
        return max(0.0, min(asked, LONGEST_WAIT)) + _JITTER.uniform(0, FIRST_WAIT)
    return min(FIRST_WAIT * 2 ** (tried - 1), LONGEST_WAIT) * _JITTER.uniform(0.5, 1)


def _retry_after(response: Any) -> float | None:
    """The header of that name in seconds from now; it holds seconds or a date."""
    text = response.headers.get("retry-after") if response is not None else None
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        try:
            return parsedate_to_datetime(text).timestamp() - time.time()
        except ValueError:
            return None


def _pause(stopped: threading.Event, seconds: float) -> None:
    stopped.wait(seconds)
