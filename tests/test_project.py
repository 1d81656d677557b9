"""What the documents and project files say is so: exit codes, named files, locked packages, scripts."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest

import encfs
from encfs.errors import ExitCode

TOP = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "THREAT_MODEL.md",
    "CHANGELOG.md",
    "docs/deb.md",
    "docs/fstab.md",
    "docs/json.md",
    "docs/control.md",
    "docs/findings.md",
    "docs/reader.md",
    "docs/share.md",
    "docs/stick.md",
    "docs/index.md",
    "docs/faq.md",
    "docs/recovery.md",
    "docs/troubleshooting.md",
    "docs/doctor.md",
    "docs/stick-enforce.md",
]
LOCKS = [
    "requirements.lock",
    "requirements-build.lock",
    "requirements-deb.lock",
    "requirements-docs.lock",
    "requirements-fuzz.lock",
]


def read(name):
    """The text of one of the project's files."""
    return (TOP / name).read_text(encoding="utf-8")


def test_readme_lists_the_exit_codes():
    """The README's table has every exit code with its name, and no other."""
    listed = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", read("README.md"), re.MULTILINE)
    assert [(int(number), name) for number, name in listed] == [(code.value, code.name) for code in ExitCode]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_name_files_that_exist(document):
    """Every path of this project that a document names in backquotes is there."""
    places = r"(?:tools|docs|encfs|tests|benchmarks|\.ci)/[\w./-]*|[A-Z_]+\.md|systemd/[\w./-]+"
    named = re.findall(rf"`({places})`", read(document))
    base = [TOP, (TOP / document).parent]
    assert [path for path in named if not any((folder / path).exists() for folder in base)] == []


def test_changelog_has_the_version():
    """The version in the code is the one that the changelog is about."""
    assert re.search(rf"^## .*{re.escape(encfs.__version__)}", read("CHANGELOG.md"), re.MULTILINE)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_one_version_and_hashes(lock):
    """Nothing in a lock file is open, and nothing in it says where packages come from."""
    text = re.sub(r"^\s*#.*\n", "", read(lock), flags=re.MULTILINE)
    entries = [entry for entry in re.split(r"(?<!\\)\n", text) if entry.strip()]
    assert entries
    assert [e for e in entries if not re.match(r"[a-z0-9.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", e, re.DOTALL)] == []
    assert "//" not in read(lock)


def test_what_the_project_needs_is_locked():
    """Every dependency in pyproject.toml, with the extras, is in the lock file."""
    project = tomllib.loads(read("pyproject.toml"))["project"]
    wanted = [
        *project["dependencies"],
        *(need for extra in project["optional-dependencies"].values() for need in extra),
    ]
    names = {re.match(r"[A-Za-z0-9._-]+", need).group().lower() for need in wanted}
    assert names <= set(re.findall(r"^([a-z0-9._-]+)==", read("requirements.lock"), re.MULTILINE))


@pytest.mark.parametrize(
    "script", sorted(p for p in (*TOP.glob("tools/*"), TOP / ".ci/run") if p.is_file()), ids=lambda p: p.name
)
def test_scripts_can_be_run_and_stop_at_errors(script):
    """Each program under tools/ can be executed; those in bash stop at the first error."""
    text = script.read_text(encoding="utf-8")
    if text.startswith("#!"):
        assert os.access(script, os.X_OK)
    if text.startswith("#!/usr/bin/env bash"):
        assert "\nset -euo pipefail\n" in text


def test_the_debian_package_holds_what_was_tested():
    """Each Python package in it is locked in the version, with the hashes, that the tests ran with."""

    def entries(name):
        return re.findall(r"^[a-z0-9.-]+==(?:.*\\\n)+.*$", read(name), re.MULTILINE)

    packed = entries("requirements-deb.lock")
    assert {"pyfuse3", "cryptography", "pyrage", "fpdf2"} <= {entry.split("==")[0] for entry in packed}
    assert set(packed) <= set(entries("requirements.lock"))
