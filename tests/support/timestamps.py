"""An authority of timestamps: ``openssl ts`` behind a small HTTP server on loopback, which can also misbehave."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.certificates import Certified

Answer = Callable[[bytes], bytes]
"""What goes over the connection, all of it, for the body of a request."""

_CONFIG = """
[tsa]
default_tsa = here
[here]
serial = {directory}/serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = {digests}
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


def stamped(directory: Path, query: bytes, signer: Certified, *, digests: str = "sha256") -> bytes:
    """The TimeStampResp of ``openssl ts -reply``; a refusal where ``digests`` does not have that of the query."""
    config = directory / "ts.conf"
    config.write_text(_CONFIG.format(directory=directory, digests=digests))
    (directory / "serial").write_text("01\n")
    asked, answered = directory / "query.tsq", directory / "reply.tsr"
    asked.write_bytes(query)
    command = ["openssl", "ts", "-reply", "-config", config, "-queryfile", asked, "-out", answered]
    command += ["-signer", signer.certificate, "-inkey", signer.key]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return answered.read_bytes()


def http(body: bytes, status: str = "200 OK", kind: str = "application/timestamp-reply") -> bytes:
    """A whole answer of HTTP."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


@contextmanager
def answering(answer: Answer | None, *, wrap: Callable[[socket.socket], socket.socket] | None = None) -> Iterator[int]:
    """A server that gives ``answer`` to each request; None: it takes connections and says nothing. Yields its port."""
    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                if answer is None:
                    kept.append(connection)
                    continue
                try:
                    with wrap(connection) if wrap is not None else connection as line:
                        line.sendall(answer(_body(line)))
                except OSError:
                    continue  # The client went away, which some tests want.

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=30)
            for connection in kept:
                connection.close()


def _body(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(4096)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    sizes = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while sizes and len(body) < int(sizes[0].partition(b":")[2]):
        body += connection.recv(4096)
    return body
