"""The way to the server: certificates that are no good, proxies, names that are unknown, answers that crawl."""

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import arwandb
import pytest
from arwandb import sender
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.sdk.standin import StandIn


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "_FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(sender, "_LONGEST_PAUSE_S", 0.1)


# Newer versions of Python insist on a certificate authority that says what its key is for.
_SIGNS = x509.KeyUsage(
    digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
)  # fmt: skip


class Authority:
    """A certificate authority of the test, that the SDK is told to trust, and what it has signed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        self.path = folder / "authority.pem"
        certificate = self._certificate(self._name, self._key, days=(-1, 9), name=None)
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: tuple[int, int], name: x509.GeneralName | None
    ) -> x509.Certificate:  # fmt: skip
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=days[0]))
            .not_valid_after(now + timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=name is None, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if name is None:
            builder = builder.add_extension(_SIGNS, critical=True)
        else:
            builder = builder.add_extension(x509.SubjectAlternativeName([name]), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def context(self, *, host: str = "127.0.0.1", days: tuple[int, int] = (-1, 9)) -> ssl.SSLContext:
        """What a server needs to speak TLS as this host."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            name: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            name = x509.DNSName(host)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        path = self._folder / f"{host}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + self._certificate(subject, key, days=days, name=name).public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    made = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.path))
    return made


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[ssl.SSLContext], StandIn]]:
    """Start the stand-in with TLS; the environment points to it."""
    started = []

    def start(context: ssl.SSLContext) -> StandIn:
        server = StandIn(tls=context)
        started.append(server)
        monkeypatch.setenv("ARWANDB_BASE_URL", server.base_url)
        monkeypatch.setenv("ARWANDB_API_KEY", server.key)
        return server

    yield start
    for server in started:
        server.stop()


def test_points_arrive_by_tls(authority: Authority, serve: Callable[[ssl.SSLContext], StandIn]) -> None:
    server = serve(authority.context())
    run = arwandb.init()
    for step in range(500):
        arwandb.log({"loss": float(step)})
    arwandb.finish()
    assert server.model.values(run.id, "loss") == [float(step) for step in range(500)]
    assert server.connections == 1


