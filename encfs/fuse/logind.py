"""Locking when the machine goes to sleep, and when the user who mounted has logged out.

Owns: the talk with systemd-logind over D-Bus. Must not know: how a mount is locked.

A machine without logind has neither; a line in the log says so, and the mount works on.

Any program may send us a signal over the bus, so only those of the present owner of logind's name are heard.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio
from jeepney import (
    DBusAddress,
    DBusErrorResponse,
    HeaderFields,
    MatchRule,
    Message,
    Properties,
    message_bus,
    new_method_call,
)
from jeepney.io.trio import DBusRouter, Proxy, open_dbus_router
from jeepney.wrappers import unwrap_msg

from encfs.fuse.errnos import logger
from encfs.locking import LockReason

_NAME: Final = "org.freedesktop.login1"
_MANAGER: Final = DBusAddress("/org/freedesktop/login1", bus_name=_NAME, interface=f"{_NAME}.Manager")
_USER: Final = f"{_NAME}.User"
# Of a user's states (org.freedesktop.login1): the others are those of somebody who has no session any more.
_LOGGED_IN: Final = ("online", "active")
_ENDS: Final = ("SessionRemoved", "UserRemoved")
# Room for signals while one is dealt with; logind sends a few in a day.
_ROOM: Final = 64
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

    async def watch(self) -> None:
        """Listen until the bus is gone."""
        try:
            async with open_dbus_router("SYSTEM", enable_fds=True) as router:
                await self._follow(router)
        except* _FAILURES as group:
            self.reasons = []
            logger.info("not locked on suspend and log-out: no logind (%s)", type(_first(group)).__name__)

    def release(self) -> None:
        """Let the machine sleep: call it when the keys are gone."""
        if self._delay is not None:
            os.close(self._delay)
            self._delay = None

    async def _follow(self, router: DBusRouter) -> None:
        """Listen to logind, and to the next one when it is started anew."""
        changed = MatchRule(
            type="signal", sender="org.freedesktop.DBus", interface="org.freedesktop.DBus", member="NameOwnerChanged"
        )
        changed.add_arg_condition(0, _NAME)
        bus = Proxy(message_bus, router)
        async with router.filter(changed, bufsize=_ROOM) as changes:
            await bus.AddMatch(changed)
            while True:
                # Asked for in this way a logind that is not running yet is started.
                await bus.StartServiceByName(_NAME)
                (owner,) = await bus.GetNameOwner(_NAME)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._listen, router, owner)
                    await changes.receive()
                    nursery.cancel_scope.cancel()

    async def _listen(self, router: DBusRouter, owner: str) -> None:
        rule = MatchRule(type="signal", sender=owner, path=_MANAGER.object_path, interface=_MANAGER.interface)
        async with router.filter(rule, bufsize=_ROOM) as signals:
            await Proxy(message_bus, router).AddMatch(rule)
            await self._inhibit(router)
            if self._was_logged_in is None:
                self._was_logged_in = self._uid != 0 and await self._is_logged_in(router)
            self.reasons = [LockReason.SUSPEND, *([LockReason.LOG_OUT] if self._was_logged_in else [])]
            logger.info("locked on: %s", ", ".join(self.reasons))
            async for signal in signals:
                await self._hear(router, signal)

    async def _hear(self, router: DBusRouter, signal: Message) -> None:
        member = signal.header.fields[HeaderFields.member]
        if member == "PrepareForSleep" and signal.body == (True,):
            await self._lock(LockReason.SUSPEND)
        elif member in _ENDS and self._was_logged_in and not await self._is_logged_in(router):
            await self._lock(LockReason.LOG_OUT)

    async def _inhibit(self, router: DBusRouter) -> None:
        """Have sleep wait, some seconds at most (InhibitDelayMaxSec), until we are done."""
        call = ("sleep", "cloakfs", "Locking an encrypted volume", "delay")
        (descriptor,) = await _ask(router, _MANAGER, "Inhibit", "ssss", call)
        self.release()
        self._delay = descriptor.to_raw_fd()

    async def _is_logged_in(self, router: DBusRouter) -> bool:
        try:
            (path,) = await _ask(router, _MANAGER, "GetUser", "u", (self._uid,))
            address = DBusAddress(path, bus_name=_NAME, interface=_USER)
            ((_, state),) = unwrap_msg(await router.send_and_get_reply(Properties(address).get("State")))
        except DBusErrorResponse:
            return False  # A user whom logind does not know, or no longer.
        return state in _LOGGED_IN


async def _ask(router: DBusRouter, whom: DBusAddress, method: str, signature: str, body: tuple[object, ...]) -> Any:  # noqa: ANN401 - whatever D-Bus says
    return unwrap_msg(await router.send_and_get_reply(new_method_call(whom, method, signature, body)))


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group
