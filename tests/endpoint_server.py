"""A real HTTP server on 127.0.0.1 that plays an OpenAI-compatible chat endpoint, good or bad."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Body = dict[str, Any]


@dataclass(frozen=True)
class Response:
    """What the server sends; ``hang`` sends nothing until the server closes, ``drip`` so many blanks one by one before
    the body, 20 a second."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    drip: int = 0


def chat(text: str | None, prompt_tokens: int = 10, completion_tokens: int = 5) -> Response:
    """A good answer."""
    message = {"role": "assistant", "content": text}
    completion = {
        "id": "chat-1",
        "object": "chat.completion",
        "created": 0,
        "model": "test",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }
    return Response(body=json.dumps(completion).encode())


def error(status: int, message: str = "no", param: str | None = None, retry_after: str = "") -> Response:
    """An error in OpenAI's form. Retries come after 10 ms unless ``retry_after`` says otherwise."""
    headers = {"Retry-After": retry_after} if retry_after else {"Retry-After-Ms": "10"}
    body = {"error": {"message": message, "type": "error", "param": param, "code": None}}
    return Response(status, json.dumps(body).encode(), headers)


def refusal(status: int, body: Any) -> Response:
    """An error in a form of the server's own."""
    return Response(status, json.dumps(body).encode())


HANG = Response(hang=True)


@dataclass(frozen=True)
class Seen:
    """One request as it came in."""

    body: Body
    headers: dict[str, str]
    """Names in lower case."""
    at_s: float

    @property
    def authorization(self) -> str:
        """The key as it was sent."""
        return self.headers.get("authorization", "")

    @property
    def text(self) -> str:
        """The text of the user's message."""
        content = self.body["messages"][0]["content"]
        return content if isinstance(content, str) else next(p["text"] for p in content if p["type"] == "text")


class EndpointServer:
    """Answers each chat request with ``script(request body, how many came before)``."""

    def __init__(self, script: Callable[[Body, int], Response]) -> None:
        self.script = script
        self.seen: list[Seen] = []
        self.most_in_flight = 0
        self._in_flight = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, body: Body, headers: dict[str, str]) -> Response:
        with self._lock:
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
            earlier = len(self.seen)
            self.seen.append(Seen(body, headers, time.monotonic()))
        response = self.script(body, earlier)
        if response.hang:
            self._closing.wait(10)
        return response

    def _left(self) -> None:
        with self._lock:
            self._in_flight -= 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                response = outer._answer(body, headers)
                outer._left()
                if response.hang:
                    self.close_connection = True
                    return
                self.send_response(response.status)
                for name, value in {"Content-Type": "application/json", **response.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(response.drip + len(response.body)))
                self.end_headers()
                for _ in range(response.drip):
                    outer._closing.wait(0.05)
                    self.wfile.write(b" ")
                self.wfile.write(response.body)

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        return Handler
