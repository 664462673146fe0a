"""A language model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

from collections.abc import Sequence

from synthio.backends.endpoint import ChatCall, ChatEndpoint
from synthio.backends.llm import Reply, Request
from synthio.config import EndpointConfig
from synthio.progress import Reporter


class EndpointLanguageModel:
    """A chat model behind an OpenAI-compatible endpoint, asked for JSON that fits the schema."""

    def __init__(self, config: EndpointConfig, reporter: Reporter) -> None:
        """Raises: `ConfigError` when a remote endpoint's key is not in the environment."""
        self._endpoint, self._max_tokens = ChatEndpoint(config, reporter), config.max_tokens
        # What a larger allowance completes is asked for again.
        self.name = " ".join(map(str, [config.base_url, config.model, *_allowance(config)]))
        self.requests_per_call = 4 * config.concurrency

    def complete(self, requests: Sequence[Request]) -> list[Reply]:
        """Concurrent and bounded; a request that still fails after its retries becomes a reply with the reason.

        Raises: `BackendError` for a wrong key, a wrong model name or an endpoint that cannot be reached.
        """
        return list(self._endpoint.chat([_chat_call(request, self._max_tokens) for request in requests]))


def _allowance(config: EndpointConfig) -> list[int]:
    return [config.max_tokens] if "max_tokens" in config.key_content() else []


def _chat_call(request: Request, max_tokens: int) -> ChatCall:
    name = "".join(c if c.isalnum() else "_" for c in str(request.schema.get("title", "answer")))
    return ChatCall(
        content=request.instruction,
        options={
            "temperature": request.temperature,
            # Chat models indent their JSON or think before they answer; an unused allowance costs nothing.
            "max_tokens": max(max_tokens, 4 * request.max_new_tokens),
            "seed": request.seed % 2**31,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": name, "schema": request.schema, "strict": True},
            },
        },
    )
