"""``cloakfs share``: a folder of a volume for Windows and Mac desks, through Samba.

Owns: the commands. Must not know: what a share needs (``encfs/share``), how it is made (``share_making.py``).
"""

from __future__ import annotations

import click

from encfs.checks import Light, worst
from encfs.cli import auditing, checks_view, options, output, share_making, share_view
from encfs.cli.recording import telling
from encfs.errors import ExitCode
from encfs.format.audit_body import Outcome
from encfs.share import plan
from encfs.share.definition import ShareSpec
from encfs.share.places import places

_YES = click.option("--yes", is_flag=True, help="Do not ask whether you are sure (needed without a terminal).")


@click.group("share", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Share a folder of a volume with Windows and Mac desks, through Samba.

    docs/share.md goes through it, from a fresh machine to a share that works.
    """


@options.command(
    "init",
    example="""
cloakfs share init /srv/practice.vault practice
cloakfs share init /srv/practice.vault practice --group staff --passphrase-file /media/key/practice""",
)
@click.argument("volume")
@click.argument("name")
@click.option("--mountpoint", metavar="DIR", help="Where it is mounted (default: /srv/cloakfs/NAME).")
@click.option("--group", metavar="GROUP", help="The unix group whose members may use it (default: NAME).")
@click.option("--passphrase-file", metavar="FILE", help="Unlock it with this file when the machine starts.")
@_YES
@options.json_option
@auditing.recorded("volume.share")
def init(
    *,
    volume: str,
    name: str,
    mountpoint: str | None,
    group: str | None,
    passphrase_file: str | None,
    yes: bool,
    as_json: bool,
) -> ExitCode:
    """Set up a Samba share NAME of a folder in VOLUME.

    Shows every file before it is written, and asks. Writes the definition of the share, a systemd unit that mounts the
    volume, and one line in smb.conf; makes the folder "Share" in the volume, and the mount point, which becomes
    immutable, so that nothing is ever written there while the volume is locked. Running it again renews all this.

    Without --passphrase-file somebody types the passphrase each time the machine has started. The file must not lie on
    the same disk as the volume.
    """
    spec = share_making.spec_of(volume, name, mountpoint, group, passphrase_file)
    made = share_making.make(spec, yes=yes, quiet=as_json)
    if as_json:
        output.print_json({**_described(spec), "changed": made.changed, "next": made.next_steps})
        return ExitCode.OK
    share_making.tell(spec, made)
    return ExitCode.OK


@options.command("check", example="cloakfs share check practice")
@click.argument("name")
@options.json_option
def check(*, name: str, as_json: bool) -> ExitCode:
    """Prove that the share NAME is as it must be, by what is in force now.

    Looks at Samba's configuration, the running smbd and its clients, the mount, what a scratch file on it keeps, and at
    the directory below the mount; tries the guard. Run it as root: others see less, and are told what they did not see.
    The exit status is 0 for green, 1 for amber (something could not be seen, or is worth a look), 2 for red.
    """
    spec = plan.known(name, places())
    with telling("volume.share-check", auditing.volume_id_of(spec.volume)) as told:
        found = share_view.checks_of(name)
        told.detail |= {light.name.lower(): sum(one.light is light for one in found) for light in Light}
        told.outcome = Outcome.FAILED if worst(found) is Light.RED else Outcome.DONE
    if as_json:
        output.print_json({**_described(spec), **checks_view.as_json(found)})
    else:
        output.say(f"{output.bold(spec.name)}: {output.printable(spec.folder)}")
        checks_view.show(found)
    return ExitCode(int(worst(found)))


@options.command("remove", example="cloakfs share remove practice")
@click.argument("name")
@_YES
@options.json_option
def remove(*, name: str, yes: bool, as_json: bool) -> ExitCode:
    """Take the share NAME away: its files, its line in smb.conf, and the mount point.

    Shows it first, and asks. The volume and what is in it stay as they are.
    """
    spec = plan.known(name, places())
    with telling("volume.unshare", auditing.volume_id_of(spec.volume)):
        made = share_making.unmake(spec, yes=yes, quiet=as_json)
    if as_json:
        output.print_json({**_described(spec), "changed": made.changed, "next": made.next_steps})
        return ExitCode.OK
    output.say(f"The share {spec.name} is gone; {output.printable(spec.volume)} and its files are as they were.")
    share_making.tell_next(made)
    return ExitCode.OK


def _described(spec: ShareSpec) -> dict[str, object]:
    return {
        "share": spec.name,
        "volume": spec.volume,
        "mountpoint": spec.mountpoint,
        "folder": spec.folder,
        "group": spec.group,
        "unit": spec.unit,
        "passphrase_file": spec.passphrase_file,
    }


for _one in (init, check, remove):
    command.add_command(_one)
