"""What every OpenAI-compatible endpoint needs: the key, bounded concurrency, retries, costs, and clear failures.

The official client retries 408, 409, 429, 5xx, time-outs and broken connections with exponential back-off and jitter,
and waits as long as ``Retry-After`` says.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from anyio.from_thread import start_blocking_portal

from synthio.backends.llm import Reply, without_thoughts
from synthio.calls import forget
from synthio.config import EndpointConfig
from synthio.errors import BackendError, ConfigError
from synthio.progress import Reporter

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})  # noqa: S104 (compared with, never bound)
_MAX_REASON_CHARACTERS = 300
#: Local servers want some key and take any.
_NO_KEY = "none"
#: How servers name an option that they refuse, where they have no ``param`` for it.
_NAMES = {
    "response_format": re.compile(r"\b(response_?format|(json|response)_?schema|json_object)\b", re.IGNORECASE),
    "seed": re.compile(r"\bseed\b", re.IGNORECASE),
    "temperature": re.compile(r"\btemperature\b", re.IGNORECASE),
    # Its successor is refused by ``param`` only: a value that is too large is no reason to ask without any limit.
    "max_tokens": re.compile(r"\bmax_tokens\b", re.IGNORECASE),
}
#: Parts of an error's body that repeat what was sent, where any word may stand.
_ECHOES = frozenset({"input", "ctx"})
#: Codes of a refusal that is of this one request's text.
_CONTENT_CODES = frozenset({"content_filter", "content_policy_violation", "data_inspection_failed"})


@dataclass(frozen=True)
class ChatCall:
    """One user message and the sampling options to send with it."""

    content: str | list[dict[str, Any]]
    options: dict[str, Any]


@dataclass(frozen=True)
class ChatAnswer(Reply):
    """The message that came back, or why none did."""

    fault: Literal["call", "refused", "either"] | None = None
    """Whose fault it is that nothing came back: a time-out or an error of the server may come of the call; a request
    that is refused may be one that this server refuses always. None where the model answered, be it with nothing."""
    thoughts: str = ""
    """What stands where servers put thoughts, of a model that ended by itself and said nothing."""

    @property
    def lost(self) -> bool:
        return self.fault is not None


#: As `synthio.calls.Count`.
_KeepAnswers = Callable[[Mapping[int, ChatAnswer]], None]


class ChatEndpoint:
    """An OpenAI-compatible chat endpoint."""

    def __init__(self, config: EndpointConfig, reporter: Reporter, probe: ChatCall) -> None:
        """``probe``: what any model that suits answers, asked where calls that failed may have found the server down;
        it is counted nowhere.

        Raises: `ConfigError` when a remote endpoint's key is not in the environment.
        """
        self._config, self._reporter, self._probe = config, reporter, probe
        self._key = _key(config)
        # Some servers refuse options that others need; what was refused once is not sent again.
        self._refused: set[str] = set()
        self._has_answered = False

    def chat(self, calls: Sequence[ChatCall], keep: _KeepAnswers = forget) -> list[ChatAnswer]:
        """Answers in order; at most ``concurrency`` calls in flight. ``keep`` has each as it comes. A call that this
        server never answers is told in its answer.

        Raises: `BackendError` when the key or the model name is wrong, or the server answers no more, after the
        client's retries; what is in flight then is waited for.
        """
        # In a thread of its own: a loop may run here already (a notebook). Who stops the wait stops the calls.
        with start_blocking_portal() as portal:
            return portal.call(self._all, calls, keep)

    async def _all(self, calls: Sequence[ChatCall], keep: _KeepAnswers) -> list[ChatAnswer]:
        from openai import AsyncOpenAI

        client = AsyncOpenAI(
            base_url=self._config.base_url,
            api_key=self._key,
            timeout=self._config.timeout_s,
            max_retries=self._config.max_retries,
            http_client=_http_client(self._config),
            default_headers=_headers(self._config, self._key),
        )
        stopped, waiting = asyncio.Event(), iter(enumerate(calls))
        answers: dict[int, ChatAnswer] = {}

        async def work() -> None:
            for number, call in waiting:
                if stopped.is_set():
                    return
                try:
                    answers[number] = await self._ask(client, call)
                    keep({number: answers[number]})
                except BaseException:
                    stopped.set()
                    raise

        async with client:
            ends = await asyncio.gather(*(work() for _ in range(self._config.concurrency)), return_exceptions=True)
            for end in ends:
                if end is not None:
                    raise end
            await self._check(client, list(answers.values()))
        return [answers[number] for number in range(len(calls))]

    async def _check(self, client: AsyncOpenAI, answers: Sequence[ChatAnswer]) -> None:
        """Raises: `BackendError` when what was not answered is not the calls' fault."""
        faults = {answer.fault for answer in answers}
        self._has_answered |= None in faults
        # A call that a server breaks on, or that it is too slow for, is given up; an outage must cost no call. Once a
        # server has answered, what it refuses is of the request.
        doubted = {"either"} if self._has_answered else {"either", "refused"}
        if not faults & doubted:
            return
        probed = await self._ask(client, self._probe)
        self._has_answered |= not probed.lost
        if probed.fault in doubted:
            raise self._outage(probed.failed)

    async def _ask(self, client: AsyncOpenAI, call: ChatCall) -> ChatAnswer:
        import openai

        try:
            return self._answer(await self._send(client, call))
        except (openai.AuthenticationError, openai.NotFoundError) as error:
            raise BackendError(self._advice(error)) from error
        except openai.APITimeoutError:
            return ChatAnswer(
                None, f"no answer within {self._config.timeout_s:g} s (endpoint.timeout_s)", fault="either"
            )
        except openai.APIConnectionError as error:
            raise self._outage(f"no connection ({self._reason(error.__cause__ or error)})") from error
        except openai.RateLimitError as error:
            raise self._outage(self._reason(error)) from error
        except (openai.InternalServerError, openai.PermissionDeniedError) as error:
            return ChatAnswer(None, self._reason(error), fault="either")
        except openai.APIStatusError as error:
            # An empty account (DeepSeek), which no other request would find filled.
            if error.status_code == 402:
                raise self._outage(self._reason(error)) from error
            # It would take clips and prompts to an address that nobody chose.
            if error.response.has_redirect_location:
                raise BackendError(self._advice(error)) from error
            return ChatAnswer(None, self._reason(error), fault=_fault(error))
        except (openai.OpenAIError, ValueError, RecursionError) as error:
            return ChatAnswer(None, self._reason(error), fault="either")
        except (AttributeError, KeyError, IndexError, TypeError) as error:
            # The client hands on what a server sends without checking that it is a completion.
            return ChatAnswer(None, f"the answer is no chat completion: {self._reason(error)}", fault="either")

    def _outage(self, reason: str | None) -> BackendError:
        return BackendError(
            f"{self._config.base_url} does not answer: {reason}. Mend that (the server, endpoint.base_url, "
            "endpoint.model, your quota; where it is asked too fast, lower endpoint.concurrency or raise "
            "endpoint.max_retries), then run the same command again: it resumes"
        )

    async def _send(self, client: AsyncOpenAI, call: ChatCall) -> Any:
        import openai

        while True:
            options = self._accepted(call.options)
            messages: list[Any] = [{"role": "user", "content": call.content}]
            try:
                return await client.chat.completions.create(
                    model=self._config.model, messages=messages, extra_body=self._config.extra_body, **options
                )
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                refused = _refused_options(error, options)
                if not refused:
                    raise
                if not refused <= self._refused:
                    self._reporter.warn(
                        f"{self._config.base_url} refuses {', '.join(sorted(refused))}, which is not sent again: "
                        f"{self._reason(error)}"
                    )
                self._refused |= refused

    def _accepted(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options less the refused ones; newer OpenAI models call ``max_tokens`` by another name, and a server
        that takes no JSON schema may still write JSON."""
        changed = dict(options)
        if "max_tokens" in self._refused and "max_tokens" in changed:
            changed["max_completion_tokens"] = changed.pop("max_tokens")
        if "json_schema" in self._refused and "response_format" in changed:
            changed["response_format"] = {"type": "json_object"}
        return {name: value for name, value in changed.items() if name not in self._refused}

    def _answer(self, completion: Any) -> ChatAnswer:
        usage = getattr(completion, "usage", None)
        input_tokens, output_tokens = (_count(getattr(usage, f"{of}_tokens", 0)) for of in ("prompt", "completion"))
        if not (choices := getattr(completion, "choices", None)):
            raise TypeError(f"it has no choices: {getattr(completion, 'error', None) or completion!r}")
        message = choices[0].message
        text = without_thoughts(_text(getattr(message, "content", None))) or _arguments(message)
        said = self._shown(str(getattr(message, "refusal", None) or "no text"))
        failed = None if text else f"the answer is empty: {said}"
        cut = None
        if choices[0].finish_reason == "length":
            allowed = f"raise endpoint.max_tokens ({self._config.max_tokens})"
            cut = f"cut after {output_tokens} tokens: {allowed}"
            failed = failed and f"cut after {output_tokens} tokens, before the answer began: {allowed}"
        thoughts = "" if text or choices[0].finish_reason != "stop" else _thoughts(message)
        return ChatAnswer(text or None, failed, input_tokens, output_tokens, cut, thoughts=thoughts)

    def _advice(self, error: Any) -> str:
        where = f"{self._config.base_url} answered {error.status_code}"
        if error.status_code == 404:
            cure = "set endpoint.model to one that it serves; check base_url"
            return f"{where} for model {self._config.model!r} ({self._reason(error)}): {cure}"
        if error.response.has_redirect_location:
            cure = "nothing is sent there; if you trust it, set endpoint.base_url to it, less /chat/completions"
            return f"{where}, a redirect to {self._shown(error.response.headers['Location'])}: {cure}"
        variable = self._config.api_key_variable
        return f"{where} ({self._reason(error)}): put a valid key into the environment variable {variable}"

    def _reason(self, error: BaseException) -> str:
        """See `_shown`."""
        body = getattr(error, "body", None)
        # The client quotes OpenAI's form of an error only.
        said = [] if isinstance(body, dict) and isinstance(body.get("message"), str) else list(_strings(body))
        return self._shown(f"{type(error).__name__}: {'; '.join([str(error), *said])}")

    def _shown(self, text: str) -> str:
        """One line; a server that repeats the key back must not get it into a manifest."""
        line = " ".join(text.split())
        shown = line if self._key == _NO_KEY else line.replace(self._key, "***")
        return _writable(shown)[:_MAX_REASON_CHARACTERS]


def _count(tokens: object) -> int:
    """What is counted for the costs alone, and must not cost an answer."""
    return int(tokens) if isinstance(tokens, int | float) and 0 <= tokens < 2**53 else 0


def _arguments(message: Any) -> str:
    """What some models answer a JSON schema with instead: the arguments of a call of a function."""
    calls = getattr(message, "tool_calls", None) or []
    return _text(calls[0].function.arguments) if calls else ""


def _thoughts(message: Any) -> str:
    """By the names that vLLM and others (``reasoning_content``), and newer ones (``reasoning``), have for them."""
    found = (getattr(message, name, None) for name in ("reasoning_content", "reasoning"))
    return next((_writable(thoughts) for thoughts in found if isinstance(thoughts, str)), "")


def _text(content: Any) -> str:
    """The text of a message: a string, or that of its parts, as some servers send it. Raises: `TypeError`."""
    if isinstance(content, list):
        content = "".join(part.get("text") or "" for part in content if part.get("type", "text") == "text")
    if content is not None and not isinstance(content, str):
        raise TypeError(f"content is {type(content).__name__}; expected text")
    return _writable(content or "")


def _writable(text: str) -> str:
    """Half of a character that was cut in two cannot be written to any file."""
    return text.encode("utf-8", "replace").decode()


def check_key(config: EndpointConfig) -> None:
    """Raises: `ConfigError` when a remote endpoint's key is not in the environment, or is none; before a run."""
    _key(config)


def _key(config: EndpointConfig) -> str:
    key = os.environ.get(config.api_key_variable, "").strip()
    if key and not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"the environment variable {config.api_key_variable} holds characters that no key has (a line break, or "
            "quotes of a word processor); set it again, plain"
        )
    keeps_secrets = config.base_url.startswith("https:") or _is_at_home(config)
    if key and not keeps_secrets:
        raise ConfigError(
            f"the key in the environment variable {config.api_key_variable} would go to {config.base_url} unencrypted; "
            "use its https:// address; for a server that needs no key, let endpoint.api_key_variable name a variable "
            "that is not set"
        )
    if key:
        return key
    if _is_local(config) or not config.base_url.startswith("https:"):
        return _NO_KEY
    raise ConfigError(
        f"{config.base_url} needs a key: set the environment variable {config.api_key_variable} "
        "(endpoint.api_key_variable names another one); a server on localhost, or behind http://, needs none"
    )


