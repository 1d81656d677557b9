"""``cloakfs key rotate``: new keys for a volume, while it is in use or locked.

Owns: who brings everything under the new keys (the mount, or this process), and how that is told. Must not know: what
is sealed again, in which order.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, Final

import click

from encfs import control
from encfs.cli import auditing, crashes, key_making, options, output, progress, targets
from encfs.cli.secrets import SecretOptions, secret_options
from encfs.cli.unlocking import config_of
from encfs.errors import ExitCode, ReadOnlyError
from encfs.format.config import Config
from encfs.format.epochs import RotationReason
from encfs.format.slots import Slot
from encfs.host.freshness import HostFreshness
from encfs.volume import Volume
from encfs.volume.keys import Keys, NewEpoch
from encfs.volume.rotation import Outcome, Rotator
from encfs.volume.rotation_told import RotationTale, Told
from encfs.volume.steps import carry_out
from encfs.volume.told import about
from encfs.volume.verify import Progress

_REASONS: Final = [str(reason) for reason in RotationReason]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a rotation is to do: ``data``: replace content keys too; ``without``: a slot that goes with it."""

    reason: RotationReason
    data: bool
    without: Slot | None = None


@dataclass(frozen=True, slots=True)
class Rotated:
    """How a rotation went: what the last run did, and the config afterwards."""

    outcome: Outcome
    config: Config

    @property
    def complete(self) -> bool:
        """Whether the old keys are gone."""
        return not self.config.rotating


@options.command(
    "rotate",
    example="""
cloakfs key rotate ~/practice.vault
cloakfs key rotate ~/practice.vault --reason compromise --data""",
)
@click.argument("volume")
@click.option(
    "--reason", type=click.Choice(_REASONS), default="schedule", show_default=True, help="Why; it is kept on record."
)
@click.option("--data", is_flag=True, help="Also encrypt the content of every file anew.")
@options.json_option
@secret_options
def rotate(*, volume: str, reason: str, data: bool, as_json: bool, secret: SecretOptions) -> ExitCode:
    """Replace the keys of VOLUME; every passphrase, key file and recovery key opens it as before.

    Programs can go on: a mounted volume does the work in the background, and goes on with it when this command is
    interrupted. After a crash it is taken up again by the next mount, or by this command. When nothing is left under
    the old keys they are destroyed. Exit status 3: something still needs them; it is said what to do.
    """
    target = targets.find(volume)
    wish = Wish(RotationReason(reason), data)
    with key_making.opened(target.volume, secret) as keys:
        rotated = carry_through(target, keys, wish)
    if as_json:
        output.print_json({"volume": target.volume, "rotation": as_json_object(rotated)})
    else:
        tell(rotated)
        if wish.reason is RotationReason.COMPROMISE:
            output.say(
                "Whoever knows a passphrase or has a key still opens the volume. Change them: cloakfs key change"
            )
    return ExitCode.OK if rotated.complete else ExitCode.FINDINGS


def carry_through(target: targets.Target, keys: Keys, wish: Wish) -> Rotated:
    """Begin a rotation, or go on with the one that is under way, until it has ended or cannot.

    ``keys`` are closed when this returns.

    Raises:
        ReadOnlyError: the volume is mounted for reading.
        VolumeInUseError: it is in use elsewhere; nothing was changed.
        UsageError, SlotDamagedError, CloakfsError, OSError.
    """
    path = target.volume
    if target.mounted is not None:
        if target.mounted.status["read_only"]:
            raise ReadOnlyError("the volume is mounted read-only", hint="Mount it for writing, or lock it first.")
        new, data = _begin(keys, wish)
        keys.close()
        outcome = _follow(_over_socket(target.mounted, new), data=data)
    else:
        if target.mountpoint is not None:
            raise targets.not_reachable(target)
        memory = HostFreshness()
        # Unlocked first: who has the volume in use elsewhere would not learn of the new keys.
        with about(path), Volume.unlock_with_root_key(os.fsencode(path), keys.root_key, freshness=memory) as volume:
            crashes.tell(volume.config.volume_id, keys.opened_with.id, None, volume)
            before = volume.config.active.epoch
            new, data = _begin(keys, wish)
            volume.begin_epoch(new.epoch, new.key, new.config_key)
            slot = keys.opened_with.id
            keys.close()
            tale = RotationTale(volume, again=new.epoch == before)
            with closing(_in_this_process(volume, tale, slot)) as steps:
                outcome = _follow(steps, data=data)
    return Rotated(outcome, config_of(path))


