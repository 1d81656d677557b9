"""Other ends of a connection, on loopback, that do what a test likes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def plain_server(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """One connection, with which ``talk`` does what it likes. Yields the port; afterwards nothing of it is left."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            try:
                connection, _ = listening.accept()
                with connection:
                    talk(connection)
            except OSError:
                return  # The client has gone away.

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            # If nobody came, the accept above ends here.
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=30)
            assert not thread.is_alive()
