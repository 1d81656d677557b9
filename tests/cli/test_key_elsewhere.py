"""``cloakfs key`` for secrets that lie elsewhere: age and SSH keys, PKCS#11 tokens (a real SoftHSM)."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pyrage
import pytest

from encfs.cli import mount_options
from encfs.cli.main import cloakfs
from encfs.cli.media import same_medium
from encfs.errors import CloakfsError, ExitCode, LowerIOError, TokenError, UsageError, WrongSecretError
from encfs.format.config import parse_config, split
from encfs.volume.keys import Keys
from tests.support import tokens
from tests.support.command import PASSPHRASE, Made, run
from tests.support.mounting import MountedVolume
from tests.support.pty_session import PtySession

TOOL = Path(__file__).resolve().parents[2] / "tools" / "inspect_lower.py"
WORDS = "words of the ssh key"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A directory on another medium than the volume, with an age key "anna" and somebody else's "ben"."""
    base = next((one for one in ("/dev/shm", "/run") if os.access(one, os.W_OK)), None)
    if base is None or same_medium(base, str(tmp_path)):
        pytest.skip("there is no second filesystem to write to")
    with tempfile.TemporaryDirectory(dir=base) as found:
        for name in ("anna", "ben"):
            identity = pyrage.x25519.Identity.generate()
            secret_file(Path(found, name), f"{identity}\n")
            Path(found, f"{name}.pub").write_text(f"# {name}\n{identity.to_public()}\n")
        yield Path(found)