def _begin(keys: Keys, wish: Wish) -> tuple[NewEpoch, bool]:
    """The new epoch, or that of the rotation which is under way, if it does all that is wished; whether with data."""
    config = keys.config
    same = config.rotating and wish.reason is RotationReason.SCHEDULE and wish.without is None
    if same and (not wish.data or config.data_epoch):
        output.remark("A rotation is under way; this goes on with it.")
        new = keys.active_epoch()
    else:
        new = keys.rotate(wish.reason, data=wish.data, without=wish.without)
    return new, keys.config.data_epoch > 0


def _in_this_process(volume: Volume, tale: RotationTale, slot: bytes) -> Generator[Progress | Outcome, None, None]:
    """A run, recorded as the daemon of a mount records its own."""

    def record(told: Told | None) -> None:
        if told is not None:
            auditing.tell_rotation(*told, volume.config.volume_id, slot)

    rotator = Rotator(volume)
    record(tale.begun())
    try:
        for step in rotator.run():
            carry_out(step)
            if isinstance(step, Progress):
                record(tale.on_the_way(step))
                yield step
    except Exception as exc:
        record(tale.failed(exc))
        raise
    except BaseException:
        record(tale.interrupted())
        raise
    assert rotator.outcome is not None
    record(tale.ended(rotator.outcome))
    yield rotator.outcome


def _over_socket(mounted: control.Mounted, new: NewEpoch) -> Iterator[Progress | Outcome]:
    request = {
        "verb": "rotate",
        "epoch": new.epoch,
        "key": new.key.hex(),
        "config_key": new.config_key.hex(),
    }
    for reply in control.talk(mounted.socket, request):
        if "progress" in reply:
            yield Progress(**reply["progress"])
        elif "rotation" in reply:
            yield Outcome(**reply["rotation"])


def _follow(steps: Iterator[Progress | Outcome], *, data: bool) -> Outcome:
    """Show how far it is: by bytes where contents are encrypted anew, else by entries."""
    text = "Sealing under the new keys"
    with progress.bar(text, shown=data) as bar, progress.activity(text, shown=not data) as activity:
        for step in steps:
            if isinstance(step, Outcome):
                return step
            bar.update(step.bytes, step.total_bytes, output.plural(step.files, "entry", "entries"))
            activity.update(f"{text}: {step.files:,} of {output.plural(step.total_files, 'entry', 'entries')}")
    raise AssertionError("internal error: a rotation ended without a result")


def tell(rotated: Rotated) -> None:
    """In plain words."""
    outcome, active = rotated.outcome, rotated.config.active
    done = [output.plural(outcome.files, "file"), output.plural(outcome.directories, "directory", "directories")]
    if outcome.cells:
        done.append(output.plural(outcome.cells, "cell"))
    output.say(f"Sealed under new keys (epoch {active.epoch}): {', '.join(done)}.")
    if rotated.complete:
        output.say("Nothing is left under the old keys, and they are destroyed.")
    elif outcome.left:
        output.say(
            f"{output.plural(outcome.left, 'object')} still need the old keys, because no name leads there. "
            "Bring them back with: cloakfs verify --repair; then run this again."
        )
    else:
        output.say(
            f"{output.plural(outcome.failed, 'object')} could not be read or written, so the old keys are kept. "
            "Run this again when that is mended; a mount tries by itself."
        )
    if outcome.damaged:
        output.say(f"{output.plural(outcome.damaged, 'object')} did not open: cloakfs verify says which.")


def as_json_object(rotated: Rotated) -> dict[str, Any]:
    """As docs/json.md has it."""
    latest = rotated.config.rotations[-1]
    return {
        "epoch": rotated.config.active.epoch,
        "reason": str(latest.reason),
        "data": latest.data,
        "started": latest.started,
        "finished": latest.finished or None,
        "complete": rotated.complete,
        **asdict(rotated.outcome),
    }
