"""The model behind a real socket, with faults: each is asked before a request is carried out and before it is answered."""

import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from tests.sdk.model import KEY, Answer, Model

Fault = Callable[[str, str], "Answer | str | None"]
"""Given method and path: None to go on, an answer to give instead, or a word: `lose` (carry out, then hang up),
`twice` (carry out twice), `late` (hang up at once, carry out half a second later), `drop` (hang up at once)."""


class Backend(Protocol):
    """What carries requests out: the model, or a way to a real server."""

    def answer(self, method: str, path: str, key: str | None, body: bytes) -> Answer: ...


class StandIn:
    """A server on a free port of the loopback, or a proxy that spoils. `fault` may be exchanged at any time."""

    def __init__(self, backend: Backend | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.model = Model()
        self.key = KEY
        self.fault: Fault = lambda method, path: None
        self.connections = 0
        self.late: list[threading.Timer] = []
        self._carry_out = (backend or self.model).answer
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                outer.connections += 1
                super().setup()

            def log_message(self, *_: Any) -> None:
                pass

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except ConnectionError:
                    self.close_connection = True

            def do_any(self) -> None:
                body = self._body()
                if body is None:
                    return
                verdict = outer.fault(self.command, self.path)
                if verdict == "drop":
                    self.close_connection = True
                    return
                if isinstance(verdict, tuple):
                    self._reply(verdict)
                    return
                key = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
                request = (self.command, self.path, key, body)
                if verdict == "late":
                    outer.late.append(threading.Timer(0.5, outer._carry_out, request))
                    outer.late[-1].start()
                    self.close_connection = True
                    return
                answer = outer._carry_out(*request)
                if verdict == "twice":
                    answer = outer._carry_out(*request)
                if verdict == "lose":
                    self.close_connection = True
                    return
                self._reply(answer)

            do_GET = do_POST = do_PATCH = do_any  # noqa: N815 - named by the base class

            def _reply(self, answer: Answer) -> None:
                status, headers, body = answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _body(self) -> bytes | None:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                parts = []
                while True:
                    line = self.rfile.readline()
                    if not line:
                        self.close_connection = True
                        return None
                    size = int(line, 16)
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                    if not size:
                        return b"".join(parts)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        def make(port: int) -> Server:
            server = Server(("127.0.0.1", port), Handler)
            if tls is not None:
                server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            return server

        self._make = make
        self.server = self._make(0)
        self.port = self.server.server_address[1]
        self.base_url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._serve()

    def _serve(self) -> None:
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections from now on (open ones stay until used)."""
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()

    def settle(self) -> None:
        """Wait until everything that is late has arrived."""
        for timer in self.late:
            timer.join()

    def restart(self) -> None:
        """Listen again on the same port."""
        self.server = self._make(self.port)
        self._serve()
