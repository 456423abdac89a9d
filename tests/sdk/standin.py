"""The model behind a real socket, with faults: each is asked before a request is carried out and before it is answered."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.sdk.model import KEY, Answer, Model

Fault = Callable[[str, str], "Answer | str | None"]
"""Given method and path: None to go on, an answer to give instead, or a word: `lose` (carry out, then hang up),
`twice` (carry out twice), `drop` (hang up at once)."""


class StandIn:
    """A server on a free port of the loopback. `fault` may be exchanged at any time."""

    def __init__(self) -> None:
        self.model = Model()
        self.key = KEY
        self.fault: Fault = lambda method, path: None
        self.lock = threading.Lock()
        self.connections = 0
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
                with outer.lock:
                    answer = outer.model.answer(self.command, self.path, key, body)
                    if verdict == "twice":
                        answer = outer.model.answer(self.command, self.path, key, body)
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

        self._make = lambda port: Server(("127.0.0.1", port), Handler)
        self.server = self._make(0)
        self.port = self.server.server_address[1]
        self.base_url = f"http://127.0.0.1:{self.port}"
        self._serve()

    def _serve(self) -> None:
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections from now on (open ones stay until used)."""
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()

    def restart(self) -> None:
        """Listen again on the same port."""
        self.server = self._make(self.port)
        self._serve()