def _is_local(config: EndpointConfig) -> bool:
    return urlsplit(config.base_url).hostname in _LOCAL_HOSTS


def _is_at_home(config: EndpointConfig) -> bool:
    """On this machine or in its network, by the address alone."""
    host = urlsplit(config.base_url).hostname or ""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith((".local", ".lan", ".internal", ".localhost"))


def _headers(config: EndpointConfig, key: str) -> dict[str, Any]:
    """Against what the client reads from the environment (``OPENAI_ORG_ID`` and others) and would send anywhere."""
    from openai import Omit

    if f".{urlsplit(config.base_url).hostname}".endswith(".openai.com"):
        return {}
    lines = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    custom = {line.partition(":")[0].strip() for line in lines if ":" in line}
    unsent = dict.fromkeys(["OpenAI-Organization", "OpenAI-Project", *custom], Omit())
    return {name: f"Bearer {key}" if name.lower() == "authorization" else none for name, none in unsent.items()}


def _http_client(config: EndpointConfig) -> Any:
    """The one that the client would make, which takes its time for all of an answer, and errors for what they are."""
    from openai import DefaultAsyncHttpxClient

    # `httpx`, or `httpx2` for a newer client.
    library = sys.modules[DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0]]

    class Client(DefaultAsyncHttpxClient):
        async def send(self, request: Any, **options: Any) -> Any:
            try:
                # Its own limit is for each byte.
                async with asyncio.timeout(config.timeout_s):
                    response = await super().send(request, **options)
            except TimeoutError as error:
                raise library.ReadTimeout(f"longer than {config.timeout_s:g} s", request=request) from error
            response.status_code = _true_status(response.status_code, response.content)
            return response

    # A proxy that is set for the outside world must not see requests to this machine.
    return Client(trust_env=not _is_local(config), follow_redirects=False)


