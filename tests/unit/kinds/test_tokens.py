"""encfs/kinds: PKCS#11 URIs, and keys on a real SoftHSM token (FORMAT.md section 4.1)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pkcs11 as library
import pytest

from encfs.core import config as core_config
from encfs.core.key_changes import add_slot
from encfs.core.sources import NewSlot
from encfs.crypto import p256
from encfs.crypto.kdf import extract_expand
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import FormatError, SlotDamagedError, TokenError, UsageError, WrongPinError, WrongSecretError
from encfs.format import base64url
from encfs.format.canonical import b64, canonical_json
from encfs.format.slots import Kdf, KdfAlg, Slot
from encfs.kinds import KINDS, Given, Made, token_uri
from encfs.kinds.token import Session, Token
from encfs.kinds.token import tokens as present_tokens
from encfs.kinds.token_uri import TokenUri
from tests.support import tokens

KIND = KINDS["pkcs11"]
OFF_CURVE = b"\4" + bytes(31) + b"\1" + bytes(31) + b"\1"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with the tokens "one" and "two" in it, and the file "pin"."""
    directory = tmp_path_factory.mktemp("tokens")
    with tokens.soft_tokens(directory):
        for label in ("one", "two"):
            tokens.add(directory, label)
        (directory / "pin").write_text(tokens.PIN + "\n")
        yield directory


def given(directory: Path, prefix: str, uri: str, **more: str) -> Given:
    """Options with the right PIN; ``prefix`` is "new-" for a new slot."""

    def ask(prompt: str, *, hint: str) -> str:
        raise AssertionError(prompt + hint)

    values = {"token": uri, "module": tokens.module(), "pin-file": str(directory / "pin"), **more}
    return Given({prefix + name: value for name, value in values.items()}, tokens.read, ask)


def slot_of(made: Made) -> Slot:
    """As it would stand in a config."""
    new = NewSlot(kind="pkcs11", label="x", kdf=Kdf(KdfAlg.NONE), secret=made.secret, data=made.data)
    return add_slot(core_config.new_config(CLOAKFS_1, created=1), new, created=2).config.slots[-1]


# -- URIs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("pkcs11:", TokenUri()),
        ("pkcs11:token=My%20token;object=a%2Fb;id=%00%ff", TokenUri(token="My token", object="a/b", id=b"\0\xff")),
        ("pkcs11:object=k;type=private;serial=01", TokenUri(object="k", serial="01")),
        ("pkcs11:manufacturer=M;model=%C3%BC", TokenUri(manufacturer="M", model="ü")),
    ],
)
def test_uris(text: str, meant: TokenUri) -> None:
    """What tools print is understood, and what is written is read again."""
    assert token_uri.parse(text) == meant
    assert token_uri.parse(str(meant)) == meant


@pytest.mark.parametrize(
    "text",
    [
        *("", "token=x", "pkcs11:x", "pkcs11:x=y", "pkcs11:token=a;token=b", "pkcs11:token=%zz", "pkcs11:token=%ff"),
        *("pkcs11:type=cert", "pkcs11:token=a?pin-value=1234", "pkcs11:token=a?module-path=/tmp/x.so", "pkcs11:;"),
    ],
)
def test_no_uris(text: str) -> None:
    """A PIN or a library in a URI is refused like what is no URI at all, and the PIN is not repeated."""
    with pytest.raises(UsageError) as caught:
        token_uri.parse(text)
    assert "1234" not in str(caught.value)


# -- the agreement ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", [b"", b"\0", OFF_CURVE, b"\2" + bytes(32), bytes(65)])
def test_no_points(point: bytes) -> None:
    """What is not on the curve is refused, whatever its shape."""
    with pytest.raises(FormatError):
        p256.check_point(point)
    with pytest.raises(FormatError):
        p256.agree(point)


