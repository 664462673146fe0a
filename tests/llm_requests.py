"""What tests ask language models, and the section of a recipe for a server that plays one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from endpoint_server import Body, EndpointServer, Response, chat

from synthio.backends.choices import Resources
from synthio.backends.llm import Request
from synthio.config import EndpointConfig
from synthio.progress import Reporter

SCHEMA: dict[str, Any] = {
    "title": "MixAnswer",
    "type": "object",
    "properties": {"caption": {"type": "string"}},
    "required": ["caption"],
    "additionalProperties": False,
}
KEY_VARIABLE = "SYNTHIO_TEST_KEY"


def request(index: int = 0, **changes: Any) -> Request:
    label = "flute" * (1 + index % 4)
    values: dict[str, Any] = {
        "instruction": f"Write a caption for {label}.",
        "completion": f"Label: crow\nCaption: a crow\n\nLabel: {label}\nCaption: ",
        "answer_start": '{"caption": "',
        "schema": SCHEMA,
        "temperature": 0.7,
        "max_new_tokens": 12,
        "seed": 100 + index,
    }
    return Request(**{**values, **changes})


def config(server: EndpointServer, **changes: Any) -> EndpointConfig:
    values = {"base_url": server.base_url, "model": "m", "api_key_variable": KEY_VARIABLE, "timeout_s": 5.0}
    return EndpointConfig(**{**values, **changes})


def always(response: Response) -> Callable[[Body, int], Response]:
    return lambda body, earlier: response


def completion(**changes: Any) -> Response:
    return Response(body=json.dumps({**json.loads(chat("{}").body), **changes}).encode())


def resources(cache: Path) -> Resources:
    return Resources(Reporter(), cache, lambda: pytest.fail("no CLAP is needed"))
