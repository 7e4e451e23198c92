"""HTTP: the routes, authentication, faults on demand, counting of requests."""

from __future__ import annotations

import base64
import gzip
import json
import re
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from wandb_server.backend import Backend, Refused, Unknown
from wandb_server.graphql import answer

API_KEY = "test-key-" + "0" * 40


@dataclass
class Fault:
    """What goes wrong with the next requests of one operation, or of all (`*`).

    Args:
        operation: the GraphQL operation's name, or `file_stream`.
        times: how many requests.
        status: the HTTP status that they are answered with; None for no answer.
        done: whether the operation is carried out all the same, and only its reply is lost.
    """

    operation: str
    times: int = 1
    status: int | None = None
    done: bool = False


class Server:
    """The service, on a free port of 127.0.0.1, from `start` to `stop`; it may be started again."""

    def __init__(self, unknown: Unknown | None = None) -> None:
        self.backend = Backend(unknown)
        self.deviations: list[str] = []
        self.requests: Counter[str] = Counter()
        self.faults: list[Fault] = []
        self._port = 0
        self._http: _Listener | None = None

    @property
    def url(self) -> str:
        """The service's address, as in WANDB_BASE_URL."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that lead the SDK here."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": API_KEY, "WANDB_MODE": "online"}

    def start(self) -> Server:
        """Begin to listen; a second start listens on the same port."""
        self._http = _Listener(("127.0.0.1", self._port), _handler_of(self))
        self._port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Stop listening and end all connections; what the service remembers stays."""
        assert self._http is not None
        self._http.shutdown()
        self._http.end_connections()
        self._http.server_close()

    def take_fault(self, operation: str) -> Fault | None:
        """Give the fault that this request has to suffer."""
        with self.backend.lock:
            for fault in self.faults:
                if fault.times > 0 and fault.operation in (operation, "*"):
                    fault.times -= 1
                    return fault
        return None


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the client has ended it already

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # connections that clients cut are no errors of the service


def _handler_of(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._serve()

        do_POST = do_PUT = do_GET

        def log_message(self, *_: Any) -> None:
            pass

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            request: Any = json.loads(body) if self.path.startswith(("/graphql", "/files/")) else None
            if self.path.startswith("/artifact/"):
                self._serve_artifact(body)
                return
            operation = _operation(self.path, request)
            with server.backend.lock:
                server.requests[operation] += 1
            fault = server.take_fault(operation)
            if fault is not None and not fault.done:
                self._fail(fault)
                return
            status, answer = self._answer(operation, request)
            if fault is not None:
                self._fail(fault)
            else:
                self._reply(status, answer)

        def _serve_artifact(self, body: bytes) -> None:
            with server.backend.lock:
                if self.command == "GET":
                    body = server.backend.artifacts.download(self.path)
                else:
                    server.backend.artifacts.upload(self.path, body)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body) if self.command == "GET" else 0))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def _answer(self, operation: str, request: Any) -> tuple[int, Any]:
            given = base64.b64decode((self.headers.get("Authorization") or "Basic ").partition(" ")[2])
            if self.path.startswith(("/graphql", "/files/")) and given.decode().partition(":")[2] != API_KEY:
                return 401, {"errors": [{"message": "user is not logged in"}]}
            try:
                with server.backend.lock:
                    if self.path.startswith("/files/"):
                        return 200, _file_stream(server.backend, self.path, request)
                    if not self.path.startswith("/graphql"):
                        return 200, {}
                    return 200, answer(server.backend, server.url, request, server.deviations)
            except Refused as refused:
                return refused.status, {"errors": [{"message": str(refused)}]}

        def _fail(self, fault: Fault) -> None:
            if fault.status is None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            limit = {"RateLimit-Limit": "200", "RateLimit-Remaining": "0", "RateLimit-Reset": "1"}
            headers = limit if fault.status == 429 else {}  # W&B sends no Retry-After
            self._reply(fault.status, {"errors": [{"message": "out of order"}]}, headers)

        def _reply(self, status: int, answer: Any, headers: dict[str, str] | None = None) -> None:
            content = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler


def _operation(path: str, request: Any) -> str:
    if path.startswith("/graphql"):
        match = re.search(r"\b(?:query|mutation)\s+(\w+)", request["query"])
        return match[1] if match else "unnamed"
    return path.rstrip("/").rpartition("/")[2] if path.startswith("/files/") else path.split("/")[1]


def _file_stream(backend: Backend, path: str, request: Any) -> Any:
    entity, project, name = path.split("/")[2:5]
    run = backend.runs.get((entity, project, name))
    if run is None:
        raise Refused(404, f"run {entity}/{project}/{name} not found")
    for file, chunk in (request.get("files") or {}).items():
        if file == "wandb-summary.json":
            run.summary = json.loads(chunk["content"][-1])
        else:
            begin, lines = chunk["offset"], chunk["content"]
            end = begin + len(lines) if backend.unknown.rerun_keeps_tail else None
            run.streams.setdefault(file, [])[begin:end] = lines
    run.heartbeat = time.monotonic()
    run.anew = False
    run.resuming = False  # not before: on a busy machine the SDK may begin a run twice
    if request.get("preempting"):
        run.preempting = True
        run.state = "preempting"
    if request.get("complete"):
        backend.end_run(run, request.get("exitcode", 0))
    return {"limits": {}, "stopped": run.stop_asked}
