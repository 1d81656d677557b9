"""A machine's D-Bus with a logind on it, for mounts that listen to one: a real bus, and a service that plays logind."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any, Self

import pytest

jeepney = pytest.importorskip("jeepney")
from jeepney import DBusAddress, HeaderFields, MessageType, new_error, new_method_return, new_signal  # noqa: E402
from jeepney.bus_messages import message_bus  # noqa: E402
from jeepney.io.blocking import DBusConnection, open_dbus_connection  # noqa: E402

from tests.support.mounting import wait_for  # noqa: E402

needs_bus = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="no dbus-daemon")

NAME = "org.freedesktop.login1"
MANAGER = DBusAddress("/org/freedesktop/login1", bus_name=NAME, interface=f"{NAME}.Manager")
_CONFIG = """<busconfig>
  <type>session</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*"/><allow receive_type="signal"/><allow receive_type="method_call"/>
    <allow receive_type="method_return"/><allow receive_type="error"/><allow own="*"/><allow user="*"/>
  </policy>
</busconfig>"""


class Bus:
    """A bus of its own for a test, where every user may do everything. Use it in ``with``."""

    def __init__(self, base: Path) -> None:
        config = base / "bus.conf"
        config.write_text(_CONFIG.format(path=base / "bus"))
        command = ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile", "--print-address"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        assert self.address, "dbus-daemon did not start"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()

    def connect(self) -> DBusConnection:
        """A connection of a program."""
        return open_dbus_connection(self.address, enable_fds=True)


class Logind:
    """Plays logind: one user with sessions; hands out inhibitor locks. Use it in ``with``.

    Attributes:
        sessions: how many the user has.
        asked: how often somebody has asked for the user's state, or for a user who is not there.
        inhibitors: the read ends of the locks that were handed out, and who holds them.
    """

    def __init__(self, bus: Bus, uid: int, sessions: int) -> None:
        self.uid = uid
        self.sessions = sessions
        self.asked = 0
        self.inhibitors: list[tuple[int, str]] = []
        self._connection = bus.connect()
        self._connection.send_and_get_reply(message_bus.RequestName(NAME))
        self._ending = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        self._thread.join()
        self._connection.close()
        for descriptor, _ in self.inhibitors:
            os.close(descriptor)

    def signal(self, member: str, signature: str, *body: object, to: str | None = None) -> None:
        """Say something to everybody, or only ``to`` one."""
        send_signal(self._connection, member, signature, *body, to=to)

    def end_session(self) -> None:
        """One of the user's sessions ends; wait until it was looked into."""
        self.sessions -= 1
        self.look_again()

    def look_again(self) -> None:
        """A session has ended; wait until it was looked into who is still there."""
        before = self.asked
        self.signal("SessionRemoved", "so", "7", "/org/freedesktop/login1/session/_37")
        wait_for(lambda: self.asked > before, "somebody looks whether the user is still there")

    def wait_for_inhibitor(self) -> None:
        """Somebody listens, and has a word in when the machine sleeps."""
        wait_for(lambda: self.inhibitors, "somebody takes an inhibitor lock")

    def may_sleep(self) -> None:
        """Wait until nobody holds an inhibitor lock any more."""
        for descriptor, _ in self.inhibitors:
            poll = select.poll()
            poll.register(descriptor, 0)
            assert poll.poll(60_000), "the inhibitor lock is held for ever"

    def _serve(self) -> None:
        while not self._ending:
            try:
                call = self._connection.receive(timeout=0.05)
            except TimeoutError:
                continue
            if call.header.message_type is MessageType.method_call:
                self._connection.send(self._answer(call))

    def _answer(self, call: Any) -> Any:
        member = call.header.fields[HeaderFields.member]
        if member == "Inhibit":
            assert call.body[0] == "sleep"
            assert call.body[3] == "delay"
            reader, writer = os.pipe()
            self.inhibitors.append((reader, call.header.fields[HeaderFields.sender]))
            reply = new_method_return(call, "h", (Handed(writer),))
        elif member == "GetUser" and call.body == (self.uid,) and self.sessions >= 0:
            reply = new_method_return(call, "o", (f"/org/freedesktop/login1/user/_{self.uid}",))
        elif member == "Get" and call.body == (f"{NAME}.User", "State"):
            self.asked += 1
            reply = new_method_return(call, "v", (("s", "active" if self.sessions else "closing"),))
        else:
            self.asked += 1
            reply = new_error(call, f"{NAME}.NoSuchUser", "s", ("nobody of that name",))
        return reply


class Handed:
    """A descriptor that is closed here as soon as it has been put into a message."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def __del__(self) -> None:
        os.close(self._descriptor)


def send_signal(connection: DBusConnection, member: str, signature: str, *body: object, to: str | None = None) -> None:
    """A signal in logind's words, from whoever has the connection."""
    message = new_signal(MANAGER, member, signature, body)
    if to is not None:
        message.header.fields[HeaderFields.destination] = to
    connection.send(message)
