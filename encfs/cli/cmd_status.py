"""``cloakfs status``: what is mounted, and what a volume is made of.

Owns: collecting and showing it. Must not know: keys, unless a passphrase is given to see the last session.

What a config says while the volume is locked is not authenticated by anything: it is shown, never acted on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import click

from encfs.backup import drill_due
from encfs.backup import standing as backup_standing
from encfs.checks import Checked, Light, worst
from encfs.cli import (
    auditing,
    break_glass,
    checks_view,
    crashes,
    disk_use,
    incident_view,
    last_locks,
    mount_troubles,
    opened_elsewhere,
    options,
    output,
    policy_view,
    swapping,
    targets,
)
from encfs.cli.secrets import SecretOptions, secret_options
from encfs.cli.unlocking import unlock
from encfs.errors import CloakfsError, ExitCode
from encfs.format.audit_body import Outcome
from encfs.format.policy import NO_POLICY
from encfs.host.verified import last_verified
from encfs.memory.swap import Swap, swaps
from encfs.registers import health
from encfs.volume.sessions import as_dict
from encfs.volume.told import config_json


@options.command(
    "status",
    example="""
cloakfs status
cloakfs status ~/practice.vault --json""",
)
@click.argument("targets_", metavar="[VOLUME|MOUNTPOINT]...", nargs=-1)
@click.option("--quick", is_flag=True, help="Do not add up what the volume takes on the disk.")
@options.json_option
@secret_options
def command(*, targets_: tuple[str, ...], quick: bool, as_json: bool, secret: SecretOptions) -> ExitCode:
    """Tell where volumes are mounted, since when and by whom, and what they are made of.

    Without an argument: everything that is mounted by this user, and what was locked without being asked, with the
    reason. No passphrase is needed; the sealed records of a locked volume (how its last session ended) are shown if one
    is given.

    The exit status is 0 where all is well, 1 (amber) where a rule of the policy of a volume is soon due or cannot be
    told, 2 (red) where one is broken. A volume without a policy is always 0. Without an argument the registers of this
    computer count too: a medium that is overdue, an exception that nobody has looked at again, an incident whose date
    is past, and a backup that was not made in time, failed, or was not restored for a trial in time are red.
    """
    found = [targets.find(text) for text in targets_] if targets_ else targets.all_mounted()
    described = [_describe(target, secret, quick=quick) for target in found]
    volumes = [volume for volume, _ in described]
    known = {volume["volume"] for volume in volumes}
    locked = [] if targets_ else [lock for lock in last_locks.by_themselves() if lock["volume"] not in known]
    swap = swaps()
    registered = [] if targets_ else _registered()
    # The numbers are those of other failures too: either way somebody has to look.
    lights = [standing.judgement.light for _, standing in described if standing is not None]
    status = ExitCode(max([*lights, worst(registered)]))
    if as_json:
        told = {"locked": locked, "registers": checks_view.as_json(registered)["checks"]}
        output.print_json({"volumes": volumes, **told, "swap": swapping.report(swap)})
        return status
    if len(described) > 1 and not targets_:
        output.say(f"{output.plural(len(described), 'volume is', 'volumes are')} mounted.\n")
    _tell(described, locked, registered)
    if volumes:
        _show_swap(swap, volumes)
    return status


def _registered() -> list[Checked]:
    """What the registers of this computer have for somebody to look at."""
    return [
        *health.checks(time.time()),
        *incident_view.waiting(),
        *drill_due.checks(),
        *backup_standing.checks(),
    ]


def _tell(
    described: Sequence[tuple[dict[str, Any], policy_view.Standing | None]],
    locked: Sequence[dict[str, Any]],
    registered: Sequence[Checked],
) -> None:
    """Each volume, what was locked without being asked, and what the registers have for somebody to look at."""
    if not described:
        output.say("Nothing is mounted. Open a volume with: cloakfs mount VOLUME FOLDER")
    for position, (volume, standing) in enumerate(described):
        if position:
            output.say()
        _show(volume, standing)
    for lock in locked:
        output.say(f"Locked: {output.printable(lock['volume'])} at {last_locks.words(lock)}.")
    for check in registered:
        output.say(f"ATTENTION: {output.printable(check.found)}.")
        output.say(f"  -> {output.printable(check.remedy)}")


def _describe(
    target: targets.Target, secret: SecretOptions, *, quick: bool
) -> tuple[dict[str, Any], policy_view.Standing | None]:
    """The object for one volume, as docs/json.md has it, and how it stands against its policy if it has one."""
    config: dict[str, Any] | None
    sizes: dict[str, Any] | None
    last_lock = verified = None
    used: list[dict[str, Any]] | None
    standing: policy_view.Standing | None = None
    now = int(time.time())
    try:
        standing = policy_view.standing(target, now)
        config, used = config_json(standing.config), break_glass.uses(standing.config)
        last_lock = last_locks.of(standing.config.volume_id)
        if known := last_verified(standing.config.volume_id):
            verified = {"at": known.at, "wrong": known.wrong}
        sizes = None if quick else disk_use.measure(target.volume).as_json()
    except (CloakfsError, OSError):
        if target.mountpoint is None:
            raise
        standing = config = sizes = used = None  # The disk is gone, but the mount is still there to be told about.
    last = rollback = None
    elsewhere: list[dict[str, Any]] = []
    if target.mountpoint is None and secret.given:
        with unlock(target.volume, secret, read_only=True) as volume:
            records, rollback = volume.sessions.records(), volume.rollback
            last = as_dict(records[-1]) if records else None
            elsewhere = [as_dict(one) for one in volume.elsewhere]
            standing = policy_view.opened(volume.config, now)
        auditing.tell_end("volume.status", Outcome.DONE, standing.config.volume_id)
    if standing is not None and standing.config.policy == NO_POLICY:
        standing = None
    described = {
        "volume": target.volume,
        "state": targets.state(target),
        "mount": _mount(target),
        "last_lock": last_lock,
        "last_session": last,
        "rollback": rollback,
        "elsewhere": elsewhere,
        "verified": verified,
        "break_glass": used,
        "policy": None if standing is None else policy_view.as_json(standing),
        "config": config,
        "sizes": sizes,
    }
    return described, standing


def _mount(target: targets.Target) -> dict[str, Any] | None:
    if target.mountpoint is None:
        return None
    if target.mounted is None:
        return {"mountpoint": target.mountpoint}
    return {key: value for key, value in target.mounted.status.items() if key not in _OF_CONFIG}


_OF_CONFIG: Final = frozenset({"volume", "volume_id", "cell_size", "config_digest", "slots"})


# -- text ----------------------------------------------------------------------------------------------------


def _show(volume: dict[str, Any], standing: policy_view.Standing | None) -> None:
    output.say(output.bold(output.printable(volume["volume"])))
    rows = _mount_rows(volume)
    if standing is not None:
        rows += policy_view.light_rows(standing, volume["volume"])
    config = volume["config"]
    if config is None:
        rows.append(("volume", "its directory cannot be read: is its disk there?"))
    else:
        rows += [("ATTENTION", text) for text in break_glass.texts(volume["volume"], volume["break_glass"])]
        rows += [*_verified_rows(volume["verified"]), *_config_rows(config)]
    sizes = volume["sizes"]
    if sizes is not None:
        files = output.plural(sizes["lower_files"], "file")
        note = "" if sizes["complete"] else " (a part could not be read)"
        free, total = output.human_size(sizes["disk_free"]), output.human_size(sizes["disk_total"])
        rows += [
            ("on the disk", f"{output.human_size(sizes['lower_bytes'])} in {files}{note}"),
            ("free there", f"{free} of {total}"),
        ]
    output.print_table(rows)


def _show_swap(swap: list[Swap], volumes: list[dict[str, Any]]) -> None:
    locked = all(volume["mount"] is None or volume["mount"].get("memory_locked", False) for volume in volumes)
    for warning in swapping.warnings(swap, locked=locked):
        output.say()
        output.say(f"ATTENTION: {warning}.")


def _config_rows(config: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        *_slot_rows(config["slots"]),
        ("created", f"{output.human_time(config['created'])}, cells of {output.human_size(config['cell_size'])}"),
        ("volume id", config["volume_id"]),
    ]
    if config["read_only"]:
        rows.insert(0, ("ATTENTION", "written by a newer cloakfs: this version can only read it"))
    return rows


def _verified_rows(verified: dict[str, int] | None) -> list[tuple[str, str]]:
    """When it was verified last, where this host knows."""
    if verified is None:
        return []
    ago = f"{output.human_duration(max(0, time.time() - verified['at']))} ago" if verified["at"] else "not yet in full"
    if not verified["wrong"]:
        return [("verified", f"{ago}, and nothing was wrong" if verified["at"] else ago)]
    wrong = output.plural(verified["wrong"], "thing was", "things were")
    return [("ATTENTION", f"verified {ago}: {wrong} wrong, and not repaired (docs/findings.md)")]


def _mount_rows(volume: dict[str, Any]) -> list[tuple[str, str]]:
    mount = volume["mount"]
    if mount is None:
        return _locked_rows(volume)
    where = output.printable(mount["mountpoint"])
    wrong = _trouble_rows(mount_troubles.troubles(volume["state"], mount))
    if "pid" not in mount:
        state = "NOT WORKING, but still mounted" if volume["state"] == "dead" else "mounted"
        return [("state", f"{state} at {where}"), *wrong]
    who = f"by {targets.user_name(mount['uid'])}, process {mount['pid']}"
    access = ("read-only" if mount["read_only"] else "read and write") + (
        ", for all users" if mount["allow_other"] else ", for that user only"
    )
    ago = output.human_duration(max(0, time.time() - mount["since"]))
    open_at = "NOT WORKING, but still mounted" if mount.get("medium") == "gone" else "open: mounted"
    rows = [
        ("state", f"{open_at} at {where}"),
        *wrong,
        ("since", f"{output.human_time(mount['since'])} ({ago}), {who}"),
        ("access", access),
        ("open files", str(mount["open_files"])),
    ]
    rows += _self_locking_rows(mount)
    if rotation := mount.get("rotation"):
        rows.append(("new keys", _rotation_text(rotation)))
    if recovery := mount.get("recovery"):
        rows.append(("recovered", crashes.recovery_text(recovery)))
    if text := opened_elsewhere.words(mount.get("elsewhere", [])):
        rows.append(("ATTENTION", text))
    return rows


def _trouble_rows(troubles: Sequence[tuple[Light, str, str]]) -> list[tuple[str, str]]:
    """Each with what to do on the next line."""
    rows = []
    for _, what, remedy in troubles:
        rows += [("ATTENTION", what), ("", f"-> {remedy}")]
    return rows


def _rotation_text(rotation: dict[str, Any]) -> str:
    """How far a rotation is."""
    progress = rotation["progress"]
    what = "all files are encrypted anew under them" if rotation["data"] else "everything is being sealed under them"
    far = "" if progress is None else f", {progress['files']:,} of {progress['total_files']:,} entries are done"
    return f"{what} (epoch {rotation['epoch']}){far}; work goes on meanwhile"


def _self_locking_rows(mount: dict[str, Any]) -> list[tuple[str, str]]:
    """What would lock the mount without being asked."""
    on = [_EVENTS[reason] for reason in mount.get("lock_on", ()) if reason in _EVENTS]
    rows = [("locks itself", " and ".join(on))] if on else []
    idle = mount.get("idle")
    if idle:
        then = "; it is idle, but files are open" if idle["held"] else ""
        left = "" if rows else "locks itself"
        rows.append((left, f"when nobody has used it for {output.human_duration(idle['seconds'])}{then}"))
    return rows


_EVENTS: Final = {"suspend": "when the machine goes to sleep", "log-out": "when its user logs out"}


def _locked_rows(volume: dict[str, Any]) -> list[tuple[str, str]]:
    if volume["state"] == "in-use":
        return [
            ("state", "in use, but not mounted by this user here"),
            ("", "-> another user or computer has it open, or verify or another command works on it"),
        ]
    rows = [("state", "locked (not mounted)")]
    if volume["config"]["rotating"]:
        rows.append(("new keys", "a change of keys is not finished; the next mount goes on with it"))
    if because := last_locks.words(volume["last_lock"]):
        rows.append(("locked", because))
    if text := opened_elsewhere.words(volume["elsewhere"]):
        rows.append(("ATTENTION", text))
    last = volume["last_session"]
    if last is not None:
        ended = f", ended {output.human_time(last['ended'])}" if last["ended"] else ""
        started = f"{output.human_time(last['started'])} on {output.printable(last['host'])}"
        meaning = {
            "clean": "clean",
            "crashed": "ended in a crash; the next mount checks the volume",
            "recovered": "ended in a crash, and was recovered",
        }
        rows.append(("last session", f"{meaning[last['state']]}; began {started}{ended}"))
    return rows


def _slot_rows(slots: list[dict[str, Any]]) -> list[tuple[str, str]]:
    rows = []
    for position, slot in enumerate(slots):
        kdf = slot["kdf"]
        cost = ""
        if "memory_kib" in kdf:
            memory = output.human_size(kdf["memory_kib"] * 1024)
            cost = f", Argon2id {memory}, {output.plural(kdf['passes'], 'pass', 'passes')}"
        label = f" {output.printable(slot['label'])!r}" if slot["label"] not in (slot["kind"], "recovery key") else ""
        kind = "recovery key" if slot["kind"] == "recovery" else slot["kind"]
        rows.append(("opens with" if position == 0 else "", f"{kind}{label}{cost}"))
    return rows
