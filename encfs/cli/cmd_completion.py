"""``cloakfs completion``: the script that makes a shell complete what is typed after ``cloakfs``.

Owns: which shells, and where each looks for it. Must not know: what is completed (``encfs.cli.completing``).
"""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from encfs.cli import options, output
from encfs.errors import ExitCode

FILES: Final = {"bash": "cloakfs.bash", "zsh": "_cloakfs", "fish": "cloakfs.fish"}
"""What the script of each shell is called where packages put it."""
_VARIABLE: Final = "_CLOAKFS_COMPLETE"


@options.command(
    "completion",
    example="""
cloakfs completion bash > ~/.local/share/bash-completion/completions/cloakfs
cloakfs completion zsh > "${fpath[1]}/_cloakfs"
cloakfs completion fish > ~/.config/fish/completions/cloakfs.fish""",
)
@click.argument("shell", type=click.Choice(list(FILES)))
def command(*, shell: str) -> ExitCode:
    """Print the script that completes commands, options, volumes and mount points in SHELL.

    Put it where the shell looks for it (see the example), or load it at once: source <(cloakfs completion bash). The
    Debian package has installed it. No passphrase is needed for it, and no daemon is asked.
    """
    output.say(script(shell).rstrip("\n"))
    return ExitCode.OK


def script(shell: str) -> str:
    """The text for one of ``FILES``. It calls ``cloakfs`` for each word that is completed."""
    kind = get_completion_class(shell)
    assert kind is not None
    # ``source`` of the class would run the shell to look at its version.
    maker = kind(click.Command("cloakfs"), {}, "cloakfs", _VARIABLE)
    text: str = maker.source_template % maker.source_vars()
    return text.strip("\n") + "\n"