def _true_status(status: int, content: bytes) -> int:
    """OpenRouter sends its providers' errors as 200, which nobody would retry."""
    if status != 200:
        return status
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return status
    if not isinstance(body, dict) or not body.get("error") or body.get("choices"):
        return status
    code = body["error"].get("code") if isinstance(body["error"], dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 502


def _fault(error: APIStatusError) -> Literal["call", "refused"]:
    return "call" if error.code in _CONTENT_CODES else "refused"


def _refused_options(error: APIStatusError, options: dict[str, Any]) -> set[str]:
    """The options that a 400 or 422 blames, by its ``param`` or in words; of a ``response_format`` first the schema."""
    blamed = {(error.param or "").partition(".")[0]} & options.keys()
    if not blamed:
        said = "\n".join(_strings(error.body))
        blamed = {name for name, names in _NAMES.items() if name in options and names.search(said)}
    if "response_format" in blamed and options["response_format"]["type"] == "json_schema":
        blamed = blamed - {"response_format"} | {"json_schema"}
    return blamed


def _strings(body: object) -> Iterator[str]:
    """Every text of an error's body, whatever its form, but for what it repeats of the request."""
    if isinstance(body, str):
        yield body
    elif isinstance(body, list):
        yield from (text for part in body for text in _strings(part))
    elif isinstance(body, dict):
        yield from (text for name, part in body.items() if name not in _ECHOES for text in _strings(part))