@pytest.mark.parametrize("fault", ["expired", "not yet valid", "another host", "unknown authority"])
def test_a_certificate_that_is_no_good_is_refused_and_the_points_are_kept(
    authority: Authority, serve: Callable[[ssl.SSLContext], StandIn], fault: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if fault == "unknown authority":
        (tmp_path / "other").mkdir()
        context = Authority(tmp_path / "other").context()
    else:
        days = {"expired": (-9, -1), "not yet valid": (1, 9), "another host": (-1, 9)}[fault]
        context = authority.context(host="example.org" if fault == "another host" else "127.0.0.1", days=days)
    server = serve(context)
    run = arwandb.init()
    arwandb.log({"loss": 1.0})
    arwandb.finish(timeout=0.8)

    assert server.model.requests == []
    assert run.status()["spooled"] == 1
    said = capsys.readouterr().err
    assert said.count("certificate verify failed") == 1
    assert "1 of 1 entries are kept" in said

    # Once the certificate is in order, nothing is missing.
    server = serve(authority.context())
    assert arwandb.sync()[0].is_intact
    assert server.model.values(run.id, "loss") == [1.0]


class Proxy:
    """A forward proxy: carries plain requests to a stand-in, and tunnels by CONNECT to one with TLS."""

    def __init__(self, target: StandIn, permit: str | None = None) -> None:
        self.seen: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def _is_refused(self) -> bool:
                outer.seen.append(f"{self.command} {self.path}")
                if permit is None or self.headers.get("Proxy-Authorization") == permit:
                    return False
                self.send_response(407)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return True

            def do_CONNECT(self) -> None:
                if self._is_refused():
                    return
                self.send_response(200)
                self.end_headers()
                with socket.create_connection(("127.0.0.1", target.port)) as other:
                    back = threading.Thread(target=outer._pump, args=(other, self.connection), daemon=True)
                    back.start()
                    outer._pump(self.connection, other)
                self.close_connection = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self._is_refused():
                    return
                path = "/" + self.path.split("/", 3)[3]
                key = self.headers["Authorization"].removeprefix("Bearer ")
                status, headers, answer = target.model.answer("POST", path, key, body)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(answer))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while part := source.recv(65536):
                sink.sendall(part)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def test_a_proxy_carries_plain_requests(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(standin)
    monkeypatch.setenv("ARWANDB_BASE_URL", "http://arwx.test/prefix")
    monkeypatch.setenv("http_proxy", f"http://{proxy.address}")
    monkeypatch.setattr(standin.model, "answer", _without_prefix(standin.model.answer))
    run = arwandb.init()
    for step in range(100):
        arwandb.log({"loss": float(step)})
    arwandb.finish()
    proxy.server.shutdown()
    assert standin.model.values(run.id, "loss") == [float(step) for step in range(100)]
    assert proxy.seen[0] == "POST http://arwx.test/prefix/v1/runs"


def _without_prefix(answer: Callable[..., Any]) -> Callable[..., Any]:
    return lambda method, path, key, body: answer(method, path.removeprefix("/prefix"), key, body)


def test_a_proxy_tunnels_tls_and_cannot_look_inside(
    authority: Authority, serve: Callable[[ssl.SSLContext], StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(authority.context(host="arwx.test"))
    proxy = Proxy(server, permit="Basic dTpw")
    monkeypatch.setenv("ARWANDB_BASE_URL", "https://arwx.test")
    monkeypatch.setenv("HTTPS_PROXY", f"http://u:p@{proxy.address}")
    run = arwandb.init()
    for step in range(100):
        arwandb.log({"loss": float(step)})
    arwandb.finish()
    proxy.server.shutdown()
    assert server.model.values(run.id, "loss") == [float(step) for step in range(100)]
    assert set(proxy.seen) == {"CONNECT arwx.test:443"}


def test_a_proxy_that_refuses_is_told_and_costs_no_point(
    authority: Authority, serve: Callable[[ssl.SSLContext], StandIn], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    server = serve(authority.context(host="arwx.test"))
    proxy = Proxy(server, permit="Basic dTpw")
    monkeypatch.setenv("ARWANDB_BASE_URL", "https://arwx.test")
    monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
    run = arwandb.init()
    arwandb.log({"loss": 1.0})
    arwandb.finish(timeout=1)
    proxy.server.shutdown()
    assert server.model.requests == []
    assert run.status()["spooled"] == 1
    assert "CONNECT with 407" in capsys.readouterr().err


def test_the_key_does_not_follow_a_redirect(standin: StandIn) -> None:
    other = StandIn()
    standin.fault = lambda method, path: (307, {"Location": other.base_url + path}, b"")
    run = arwandb.init()
    arwandb.log({"loss": 1.0})
    arwandb.finish(timeout=0.5)
    other.stop()
    assert (other.connections, other.model.requests) == (0, [])
    assert run.status()["spooled"] == 1


def test_an_answer_that_crawls_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers and body come byte by byte, split anywhere."""
    from arwandb.http import Http, Request

    listener = socket.create_server(("127.0.0.1", 0))
    answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: y\r\n\r\n"

    def crawl() -> None:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.recv(65536)
        for byte in answer:
            connection.sendall(bytes([byte]))

    threading.Thread(target=crawl, daemon=True).start()
    response = Http(f"http://127.0.0.1:{listener.getsockname()[1]}", "k").send(Request("GET", "/"))
    listener.close()
    assert (response.status, response.json(), response.body) == (200, {}, b"{}")


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"HTTP", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}", b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"HTTP/1.1 200 OK\r\nA" * 9, b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n",
    ],
)  # fmt: skip
def test_an_answer_that_is_no_whole_answer_breaks_the_connection_and_nothing_else(answer: bytes) -> None:
    from arwandb.http import Http, Request

    listener = socket.create_server(("127.0.0.1", 0))

    def reply() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)

    threading.Thread(target=reply, daemon=True).start()
    with pytest.raises(OSError):
        Http(f"http://127.0.0.1:{listener.getsockname()[1]}", "k", timeout=2).send(Request("GET", "/"))
    listener.close()


def served(answer: Callable[[socket.socket], None]) -> tuple[int, socket.socket]:
    """The port of a listener that gives its first caller this answer."""
    listener = socket.create_server(("127.0.0.1", 0))

    def reply() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            answer(connection)

    threading.Thread(target=reply, daemon=True).start()
    return listener.getsockname()[1], listener


def test_a_server_that_says_nothing_is_given_up() -> None:
    from arwandb.http import Http, Request

    over = threading.Event()
    port, listener = served(lambda connection: over.wait(20))
    with pytest.raises(TimeoutError):
        Http(f"http://127.0.0.1:{port}", "k", timeout=0.3).send(Request("GET", "/"))
    assert not over.is_set()
    over.set()
    listener.close()


def test_an_answer_without_end_is_not_read_to_the_end() -> None:
    from arwandb.http import Http, Request

    sent = [0]

    def pour(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        try:
            while sent[0] < 100_000_000:
                connection.sendall(b"x" * 1_000_000)
                sent[0] += 1_000_000
        except OSError:
            pass

    port, listener = served(pour)
    with pytest.raises(OSError, match="too long"):
        Http(f"http://127.0.0.1:{port}", "k", timeout=5).send(Request("GET", "/"))
    assert sent[0] < 100_000_000
    listener.close()


def test_a_key_with_a_line_break_adds_no_header(standin: StandIn) -> None:
    from arwandb.http import Http, Request

    with pytest.raises(OSError, match="line break"):
        Http(standin.base_url, "k\r\nX-Forged: yes").send(Request("GET", "/v1/runs"))
    assert standin.model.requests == []
