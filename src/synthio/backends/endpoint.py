"""What every OpenAI-compatible endpoint needs: the key, bounded concurrency, retries, costs, and clear failures.

The official client retries 408, 409, 429, 5xx, time-outs and broken connections with exponential back-off and jitter,
and waits as long as ``Retry-After`` says.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import urlsplit

from synthio.config import EndpointConfig
from synthio.errors import BackendError, ConfigError

if TYPE_CHECKING:
    from openai import AsyncOpenAI, BadRequestError

T = TypeVar("T")

_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})  # noqa: S104 (compared with, never bound)
_MAX_REASON_CHARACTERS = 300
#: Local servers want some key and take any.
_NO_KEY = "none"


@dataclass(frozen=True)
class ChatCall:
    """One user message and the sampling options to send with it."""

    content: str | list[dict[str, Any]]
    options: dict[str, Any]


@dataclass(frozen=True)
class ChatAnswer:
    """The message that came back, or why none did."""

    text: str | None
    failed: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    fault: Literal["call", "either", "server"] = "call"
    """Whose fault a failure is: a time-out or an error of the server may come of the call, no connection cannot."""


class ChatEndpoint:
    """An OpenAI-compatible chat endpoint."""

    def __init__(self, config: EndpointConfig) -> None:
        """Raises: `ConfigError` when a remote endpoint's key is not in the environment."""
        self._config = config
        self._key = _key(config)
        # Some servers refuse options that others need; what was refused once is not sent again.
        self._refused: set[str] = set()

    def chat(self, calls: Sequence[ChatCall]) -> list[ChatAnswer]:
        """Answers in order; at most ``concurrency`` calls in flight.

        Raises: `BackendError` when the key or the model name is wrong, or ``base_url`` answers none of the calls.
        """
        answers = _run(self._all(calls))
        faults = {answer.fault for answer in answers}
        if faults == {"server"} or (len(answers) > 1 and faults <= {"server", "either"}):
            raise BackendError(
                f"{self._config.base_url} answers nothing: {answers[0].failed}. Mend that (the server, "
                "endpoint.base_url, your quota), then run the same command again: it resumes"
            )
        return answers

    async def _all(self, calls: Sequence[ChatCall]) -> list[ChatAnswer]:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        # A proxy that is set for the outside world must not see requests to this machine.
        http_client = DefaultAsyncHttpxClient(trust_env=False) if _is_local(self._config) else None
        client = AsyncOpenAI(
            base_url=self._config.base_url,
            api_key=self._key,
            timeout=self._config.timeout_s,
            max_retries=self._config.max_retries,
            http_client=http_client,
        )
        limit = asyncio.Semaphore(self._config.concurrency)
        async with client:
            return list(await asyncio.gather(*(self._one(client, limit, call) for call in calls)))

    async def _one(self, client: AsyncOpenAI, limit: asyncio.Semaphore, call: ChatCall) -> ChatAnswer:
        import openai

        async with limit:
            try:
                return self._answer(await self._send(client, call))
            except (openai.AuthenticationError, openai.NotFoundError) as error:
                raise BackendError(self._advice(error)) from error
            except openai.APITimeoutError:
                return ChatAnswer(None, f"no answer within {self._config.timeout_s:g} s", fault="either")
            except openai.APIConnectionError as error:
                return ChatAnswer(None, f"no connection ({self._reason(error.__cause__ or error)})", fault="server")
            except openai.RateLimitError as error:
                return ChatAnswer(None, self._reason(error), fault="server")
            except (openai.InternalServerError, openai.PermissionDeniedError) as error:
                return ChatAnswer(None, self._reason(error), fault="either")
            except (openai.OpenAIError, ValueError) as error:
                return ChatAnswer(None, self._reason(error))
            except (AttributeError, KeyError, IndexError, TypeError) as error:
                # The client hands on what a server sends without checking that it is a completion.
                return ChatAnswer(None, f"the answer is no chat completion: {self._reason(error)}")

    async def _send(self, client: AsyncOpenAI, call: ChatCall) -> Any:
        import openai

        while True:
            options = self._accepted(call.options)
            messages: list[Any] = [{"role": "user", "content": call.content}]
            try:
                return await client.chat.completions.create(model=self._config.model, messages=messages, **options)
            except openai.BadRequestError as error:
                refused = _refused_option(error, options)
                if refused is None:
                    raise
                self._refused.add(refused)

    def _accepted(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options less the refused ones; newer OpenAI models call ``max_tokens`` by another name."""
        renamed = dict(options)
        if "max_tokens" in self._refused and "max_tokens" in renamed:
            renamed["max_completion_tokens"] = renamed.pop("max_tokens")
        return {name: value for name, value in renamed.items() if name not in self._refused}

    def _answer(self, completion: Any) -> ChatAnswer:
        usage = getattr(completion, "usage", None)
        input_tokens = int(getattr(usage, "prompt_tokens", 0) or 0)
        output_tokens = int(getattr(usage, "completion_tokens", 0) or 0)
        cost = (
            input_tokens * self._config.price_per_million_input_tokens
            + output_tokens * self._config.price_per_million_output_tokens
        ) / 1e6
        choices = getattr(completion, "choices", None)
        message = choices[0].message if choices else None
        text = _text(getattr(message, "content", None))
        failed = None if text else f"the answer is empty: {getattr(message, 'refusal', None) or 'no text'}"
        if failed and choices and choices[0].finish_reason == "length":
            allowed = f"raise endpoint.max_tokens ({self._config.max_tokens})"
            failed = f"cut after {output_tokens} tokens, before the answer began: {allowed}"
        return ChatAnswer(text or None, failed, input_tokens, output_tokens, cost)

    def _advice(self, error: Any) -> str:
        where = f"{self._config.base_url} answered {error.status_code}"
        if error.status_code == 404:
            return f"{where} for model {self._config.model!r}: set endpoint.model to one that it serves; check base_url"
        variable = self._config.api_key_variable
        return f"{where} ({self._reason(error)}): put a valid key into the environment variable {variable}"

    def _reason(self, error: BaseException) -> str:
        """One line; a server that repeats the key back must not get it into a manifest."""
        text = " ".join(f"{type(error).__name__}: {error}".split())
        shown = text if self._key == _NO_KEY else text.replace(self._key, "***")
        return shown[:_MAX_REASON_CHARACTERS]


def _text(content: Any) -> str:
    """The text of a message: a string, or that of its parts, as some servers send it. Raises: `TypeError`."""
    if isinstance(content, list):
        content = "".join(part.get("text") or "" for part in content if part.get("type", "text") == "text")
    if content is not None and not isinstance(content, str):
        raise TypeError(f"content is {type(content).__name__}; expected text")
    # Half of a character that was cut in two cannot be written to any file.
    return (content or "").encode("utf-8", "replace").decode()


def _key(config: EndpointConfig) -> str:
    key = os.environ.get(config.api_key_variable, "").strip()
    if key:
        return key
    if _is_local(config):
        return _NO_KEY
    raise ConfigError(
        f"{config.base_url} needs a key: set the environment variable {config.api_key_variable} "
        "(endpoint.api_key_variable names another one); a server on localhost needs none"
    )


def _is_local(config: EndpointConfig) -> bool:
    return urlsplit(config.base_url).hostname in _LOCAL_HOSTS


def _refused_option(error: BadRequestError, options: dict[str, Any]) -> str | None:
    """The option that a 400 blames, if it names one of ours."""
    blamed = (error.param or "").partition(".")[0]
    return blamed if blamed in options else None


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, also where a loop already runs (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(asyncio.run, work).result()
