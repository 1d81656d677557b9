"""The Debian package on a clean Debian: installed, used for real, upgraded, removed, purged (docs/deb.md)."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.packaging.conftest import build
from tests.support.clean_debian import CleanDebian

pytestmark = [
    pytest.mark.slow,
    pytest.mark.mount,
    pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="no /dev/fuse"),
]
TOP = Path(__file__).resolve().parents[2]
MOUNT = "mount -t fuse.cloakfs /srv/vault /srv/plain -o passphrase-file=/root/passphrase"


def test_the_same_source_gives_the_same_bytes(package: Path, tmp_path: Path) -> None:
    """Built again in another place, the package is the same to the last bit."""
    first = shutil.copy(package, tmp_path)
    checkout = tmp_path / "elsewhere"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        if (TOP / name).exists():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TOP / name, checkout / name)
    # Its packages are there; the set-up would only look for them again.
    (checkout / "tools/setup").write_text("#!/bin/sh\n")
    assert build(checkout).read_bytes() == Path(first).read_bytes()


@pytest.mark.skipif(shutil.which("lintian") is None, reason="no lintian")
def test_lintian_has_nothing_to_say(package: Path) -> None:
    """Neither errors nor warnings but those that packaging/deb/lintian-overrides gives a reason for."""
    done = subprocess.run(["lintian", "--allow-root", package], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    without_page = [] if (TOP / "docs/man/cloakfs.1").exists() else ["W: cloakfs: no-manual-page [usr/bin/cloakfs]"]
    assert re.findall(r"^[EW]: .*", done.stdout, re.MULTILINE) == without_page


def test_from_installing_to_purging(debian: CleanDebian, package: Path) -> None:
    """A volume is made, mounted, written, survives an upgrade and a refused removal, and outlives the package."""
    debian.run("apt-get -q update")
    debian.run(f"apt-get -q -y install --no-install-recommends /root/{package.name}")
    debian.run("dpkg -V cloakfs && cloakfs --version")
    _documents(debian)
    _nobody_else_gets_in(debian)

    debian.run("umask 077 && echo 'four unrelated words here' >/root/passphrase && mkdir -p /srv/plain")
    debian.run(
        "cloakfs create /srv/vault --passphrase-file /root/passphrase --no-recovery --kdf-memory 64M --kdf-passes 3"
    )
    debian.run(f"{MOUNT} && echo 'Dear colleague' >/srv/plain/letter && mkdir /srv/plain/folder")

    refused = debian.run("apt-get -q -y remove cloakfs", code=100)
    assert "  /srv/plain\n" in refused
    assert "cloakfs lock --all" in refused
    assert (
        debian.run("dpkg-query -W -f '${Status}' cloakfs && cat /srv/plain/letter")
        == "install ok installedDear colleague\n"
    )

    _newer(debian, package)
    debian.run("apt-get -q -y install --no-install-recommends /root/newer.deb")
    debian.run("echo more >>/srv/plain/letter && mv /srv/plain/letter /srv/plain/folder && cloakfs lock /srv/plain")
    assert debian.run("ls -A /srv/plain") == ""
    debian.run("cloakfs verify /srv/vault --passphrase-file /root/passphrase")
    assert debian.run(f"{MOUNT} && cat /srv/plain/folder/letter && cloakfs lock /srv/plain").startswith(
        "Dear colleague\nmore\n"
    )

    everything = "find /srv /var/lib/cloakfs -type f -exec sha256sum {} + | sort"
    before = debian.run(everything)
    assert "/srv/vault/cloakfs.volume" in before
    debian.run("mkdir -p /etc/systemd/system/sleep.target.wants")
    debian.run("ln -s /usr/lib/systemd/system/cloakfs-lock.service /etc/systemd/system/sleep.target.wants/")
    debian.run("apt-get -q -y remove cloakfs")
    assert debian.run("ls -d /usr/lib/cloakfs /usr/bin/cloakfs /usr/share/doc/cloakfs 2>/dev/null || true") == ""
    debian.run("apt-get -q -y purge cloakfs")
    assert debian.run("ls /etc/systemd/system/sleep.target.wants") == ""
    assert debian.run("dpkg-query -W cloakfs 2>&1 || true").startswith("dpkg-query: no packages found")
    assert debian.run(everything) == before


def _documents(debian: CleanDebian) -> None:
    """What the checkout has of manual pages, completion, units and documents is where programs look for it."""
    pages = [*(TOP / "docs/man").glob("*.[1-8]"), TOP / "packaging/deb/mount.fuse.cloakfs.8"]
    expected = [f"/usr/share/man/man{page.suffix[1:]}/{page.name}.gz" for page in pages]
    completion = {
        "cloakfs.bash": "/usr/share/bash-completion/completions/cloakfs",
        "_cloakfs": "/usr/share/zsh/vendor-completions/_cloakfs",
        "cloakfs.fish": "/usr/share/fish/vendor_completions.d/cloakfs.fish",
    }
    expected += [to for name, to in completion.items() if (TOP / "docs/completion" / name).exists()]
    expected += [f"/usr/share/doc/cloakfs/docs/{page.name}" for page in (TOP / "docs").glob("*.md")]
    expected += ["/usr/share/cloakfs/cloakfs-reader.pyz"]
    expected += ["/usr/lib/systemd/system/cloakfs-lock.service", "/usr/lib/systemd/user/cloakfs-lock.service"]
    expected += ["/usr/share/doc/cloakfs/" + name for name in ("README.md", "copyright", "changelog.Debian.gz")]
    assert set(expected) <= set(debian.run("dpkg -L cloakfs").splitlines())
    shipped = debian.run("zcat /usr/share/man/man8/mount.fuse.cloakfs.8.gz")
    assert "\n.SH NAME\nmount.fuse.cloakfs " in shipped


def _nobody_else_gets_in(debian: CleanDebian) -> None:
    """Modules in the working directory, in PYTHONPATH or of the user are not loaded."""
    debian.run("mkdir -p /root/evil/encfs /root/.local/lib/python3.11/site-packages")
    debian.run("echo 'raise SystemExit(\"evil\")' | tee /root/evil/encfs/__init__.py /root/evil/click.py >/dev/null")
    debian.run("cp /root/evil/click.py /root/.local/lib/python3.11/site-packages/sitecustomize.py")
    said = debian.run("cd /root/evil && PYTHONPATH=/root/evil PYTHONSTARTUP=/root/evil/click.py cloakfs --version")
    assert re.fullmatch(r"cloakfs \d+\.\d+\.\d+\n", said)


def _newer(debian: CleanDebian, package: Path) -> None:
    """The same package under a higher version, at /root/newer.deb."""
    debian.run(
        f"cd /root && dpkg-deb -R {package.name} newer && sed -i 's/^Version: .*/&.1/' newer/DEBIAN/control && "
        "dpkg-deb -Znone -b newer newer.deb && rm -r newer"
    )
