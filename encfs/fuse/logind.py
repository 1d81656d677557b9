"""Locking when the machine goes to sleep, and when the user who mounted has logged out.

Owns: the talk with systemd-logind over D-Bus. Must not know: how a mount is locked.

A machine without logind has neither; one line in the log says so, and the mount works on. It is looked for again now
and then: a mount of the boot is there before the bus.

Any program may send us a signal over the bus, so only those of the present owner of logind's name are heard.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio
from jeepney import (
    DBusAddress,
    DBusErrorResponse,
    HeaderFields,
    MatchRule,
    Message,
    MessageType,
    Properties,
    message_bus,
    new_method_call,
)
from jeepney.io.trio import DBusConnection, open_dbus_connection
from jeepney.wrappers import unwrap_msg

from encfs.fuse.errnos import logger
from encfs.locking import LockReason

_BUS: Final = "org.freedesktop.DBus"
_NAME: Final = "org.freedesktop.login1"
_MANAGER: Final = DBusAddress("/org/freedesktop/login1", bus_name=_NAME, interface=f"{_NAME}.Manager")
# Of a user's states (org.freedesktop.login1): the others are those of somebody who has no session any more.
_LOGGED_IN: Final = ("online", "active")
_ENDS: Final = ("SessionRemoved", "UserRemoved")
_AGAIN_SECONDS: Final = 60.0
# RuntimeError and ValueError: an address of the bus that makes no sense, or a bus that lets nobody in.
_FAILURES: Final = (
    OSError,
    RuntimeError,
    ValueError,
    DBusErrorResponse,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.EndOfChannel,
)


class LogindWatch:
    """Asks for a lock of one mount when logind announces sleep or the user's last session is gone.

    A log-out counts only where the user was logged in when the mount was made; and never for root, whose mounts belong
    to the machine.

    Args:
        lock: locks for the given reason.
        uid: who has mounted.

    Attributes:
        reasons: what would lock the mount, as things are.
    """

    def __init__(self, lock: Callable[[LockReason], Awaitable[None]], uid: int) -> None:
        self.reasons: list[LockReason] = []
        self._lock = lock
        self._uid = uid
        self._delay: int | None = None
        self._was_logged_in: bool | None = None
        self._said_missing = False

    async def watch(self) -> None:
        """Listen until the mount is gone, which cancels this."""
        while True:
            try:
                async with await open_dbus_connection("SYSTEM", enable_fds=True) as connection:
                    await self._follow(_Talk(connection))
            except* _FAILURES as group:
                self._is_missing(type(_first(group)).__name__)
            await trio.sleep(_AGAIN_SECONDS)

    def release(self) -> None:
        """Let the machine sleep: call it when the keys are gone."""
        if self._delay is not None:
            os.close(self._delay)
            self._delay = None

    def _is_missing(self, why: str) -> None:
        if self.reasons or not self._said_missing:
            logger.info("not locked on suspend and log-out: no logind (%s)", why)
        self._said_missing = True
        self.reasons = []

    async def _follow(self, talk: _Talk) -> None:
        """Listen to logind, and to the next one when it is started anew."""
        changed = MatchRule(type="signal", sender=_BUS, interface=_BUS, member="NameOwnerChanged")
        changed.add_arg_condition(0, _NAME)
        await talk.ask(message_bus.AddMatch(changed))
        await talk.ask(message_bus.AddMatch(MatchRule(type="signal", sender=_NAME, interface=_MANAGER.interface)))
        try:
            (talk.owner,) = await talk.ask(message_bus.GetNameOwner(_NAME))
            await self._begin(talk)
        except DBusErrorResponse as exc:
            self._is_missing(exc.name)
        while True:
            signal = await talk.signal()
            if signal.header.fields[HeaderFields.sender] != _BUS:
                await self._hear(talk, signal)
            elif signal.header.fields[HeaderFields.member] == "NameOwnerChanged":
                talk.owner = signal.body[2]
                if talk.owner:
                    await self._begin(talk)
                else:
                    self._is_missing("ended")

    async def _begin(self, talk: _Talk) -> None:
        """Have sleep wait, some seconds at most (InhibitDelayMaxSec), until we are done."""
        call = ("sleep", "cloakfs", "Locking an encrypted volume", "delay")
        (descriptor,) = await talk.ask(new_method_call(_MANAGER, "Inhibit", "ssss", call))
        self.release()
        self._delay = descriptor.to_raw_fd()
        if self._was_logged_in is None:
            self._was_logged_in = self._uid != 0 and await self._is_logged_in(talk)
        self.reasons = [LockReason.SUSPEND, *([LockReason.LOG_OUT] if self._was_logged_in else [])]
        logger.info("locked on: %s", ", ".join(self.reasons))

    async def _hear(self, talk: _Talk, signal: Message) -> None:
        member = signal.header.fields[HeaderFields.member]
        if member == "PrepareForSleep" and signal.body == (True,):
            await self._lock(LockReason.SUSPEND)
        elif member in _ENDS and self._was_logged_in and not await self._is_logged_in(talk):
            await self._lock(LockReason.LOG_OUT)

    async def _is_logged_in(self, talk: _Talk) -> bool:
        try:
            (path,) = await talk.ask(new_method_call(_MANAGER, "GetUser", "u", (self._uid,)))
            user = DBusAddress(path, bus_name=_NAME, interface=f"{_NAME}.User")
            ((_, state),) = await talk.ask(Properties(user).get("State"))
        except DBusErrorResponse:
            return False  # A user whom logind does not know, or no longer.
        return state in _LOGGED_IN


class _Talk:
    """A connection of one task, which asks one question at a time and hears nobody but logind and the bus.

    Attributes:
        owner: who is logind now; empty for nobody.
    """

    def __init__(self, connection: DBusConnection) -> None:
        self.owner = ""
        self._connection = connection
        self._signals: deque[Message] = deque()

    async def ask(self, question: Message) -> Any:  # noqa: ANN401 - whatever D-Bus says
        """Raises: DBusErrorResponse: the answer is an error."""
        serial = next(self._connection.outgoing_serial)
        await self._connection.send(question, serial=serial)
        while True:
            message = await self._receive()
            if message.header.fields.get(HeaderFields.reply_serial) == serial:
                return unwrap_msg(message)
            if message.header.message_type is MessageType.signal:
                self._signals.append(message)

    async def signal(self) -> Message:
        """The next signal."""
        while not self._signals:
            message = await self._receive()
            if message.header.message_type is MessageType.signal:
                return message
        return self._signals.popleft()

    async def _receive(self) -> Message:
        while True:
            message = await self._connection.receive()
            if message.header.fields.get(HeaderFields.sender) in (_BUS, self.owner):
                return message


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group
