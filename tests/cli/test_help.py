"""Help, version and exit codes: what a newcomer and a script meet first."""

import subprocess
import sys
from pathlib import Path

import pytest

from encfs import __version__
from encfs.cli.main import EXIT_CODES
from encfs.errors import CloakfsError, ExitCode
from tests.support.command import run

COMMANDS = ["create", "mount", "lock", "status", "cat", "export", "verify", "rescue"]
DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_version():
    """``--version`` says which one."""
    assert run("--version").out == f"cloakfs {__version__}\n"


def test_version_loads_nothing_heavy():
    """For ``--version`` neither cryptography nor rich nor zxcvbn is loaded, so it answers at once."""
    script = (
        "import sys, encfs.cli.main as m; sys.argv = ['cloakfs', '--version']\n"
        "try: m.main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'cryptography', 'argon2', 'rich', 'zxcvbn', 'encfs.volume'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1:] == ["[]"]


def test_help_has_every_command_and_every_exit_code():
    """``cloakfs --help`` lists both."""
    text = run("--help").out
    assert all(f"\n  {name} " in text for name in COMMANDS)
    assert all(f"\n  {int(code)} " in text for code in ExitCode)


def test_exit_codes_are_described_once_each():
    """No code lacks its words, and every error class has a code that exists."""
    assert set(EXIT_CODES) == set(ExitCode)
    pending = [CloakfsError]
    while pending:
        kind = pending.pop()
        assert isinstance(kind.exit_code, ExitCode)
        pending += kind.__subclasses__()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_shows_an_example(name):
    """Each command has help with an example that begins with the command itself."""
    result = run(name, "--help")
    assert (result.code, result.err) == (0, "")
    assert f"  cloakfs {name} " in result.out[result.out.index("Example:") :]


def test_no_command_shows_help():
    """Without a command the help comes on stderr, and the status is that of a usage error."""
    result = run()
    assert (result.code, result.out) == (2, "")
    assert "Commands:" in result.err


def test_unknown_command_suggests_a_near_one():
    """A slip of the finger is answered with the right word."""
    result = run("crate")
    assert result.code == 2
    assert "did you mean 'create'?" in result.err


def test_unknown_option_names_the_help():
    """A usage error says where to read on."""
    result = run("mount", "--nope")
    assert result.code == 2
    assert result.err.startswith("cloakfs: ")
    assert "cloakfs mount --help" in result.err


def test_usage_error_as_json():
    """With ``--json`` an error is an object on stdout, also when the command line itself is wrong."""
    result = run("status", "--json", "--nope")
    assert result.code == 2
    assert result.json["error"]["name"] == "USAGE"


def test_internal_error_shows_no_traceback():
    """What nobody expected is one line, and ``--debug`` shows the rest."""
    script = (
        "import sys, encfs.cli.main as m\n"
        "def fail(): raise ZeroDivisionError('secret')\n"
        "sys.exit(m.run(fail, m.Manners(debug={})))"
    )
    quiet = subprocess.run([sys.executable, "-c", script.format(False)], capture_output=True, text=True, check=False)
    assert (quiet.returncode, quiet.stdout) == (1, "")
    assert "internal error (ZeroDivisionError)" in quiet.stderr
    assert "Traceback" not in quiet.stderr
    assert "secret" not in quiet.stderr
    loud = subprocess.run([sys.executable, "-c", script.format(True)], capture_output=True, text=True, check=False)
    assert "Traceback" in loud.stderr


@pytest.mark.parametrize("name", ["create", "mount", "lock", "status", "stick", "export", "verify", "rescue", "share"])
def test_json_is_documented(name):
    """docs/json.md has a section for each command that reports."""
    assert f"## `cloakfs {name}`" in (DOCS / "json.md").read_text()