def test_the_secret_is_that_of_the_format(two: Path) -> None:
    """Section 4.1, computed here from what the token agrees on; the canonical data holds no secret."""
    made = KIND.make(given(two, "new-", "pkcs11:token=one;object=of the format"))
    fields = json.loads(made.data)
    assert canonical_json(fields) == made.data
    assert set(fields) == {"key", "peer", "uri"}
    uri = token_uri.parse(fields["uri"])
    assert (uri.token, uri.object, str(uri)) == ("one", "of the format", fields["uri"])
    (token,) = [one for one in present_tokens(tokens.module()) if one.uri.token == "one"]
    key, peer = (next(one for one in points(made) if b64(one) == fields[name]) for name in ("key", "peer"))
    with token.session(tokens.PIN) as session:
        common = session.agree(uri, peer)
    expected = extract_expand(salt=b"", ikm=common, info=b"cloakfs/1 pkcs11" + peer + key, length=32)
    assert made.secret.key == expected
    assert b64(expected).encode() not in made.data


def points(made: Made) -> list[bytes]:
    """The two points in the data of a slot."""
    fields = json.loads(made.data)
    return [base64url.decode(fields[name].encode()) for name in ("key", "peer")]


def test_a_token_is_asked_for_no_point_off_the_curve(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a point would make it tell about its private key: the slot is damaged, and nothing is asked."""
    slot = slot_of(KIND.make(given(two, "new-", "pkcs11:token=one;object=curve")))
    source = KIND.source(given(two, "", "pkcs11:token=one"), [slot])
    monkeypatch.setattr(Session, "agree", lambda *_: pytest.fail("the token was asked"))
    fields = json.loads(slot.data)
    for name in ("peer", "key"):
        with pytest.raises(SlotDamagedError):
            source.secret_for(replace(slot, data=canonical_json({**fields, name: b64(OFF_CURVE)})))


# -- keys on tokens ---------------------------------------------------------------------------------------------


def test_a_new_key_stays_on_the_token(two: Path) -> None:
    """It is sensitive and cannot be taken out; the same object again is the same key, with another secret."""
    first = KIND.make(given(two, "new-", "pkcs11:token=two;object=mine"))
    assert tokens.labels_on("two") == ["mine", "mine"]
    second = KIND.make(given(two, "new-", "pkcs11:token=two;object=mine"))
    assert tokens.labels_on("two") == ["mine", "mine"]
    assert points(first)[0] == points(second)[0]
    assert first.secret.key != second.secret.key
    second.undo()
    assert tokens.labels_on("two") == ["mine", "mine"]
    (token,) = [one for one in present_tokens(tokens.module()) if one.uri.token == "two"]
    with token.session(tokens.PIN) as session:
        (key,) = session._objects(TokenUri(object="mine"), library.ObjectClass.PRIVATE_KEY)
        assert key[library.Attribute.SENSITIVE]
        assert not key[library.Attribute.EXTRACTABLE]
        assert key[library.Attribute.LOCAL]
    first.undo()
    assert tokens.labels_on("two") == []


def test_a_key_that_was_made_for_nothing_goes_again(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it fails right after."""
    monkeypatch.setattr(p256, "agree", lambda _: (_ for _ in ()).throw(FormatError("no")))
    with pytest.raises(FormatError):
        KIND.make(given(two, "new-", "pkcs11:token=two"))
    assert tokens.labels_on("two") == []


def test_a_key_of_another_sort_is_refused(two: Path) -> None:
    """RSA, or a key that may not derive: told, and not used."""
    handle = library.lib(tokens.module())
    session = handle.get_token(token_label="two").open(rw=True, user_pin=tokens.PIN)
    for half in session.generate_keypair(library.KeyType.RSA, 2048, store=True, label="rsa", id=b"r"):
        assert half[library.Attribute.LABEL] == "rsa"
    session.close()
    handle.finalize()
    with pytest.raises(UsageError, match="P-256"):
        KIND.make(given(two, "new-", "pkcs11:token=two;object=rsa"))
    (token,) = [one for one in present_tokens(tokens.module()) if one.uri.token == "two"]
    with token.session(tokens.PIN, writable=True) as writable:
        writable.destroy(TokenUri(object="rsa"))


def test_which_token(two: Path) -> None:
    """One that fits neither slot nor URI is never asked; two that fit have to be told apart."""
    slots = [slot_of(KIND.make(given(two, "new-", f"pkcs11:token={label}"))) for label in ("one", "two")]
    with pytest.raises(UsageError) as caught:
        KIND.source(given(two, "", "pkcs11:"), slots)
    assert "token=one" in caught.value.hint
    assert "token=two" in caught.value.hint
    source = KIND.source(given(two, "", "pkcs11:token=two"), slots)
    assert source.secret_for(slots[0]) is None
    assert source.secret_for(slots[1]) is not None
    with pytest.raises(UsageError, match="more than one token"):
        KIND.make(given(two, "new-", "pkcs11:object=x"))
    with pytest.raises(WrongSecretError, match="no slot"):
        KIND.source(given(two, "", "pkcs11:token=three"), slots)
    with pytest.raises(TokenError, match="not there"):
        KIND.make(given(two, "new-", "pkcs11:token=three"))


def test_a_token_or_key_that_is_gone(two: Path, tmp_path: Path) -> None:
    """Each is told by its name; nothing is asked of another token."""
    made = KIND.make(given(two, "new-", "pkcs11:token=one;object=gone"))
    slot = slot_of(made)
    source = KIND.source(given(two, "", "pkcs11:"), [slot])
    made.undo()
    with pytest.raises(TokenError, match="no such key"):
        source.secret_for(slot)
    with tokens.soft_tokens(tmp_path):
        with pytest.raises(TokenError, match=r"not there: pkcs11:token=one"):
            KIND.source(given(two, "", "pkcs11:"), [slot])
        with pytest.raises(TokenError, match="not there any more"):
            source.secret_for(slot)
    with pytest.raises(TokenError, match=r"nowhere\.so"):
        KIND.source(given(two, "", "pkcs11:", module="/nowhere.so"), [slot])


# -- the PIN ----------------------------------------------------------------------------------------------------


def test_a_wrong_pin_is_tried_once(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One try for a config with two copies of a slot; with the right one the token is asked once, too."""
    made = KIND.make(given(two, "new-", "pkcs11:token=one;object=pin"))
    unlocked = core_config.new_config(CLOAKFS_1, created=1)
    new = NewSlot(kind="pkcs11", label="x", kdf=Kdf(KdfAlg.NONE), secret=made.secret, data=made.data)
    unlocked = add_slot(unlocked, new, created=2)
    raw = core_config.seal_config(CLOAKFS_1, unlocked.config, unlocked.root_key)
    (two / "wrong").write_text("9999")
    tries = []
    real = Token.session

    def counted(self: Token, pin: str, **more: bool) -> object:
        tries.append(pin)
        return real(self, pin, **more)

    monkeypatch.setattr(Token, "session", counted)
    wrong = KIND.source(given(two, "", "pkcs11:token=one", **{"pin-file": str(two / "wrong")}), unlocked.config.slots)
    with pytest.raises(WrongPinError, match="PIN of the token is wrong"):
        core_config.unlock([raw, raw], wrong)
    assert tries == ["9999"]
    assert "9999" not in repr(wrong)
    right = KIND.source(given(two, "", "pkcs11:token=one"), unlocked.config.slots)
    assert core_config.unlock([raw, raw], right).root_key == core_config.unlock([raw], right).root_key
    assert right.secret_for(unlocked.config.slots[-1]) == made.secret
    assert tries == ["9999", tokens.PIN]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (library.TokenFlag(0), ""),
        (library.TokenFlag.USER_PIN_COUNT_LOW, "a wrong PIN was given before"),
        (library.TokenFlag.USER_PIN_COUNT_LOW | library.TokenFlag.USER_PIN_FINAL_TRY, "only one try is left"),
        (library.TokenFlag.USER_PIN_FINAL_TRY | library.TokenFlag.USER_PIN_LOCKED, "locked"),
    ],
)
def test_tries_that_are_left(flags: library.TokenFlag, words: str) -> None:
    """The gravest of what a token says about its PIN."""
    warning = Token("", TokenUri(), int(flags)).warning()
    assert words in warning
    assert bool(warning) is bool(words)