@pytest.fixture
def token(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """A token "practice" with its PIN in the file "pin": the options that use it."""
    (tmp_path / "hsm").mkdir()
    with tokens.soft_tokens(tmp_path / "hsm"):
        uri = tokens.add(tmp_path / "hsm", "practice")
        yield ("--token", uri, "--module", tokens.module(), "--pin-file", secret_file(tmp_path / "pin", tokens.PIN))


def secret_file(path: Path, content: str) -> str:
    """A file for its owner only; its path."""
    path.write_text(content)
    path.chmod(0o600)
    return str(path)


def new(token: tuple[str, ...], *, pin: bool = True) -> tuple[str, ...]:
    """The options that make a slot with a token, from those that open one."""
    options = tuple(f"--new-{word[2:]}" if word.startswith("--") else word for word in token)
    return options if pin else options[:4]


def call(*arguments: str | os.PathLike[str]) -> None:
    """A command in this process, for what needs no start of its own; it raises what it has to tell."""
    cloakfs.main(list(map(os.fspath, arguments)), standalone_mode=False)


def refused(error: type[CloakfsError], words: str, *arguments: str | os.PathLike[str]) -> str:
    """What a command says that ends so."""
    with pytest.raises(error) as caught:
        call(*arguments)
    told = f"{caught.value}. {caught.value.hint}"
    assert words in told
    return told


def opened_with(volume: Made, *secret: str | Path) -> str:
    """What "key test" says about a secret that opens the volume."""
    told = io.StringIO()
    with redirect_stdout(told):
        call("key", "test", volume.path, "--json", *secret)
    return str(json.loads(told.getvalue())["slot"]["label"])


def cheap(volume: Made) -> tuple[str, str]:
    """The options that unlock it without a slow derivation."""
    return ("--recovery-file", str(volume.recovery_file))


def config(volume: Made) -> bytes:
    """As it lies on the disk."""
    return (volume.path / "cloakfs.volume").read_bytes()


# -- age and SSH ------------------------------------------------------------------------------------------------


def test_a_backup_writer_needs_no_secret_of_ours(volume: Made, elsewhere: Path) -> None:
    """The public key makes the slot, the private one opens it in every command; what is not proved is said."""
    made = run("key", "add", volume.path, *cheap(volume), "--label", "backup", "--recipient", elsewhere / "anna.pub")
    assert (made.code, made.err) == (0, "")
    assert "not proved that the holder of the private key can open it" in made.out
    assert f"cloakfs key test {volume.path} --identity FILE" in made.out
    assert opened_with(volume, "--identity", elsewhere / "anna") == "backup"
    wrong = run("cat", volume.path, "letters/a.txt", "--identity", elsewhere / "ben")
    assert (wrong.code, "the age or SSH key is wrong" in wrong.err) == (ExitCode.WRONG_SECRET, True)
    assert run("cat", volume.path, "letters/a.txt", "--identity", elsewhere / "anna").out == "Dear colleague\n"
    slot = run("key", "list", volume.path, "--json").json["slots"][-1]
    assert (slot["kind"], slot["kdf"], slot["label"]) == ("age", {"alg": "none"}, "backup")
    read = subprocess.run(
        [sys.executable, TOOL, volume.path, *volume.secret], capture_output=True, check=False, text=True
    )
    assert read.returncode == 0, read.stderr


def test_the_private_key_proves_the_slot(volume: Made, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The wrong one changes nothing; one beside the volume is refused; a slot is not replaced without proof."""
    add = ("key", "add", volume.path, *cheap(volume), "--label", "backup", "--recipient", elsewhere / "anna.pub")
    change = ("key", "change", volume.path, "backup", *cheap(volume), "--recipient", elsewhere / "ben.pub")
    before = config(volume)
    beside = secret_file(volume.path.parent / "anna", (elsewhere / "anna").read_text())
    refused(UsageError, "on the medium of the volume", *add, "--new-identity", beside)
    refused(WrongSecretError, "age or SSH key is wrong", *add, "--new-identity", elsewhere / "ben")
    assert config(volume) == before
    call(*add, "--new-identity", elsewhere / "anna", "--json")
    assert json.loads(capsys.readouterr().out)["proved"] is True
    before = config(volume)
    refused(UsageError, "so the old secret stays", *change)
    assert config(volume) == before
    call(*change, "--new-identity", elsewhere / "ben")
    refused(WrongSecretError, "", "key", "test", volume.path, "--identity", elsewhere / "anna")
    assert opened_with(volume, "--identity", elsewhere / "ben") == "backup"


def test_an_ssh_key_with_a_passphrase(volume: Made, elsewhere: Path) -> None:
    """It is asked for, and is on no screen; a wrong one is told as such; nobody there to ask is an error."""
    key = elsewhere / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", WORDS, "-C", "Ben", "-f", key], check=True)
    public = key.with_suffix(".pub").read_text().strip()
    made = run("key", "add", volume.path, *cheap(volume), "--label", "Ben", "--recipient", public, "--json")
    assert (made.code, made.json["proved"]) == (0, False)
    for words, text, code in (
        ("other words", "the passphrase of the SSH key is wrong", ExitCode.WRONG_SECRET),
        (WORDS, "It opens", ExitCode.OK),
    ):
        with PtySession("key", "test", str(volume.path), "--identity", str(key)) as session:
            session.answer("Passphrase of the SSH key: ", words)
            session.expect(text)
            assert session.end() == code
        assert words not in session.text
    nobody = run("key", "test", volume.path, "--identity", key)
    assert (nobody.code, "no terminal" in nobody.err) == (ExitCode.USAGE, True)


def test_what_is_no_identity(volume: Made, elsewhere: Path) -> None:
    """Each is told, and what it holds is not repeated."""
    for content, words in (
        ("", "neither an age identity file nor"),
        ("AGE-SECRET-KEY-1QQ\n", "neither an age identity file nor"),
        ("AGE-PLUGIN-YUBIKEY-1QQ\n", "Plug-ins of age are not used"),
        ("age-encryption.org/v1\n-> scrypt x 18\n", "itself encrypted"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "SSH key cannot be used"),
        ("-----BEGIN CERTIFICATE-----\n", "SSH key cannot be used"),
    ):
        bad = secret_file(elsewhere / "bad", content)
        assert "1QQ" not in refused(UsageError, words, "key", "test", volume.path, "--identity", bad)


def test_what_is_no_recipient(volume: Made, elsewhere: Path) -> None:
    """A private key, two public ones, none, a kind of SSH key that cannot encrypt: told, and nothing is changed."""
    before = config(volume)
    both = elsewhere / "both"
    both.write_text((elsewhere / "anna.pub").read_text() + (elsewhere / "ben.pub").read_text())
    (elsewhere / "none").write_text("# nobody\n")
    ecdsa = elsewhere / "ecdsa"
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", ecdsa], check=True)
    for recipient, words in (
        (elsewhere / "anna", "no public key"),
        (both, "2 public keys"),
        (elsewhere / "none", "0 public keys"),
        ("age1qqq", "no public key"),
        (f"{ecdsa}.pub", "no public key"),
    ):
        add = ("key", "add", volume.path, *cheap(volume), "--label", "x", "--recipient", recipient)
        assert "AGE-SECRET" not in refused(UsageError, words, *add)
    assert config(volume) == before


def test_who_leaves_with_such_a_key_leaves_an_old_one(volume: Made, elsewhere: Path) -> None:
    """Removing the slot renews the keys of the volume, as for a passphrase; the slots that stay open it as before."""
    for name in ("anna", "ben"):
        add = ("key", "add", volume.path, *cheap(volume), "--label", name, "--recipient", elsewhere / f"{name}.pub")
        call(*add)
    before = parse_config(split(config(volume))[0])
    call("key", "remove", volume.path, "anna", *cheap(volume), "--yes")
    after = parse_config(split(config(volume))[0])
    assert after.rk_id != before.rk_id
    assert len(after.slots) == len(before.slots) - 1
    assert opened_with(volume, "--identity", elsewhere / "ben") == "ben"
    refused(WrongSecretError, "", "key", "test", volume.path, "--identity", elsewhere / "anna")


# -- tokens -----------------------------------------------------------------------------------------------------


def test_a_token_opens(volume: Made, token: tuple[str, ...], tmp_path: Path) -> None:
    """A wrong PIN and an absent token have messages and exit codes of their own."""
    add = ("key", "add", volume.path, *cheap(volume), "--label", "Anna", "--kind", "pkcs11", *new(token), "--json")
    made = run(*add)
    assert (made.code, made.json["slot"]["kind"], made.json["proved"]) == (0, "pkcs11", True)
    assert opened_with(volume, *token) == "Anna"
    cat = ("cat", volume.path, "letters/a.txt")
    assert run(*cat, *token).out == "Dear colleague\n"
    wrong = run(*cat, *token[:5], secret_file(tmp_path / "bad", "9999"))
    assert (wrong.code, "the PIN of the token is wrong" in wrong.err) == (ExitCode.WRONG_PIN, True)
    assert "after some more it locks" in wrong.err
    assert "9999" not in wrong.err
    assert "PKCS#11 token" in run("key", "list", volume.path).out
    (tmp_path / "empty").mkdir()
    with tokens.soft_tokens(tmp_path / "empty"):
        absent = run(*cat, *token)
    assert (absent.code, "not there: pkcs11:token=practice" in absent.err) == (ExitCode.TOKEN, True)
    refused(TokenError, "/nowhere.so", *cat, *token[:3], "/nowhere.so", *token[4:])


def test_a_key_on_a_token_goes_with_a_slot_that_is_not_written(
    volume: Made, token: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not open: the token is as it was. The disk fails: the slot may be there, so its key stays."""

    def fails(error: type[CloakfsError]) -> None:
        def write(*_: object) -> None:
            raise error("it is gone")

        monkeypatch.setattr(Keys, "_write", write)
        refused(error, "gone", "key", "add", volume.path, *cheap(volume), "--label", "Anna", *new(token))

    fails(WrongSecretError)
    assert tokens.labels_on("practice") == []
    fails(LowerIOError)
    assert len(tokens.labels_on("practice")) > 0


def test_a_pin_is_asked_for(volume: Made, token: tuple[str, ...]) -> None:
    """By hand: it is on no screen, and after a wrong one the next question says so."""
    with PtySession("key", "add", str(volume.path), "--label", "Anna", *new(token, pin=False)) as session:
        session.answer("Passphrase of", PASSPHRASE)
        session.answer("PIN of the token practice: ", tokens.PIN)
        session.expect("The slot Anna is added, and was tried")
        assert session.end() == 0
    assert tokens.PIN not in session.text
    for pin, prompt, text, code in (
        ("987654", "PIN of the token practice: ", "after some more it locks. It was tried once", ExitCode.WRONG_PIN),
        ("", "PIN of the token practice (a wrong PIN was given before", "is wrong", ExitCode.WRONG_PIN),
        (tokens.PIN, "PIN of the token practice (a wrong PIN was given before", "It opens", ExitCode.OK),
        ("\x03", "PIN of the token practice: ", "interrupted", ExitCode.INTERRUPTED),
    ):
        with PtySession("key", "test", str(volume.path), *token[:4]) as session:
            session.expect(prompt)
            session.send(pin if pin == "\x03" else pin + "\n")
            session.expect(text)
            assert session.end() == code
        assert not pin.isdigit() or pin not in session.text


def test_a_mount_with_a_token(mounted: MountedVolume, token: tuple[str, ...]) -> None:
    """The options of mount(8) take it, and the daemon goes on without it."""
    secret = ("--passphrase-file", str(mounted.secret_file))
    assert run("key", "add", mounted.path, *secret, "--label", "Anna", *new(token)).code == 0
    lower = run("status", mounted.path, "--json").json["volumes"][0]["volume"]
    assert run("lock", mounted.path).code == 0
    options = f"{token[0][2:]}={token[1]},{token[2][2:]}={token[3]},{token[4][2:]}={token[5]}"
    assert run("mount", lower, mounted.path, "-o", options).code == 0
    assert (mounted.path / "a.txt").read_text() == "Dear colleague\n"
    assert run("lock", mounted.path).code == 0


# -- options ----------------------------------------------------------------------------------------------------


def test_options_that_do_not_go_together(volume: Made, elsewhere: Path) -> None:
    """Two secrets, half of one, one of another kind: refused before anything is asked or tried."""
    anna, public = ("--identity", elsewhere / "anna"), ("--recipient", elsewhere / "anna.pub")
    add = ("key", "add", volume.path, *cheap(volume), "--label", "x")
    for command, words in (
        (("cat", volume.path, "empty", *anna, *volume.secret), "more than one source"),
        (("cat", volume.path, "empty", *anna, "--key-file", elsewhere / "anna"), "key file goes with"),
        (("cat", volume.path, "empty", *anna, "--token", "pkcs11:"), "do not go together"),
        (("cat", volume.path, "empty", "--module", "/x.so"), "--module goes with --token"),
        ((*add, "--kind", "age"), "say where the new secret lies"),
        ((*add, "--kind", "passphrase", *public), "not for the kind passphrase"),
        ((*add, *public, "--new-token", "pkcs11:"), "do not go together"),
        ((*add, "--new-token", "pkcs11:token=x"), "--new-module PATH"),
        ((*add, *public, "--new-key-file", elsewhere / "k"), "the kind age has no key file"),
    ):
        refused(UsageError, words, *command)


def test_mount_options_of_kinds() -> None:
    """They are those of the table of kinds, and complete."""
    found = mount_options.parse(["identity=/run/id"]).secret
    assert (found.elsewhere, found.asks, found.given) == ({"identity": "/run/id"}, False, True)
    for text in ("module=/x.so", "identity=/i,token=pkcs11:", "identity=/i,passphrase-file=/p", "identity"):
        with pytest.raises(UsageError):
            mount_options.parse([text])


@pytest.mark.parametrize(
    ("missing", "extra", "options"),
    [("pyrage", "age", ("--identity", "/dev/null")), ("pkcs11", "pkcs11", ("--token", "pkcs11:", "--module", "/x.so"))],
)
def test_without_the_extra(volume: Made, missing: str, extra: str, options: tuple[str, ...]) -> None:
    """The message says how to install it, and everything else works."""
    program = ("-c", f"import sys; sys.modules[{missing!r}] = None\nfrom encfs.cli.main import main; main()")
    result = run("key", "test", volume.path, *options, program=program)
    assert (result.code, f"pip install 'cloakfs[{extra}]'" in result.err) == (ExitCode.FAILURE, True), result.err
    assert run("key", "test", volume.path, *cheap(volume), program=program).code == 0
