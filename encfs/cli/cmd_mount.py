"""``cloakfs mount``: the command's options. The work is in ``mounting.py``, which mount(8) uses too."""

from __future__ import annotations

import click

from encfs.cli import auditing, mount_options, mounting, options, output
from encfs.cli.secrets import SecretOptions, secret_options
from encfs.errors import ExitCode, UsageError
from encfs.locking import WhenOpen


@options.command(
    "mount",
    example="""
cloakfs mount ~/practice.vault ~/practice
cloakfs mount /srv/p.vault /srv/p --allow-other --passphrase-file /run/keys/p -o noatime""",
)
@click.argument("volume")
@click.argument("mountpoint")
@click.option("--foreground", is_flag=True, help="Stay here and log to stderr; Ctrl-C locks.")
@click.option("--read-only", is_flag=True, help="Change nothing, neither files nor the volume.")
@click.option("--allow-other", is_flag=True, help="Let other users in; permissions are enforced.")
@click.option("-o", "opts", metavar="OPTIONS", multiple=True, help="Options of mount(8): ro, noatime, noexec, ...")
@click.option("--log", metavar="FILE|syslog", help="Where the daemon logs. No names of files get there.")
@click.option("--idle", type=options.Duration(), help="Lock when no program has used it for so long: 15m, 2h.")
@click.option(
    "--idle-open",
    type=click.Choice([one.value for one in WhenOpen]),
    help="Idle, but files are open: wait (as without this option), also warn in the log, or lock all the same.",
)
@options.json_option
@secret_options
@auditing.recorded("volume.mount")
def command(
    *,
    volume: str,
    mountpoint: str,
    foreground: bool,
    read_only: bool,
    allow_other: bool,
    opts: tuple[str, ...],
    log: str | None,
    idle: float | None,
    idle_open: str | None,
    as_json: bool,
    secret: SecretOptions,
) -> ExitCode:
    """Unlock VOLUME and show its files at MOUNTPOINT, an empty directory.

    Returns when the mount answers; a daemon serves it until "cloakfs lock". After a crash the volume is checked and
    repaired first. Only one mount of a volume can write; a second one is refused and told where the first is.

    It locks by itself when the machine goes to sleep, and when the user who mounted has logged out
    (docs/keys-admin.md).
    """
    listed = mount_options.parse(opts)
    if secret.given and listed.secret.given:
        raise UsageError("the passphrase is given both as an option and in -o", hint="Give it once.")
    request = mounting.MountRequest(
        volume=volume,
        mountpoint=mountpoint,
        secret=secret if secret.given else listed.secret,
        read_only=read_only or bool(listed.read_only),
        allow_other=allow_other or bool(listed.allow_other),
        foreground=foreground,
        log=log or listed.log or "syslog",
        idle=mount_options.idle_rule(idle or listed.idle, idle_open or listed.idle_open),
        kernel_options=listed.kernel,
    )
    status = mounting.mount(request)
    if as_json and not foreground:
        output.print_json({"mount": status, "break_glass": mounting.break_glass_uses(status)})
    elif not foreground:
        mounting.tell(status)
    return ExitCode.OK
