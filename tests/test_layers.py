"""The layers of encfs/ (CONTRIBUTING.md, "Layers"), read from the source and enforced.

``LAYERS`` is the table: what each part of encfs/ may import, from us and from elsewhere. A part that is not
in it fails, so the table stays complete. ``violations`` looks at one module's syntax tree, and the tests at
the end show that it catches what it should.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "encfs"

# What code without I/O may use of the standard library: shapes, numbers and text, nothing that can look outside.
PURE_STDLIB = frozenset(
    {"__future__", "abc", "array", "base64", "binascii", "bisect", "collections", "contextlib", "dataclasses", "enum"}
    | {"functools", "itertools", "json", "math", "operator", "re", "string", "struct", "types", "typing"}
    | {"unicodedata"}
)
# Outside encfs/crypto nobody needs these: randomness and primitives come through it, and pickled data runs code.
CRYPTO_STDLIB = frozenset({"hashlib", "hmac", "random", "secrets", "ssl"})
# Single modules that may all the same, and no other of their layer: the one place that speaks TLS.
MODULES_ALSO = {"encfs.audit.link": frozenset({"ssl"})}
NEVER = frozenset({"marshal", "pickle", "shelve", "imp", "importlib"})
# Builtins that reach outside or import by name.
IO_BUILTINS = frozenset({"open", "print", "input", "breakpoint", "exec", "eval"})


@dataclass(frozen=True, slots=True)
class Layer:
    """What one part of encfs/ may import at all, and what only inside a function (``late``)."""

    ours: frozenset[str] = frozenset()
    late: frozenset[str] = frozenset()
    foreign: frozenset[str] = frozenset()
    stdlib: frozenset[str] | None = None  # None: all but CRYPTO_STDLIB and NEVER
    also: frozenset[str] = frozenset()  # of those two sets, allowed here
    pure: bool = False  # no builtin that does I/O either


BASE = frozenset({"checks", "errors", "units"})

LAYERS: dict[str, Layer] = {
    # encfs/__init__.py: the version, no imports at all.
    "encfs": Layer(stdlib=frozenset(), pure=True),
    "__main__": Layer(ours=frozenset({"cli"})),
    "errors": Layer(stdlib=PURE_STDLIB, pure=True),
    "units": Layer(stdlib=PURE_STDLIB, pure=True),
    # Traffic lights: words for whatever looks at something, and for cli.
    "checks": Layer(stdlib=PURE_STDLIB, pure=True),
    # Why and when mounts lock: words for host, fuse and cli.
    "locking": Layer(ours=frozenset({"happenings"}), stdlib=PURE_STDLIB, pure=True),
    # What happens to files and keys of a mount: words for volume, fuse, audit and cli.
    "happenings": Layer(stdlib=PURE_STDLIB, pure=True),
    # How things are spelled for people; time: the local zone.
    "wording": Layer(stdlib=PURE_STDLIB | {"contextvars", "time"}, pure=True),
    # Which paths and names Windows allows, as text.
    "hostpaths": Layer(stdlib=PURE_STDLIB | {"ntpath"}, pure=True),
    # What a failure means to whoever called a command.
    "outcomes": Layer(ours=frozenset({"errors", "wording"}), stdlib=PURE_STDLIB | {"errno"}, pure=True),
    # Where sockets and logs of this host are: for fuse and cli, which meet there.
    "runtime": Layer(),
    # The client of the control socket of a mount: for backup and cli.
    "control": Layer(ours=BASE | {"runtime"}),
    "crypto": Layer(
        ours=BASE,
        foreign=frozenset({"argon2", "cryptography", "rfc3161_client"}),
        also=frozenset({"hashlib", "hmac"}),
    ),
    "format": Layer(ours=BASE, stdlib=PURE_STDLIB, pure=True),
    "core": Layer(ours=BASE | {"crypto", "format"}, stdlib=PURE_STDLIB, pure=True),
    # Slots whose secret lies elsewhere; what a kind needs is loaded when it is used.
    "kinds": Layer(ours=BASE | {"crypto", "format", "core"}, foreign=frozenset({"pyrage", "pkcs11"})),
    "store": Layer(ours=BASE | {"hostpaths"}),
    # Core dumps, locked memory, what freed objects leave, swap.
    "memory": Layer(),
    "volume": Layer(ours=BASE | {"happenings", "locking", "wording", "crypto", "format", "core", "store"}),
    # What this host remembers of volumes: it meets the volume in cli, through a protocol.
    "host": Layer(ours=BASE | {"runtime", "locking", "crypto", "format"}),
    # The audit log of this host; what is recorded is given to it.
    "audit": Layer(ours=BASE | {"happenings", "runtime", "wording", "crypto", "format", "core", "store"}),
    # What this host writes down for people: media, exceptions, incidents; each change is in the audit log too.
    "registers": Layer(ours=BASE | {"runtime", "wording", "crypto", "format", "core", "store", "audit"}),
    # Backups of volumes: engines, plans, restores; how it is asked for and shown is cli's.
    "backup": Layer(
        ours=BASE
        | {"encfs", "runtime", "wording", "crypto", "format", "core", "store", "audit", "registers", "volume", "host"}
        | {"control", "sheets", "stick"},
    ),
    # What can be shown of volumes: facts put together, judged, signed and told; the terminal is cli's.
    "evidence": Layer(
        ours=BASE
        | {"encfs", "runtime", "wording", "locking", "memory", "crypto", "format", "core", "store", "audit", "host"}
        | {"registers", "sheets", "doctor", "volume", "share", "stick", "backup"},
    ),
    # What a medium is and what lies on it, but for what is sealed.
    "stick": Layer(ours=BASE | {"format"}),
    # What a host and a volume without its keys are like, and what follows: facts come from a root that tests choose.
    "doctor": Layer(ours=BASE | {"wording", "format", "core", "memory"}),
    # Measures volumes and mounts from outside; how a mount is made is given to it.
    "bench": Layer(ours=BASE | {"crypto", "format", "core", "volume"}, foreign=frozenset({"matplotlib"})),
    # Paper: made of what cli gives it, and given back as bytes.
    "sheets": Layer(
        ours=BASE | {"wording", "format"},
        foreign=frozenset({"fontTools", "fpdf", "pymupdf_fonts", "segno", "shamir_mnemonic"}),
    ),
    # What a Samba share over a mount must look like, and whether it does; what is mounted is told to it.
    "share": Layer(ours=BASE),
    "fuse": Layer(
        ours=BASE | {"runtime", "happenings", "locking", "format", "memory", "volume"},
        foreign=frozenset({"jeepney", "pyfuse3", "trio"}),
    ),
    "cli": Layer(
        ours=BASE
        | {"encfs", "runtime", "locking", "wording", "outcomes", "memory", "crypto", "format", "core", "kinds"}
        | {"volume", "host", "audit", "backup", "bench", "doctor", "evidence", "registers", "share", "sheets", "stick"}
        | {"control", "happenings"},
        late=frozenset({"fuse"}),
        foreign=frozenset({"click", "rich", "zxcvbn"}),
        also=frozenset({"importlib"}),  # loads one command's module when that command runs
    ),
    # The portable reader: what a plain Python has, on every system.
    "reader": Layer(
        ours=BASE | {"encfs", "wording", "outcomes", "hostpaths", "crypto", "format", "core", "volume", "sheets"},
        also=frozenset({"hashlib"}),  # to know its wheels before there is any cryptography
    ),
}

# The one place that asks the kernel for randomness, and the only one in crypto/ that makes system calls.
RNG = "encfs.crypto.rng"


def layer_of(module: str) -> str:
    """The part of encfs/ that a module belongs to: ``encfs.core.cells`` is in ``core``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def imports(tree: ast.Module) -> Iterator[tuple[ast.stmt, str, bool]]:
    """Every import of a module: the statement, the full name, and whether it runs when the module is loaded."""

    def walk(node: ast.AST, *, at_load: bool) -> Iterator[tuple[ast.stmt, str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((child, alias.name, at_load) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = "." * child.level + (child.module or "")
                yield from ((child, f"{base}.{alias.name}", at_load) for alias in child.names)
            else:
                function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                types_only = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
                yield from walk(child, at_load=at_load and not function and not types_only)

    yield from walk(tree, at_load=True)


def check_import(module: str, name: str, *, at_load: bool) -> str | None:
    """What is wrong with one import, or None."""
    layer = layer_of(module)
    rule = LAYERS[layer]
    if name.startswith("."):
        return f"relative import {name}"
    top, *rest = name.split(".")
    if top == "encfs":
        # "from encfs import __version__" is the package itself; anything else there is one of its parts.
        target = rest[0] if rest and rest[0] in LAYERS else "encfs"
        if target == layer or target in rule.ours or (target in rule.late and not at_load):
            return None
        return f"{layer} must import {target} inside a function" if target in rule.late else f"{layer} sees {target}"
    if top not in sys.stdlib_module_names:
        return None if top in rule.foreign else f"{layer} imports {top}"
    if rule.stdlib is not None:
        return None if top in rule.stdlib else f"{layer} imports {top}, which can reach outside"
    if top == "os" and layer == "crypto" and module != RNG:
        return "crypto imports os outside rng.py"
    if top in (CRYPTO_STDLIB | NEVER) - rule.also - MODULES_ALSO.get(module, frozenset()):
        return f"{layer} imports {top}"
    return None


def check_use(module: str, node: ast.AST) -> str | None:
    """What is wrong with one expression, or None."""
    rule = LAYERS[layer_of(module)]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id == "__import__":
            return "__import__ hides an import"
        if rule.pure and node.func.id in IO_BUILTINS:
            return f"{layer_of(module)} calls {node.func.id}()"
    if isinstance(node, ast.Attribute) and node.attr in {"urandom", "getrandom"} and module != RNG:
        return f"{node.attr} outside encfs/crypto/rng.py"
    return None


def violations(source: str, module: str) -> list[str]:
    """Everything in a module's source that its layer forbids, with line numbers."""
    if layer_of(module) not in LAYERS:
        return [f"{module}: this part of encfs/ is not in LAYERS: say there what it may import"]
    tree = ast.parse(source)
    found = [(node.lineno, check_import(module, name, at_load=load)) for node, name, load in imports(tree)]
    found += [(getattr(node, "lineno", 0), check_use(module, node)) for node in ast.walk(tree)]
    return [f"{module}:{line}: {problem}" for line, problem in found if problem]


def modules() -> list[tuple[str, Path]]:
    """All modules of encfs/ by their dotted name."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found.append((".".join(parts).removesuffix(".__init__"), path))
    return found


def test_the_layers_hold():
    """No module of encfs/ imports or uses what its layer may not."""
    found = [line for name, path in modules() for line in violations(path.read_text(encoding="utf-8"), name)]
    assert found == []


def test_every_layer_exists():
    """The table names no part that is gone."""
    assert set(LAYERS) == {layer_of(name) for name, _ in modules()}


def test_imports_never_go_in_a_circle_between_layers():
    """The table itself is a ladder: following its arrows never leads back."""
    remaining = {layer: (rule.ours | rule.late) - {layer, "encfs"} for layer, rule in LAYERS.items()}
    while remaining:
        bottom = {layer for layer, needs in remaining.items() if not needs & set(remaining)}
        assert bottom, f"these import each other: {sorted(remaining)}"
        remaining = {layer: needs for layer, needs in remaining.items() if layer not in bottom}


def test_a_mount_loads_nothing_that_draws():
    """Rich is loaded where something moves on a terminal, and by no daemon or script."""
    code = "import sys; import encfs.cli.main, encfs.cli.cmd_mount, encfs.fuse.daemon; print('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_sheets_are_loaded_without_what_makes_them():
    """What prints and splits is an optional part, and is imported by who prints or splits."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['fpdf', 'pymupdf_fonts', 'segno', 'shamir_mnemonic']))\n"
        "import encfs.sheets.sheets, encfs.sheets.shares\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_command_loads_without_fuse():
    """Loading the command line, and asking it for help, works where pyfuse3 and trio are not installed."""
    script = (
        "import sys; sys.modules.update(pyfuse3=None, trio=None)\n"
        "import encfs.cli.main, encfs.volume\n"
        "sys.argv = ['cloakfs', '--help']; encfs.cli.main.main()\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "create" in result.stdout


FORBIDDEN = [
    ("encfs.format.x", "import os"),
    ("encfs.format.x", "import encfs.crypto.kdf"),
    ("encfs.format.x", "from encfs import crypto"),
    ("encfs.format.x", "from cryptography.hazmat.primitives import hashes"),
    ("encfs.format.x", "import hashlib"),
    ("encfs.format.x", "def f(p):\n    return open(p)"),
    ("encfs.crypto.x", "from encfs.format import limits"),
    ("encfs.crypto.x", "import os"),
    ("encfs.core.x", "from time import time"),
    ("encfs.core.x", "import logging"),
    ("encfs.core.x", "import io"),
    ("encfs.core.x", "def f():\n    import os"),
    ("encfs.core.x", "import cryptography"),
    ("encfs.core.x", "from encfs.store.base import Store"),
    ("encfs.core.x", "print('x')"),
    ("encfs.core", "from ..store import base"),
    ("encfs.store.x", "from encfs.core.keys import KeyRing"),
    ("encfs.store.x", "import encfs.crypto"),
    ("encfs.store.x", "import secrets"),
    ("encfs.audit.x", "import ssl"),
    ("encfs.core.x", "import rfc3161_client"),
    ("encfs.store.x", "import os\nos.urandom(8)"),
    ("encfs.store.x", "__import__('trio')"),
    ("encfs.volume.x", "import trio"),
    ("encfs.volume.x", "import pyfuse3"),
    ("encfs.volume.x", "from encfs.fuse import mount"),
    ("encfs.volume.x", "from encfs.cli import main"),
    ("encfs.volume.x", "import pickle"),
    ("encfs.volume.x", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from encfs.fuse import mount"),
    ("encfs.fuse.x", "from encfs.core import cells"),
    ("encfs.fuse.x", "from encfs.store.local import LocalStore"),
    ("encfs.volume.x", "from encfs import runtime"),
    ("encfs.fuse.x", "import rich"),
    ("encfs.cli.x", "from encfs.fuse import mount"),
    ("encfs.cli.x", "try:\n    import encfs.fuse.mount\nexcept ImportError:\n    pass"),
    ("encfs.cli.x", "class A:\n    from encfs.fuse import mount"),
    ("encfs.cli.x", "def f():\n    import pyfuse3"),
    ("encfs.cli.x", "from encfs.store import local"),
    ("encfs.errors", "import encfs.units"),
    ("encfs.units", "import os"),
    ("encfs", "import sys"),
    ("encfs.sheets.x", "from encfs.core.slots import unlock"),
    ("encfs.sheets.x", "import encfs.volume"),
    ("encfs.sheets.x", "import secrets"),
    ("encfs.cli.x", "def f():\n    import shamir_mnemonic"),
    ("encfs.reader.x", "import click"),
    ("encfs.reader.x", "def f():\n    from encfs.cli import output"),
    ("encfs.reader.x", "from encfs.store.portable import PortableStore"),
    ("encfs.volume.x", "import encfs.reader"),
    ("encfs.wording", "import os"),
    ("encfs.nowhere.x", "import os"),
    ("encfs.core.x", "import tests.support"),
]

ALLOWED = [
    ("encfs.format.x", "import struct\nfrom encfs.errors import FormatError\nfrom encfs.format import limits"),
    ("encfs.core.x", "from encfs.crypto import rng\nfrom encfs.format.frame import Frame"),
    ("encfs.core.x", "class A:\n    def open(self): ...\n\nA().open()"),
    ("encfs.crypto.rng", "import os\nos.urandom(8)"),
    ("encfs.store.x", "import os, fcntl, errno"),
    ("encfs.audit.link", "import ssl"),
    ("encfs.fuse.x", "import pyfuse3, trio\nfrom encfs.volume import Volume"),
    ("encfs.cli.x", "import click\n\ndef mount():\n    from encfs.fuse import mount"),
    ("encfs.cli.x", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from encfs.fuse import mount"),
    ("encfs.cli.x", "from encfs import __version__"),
    ("encfs.__main__", "from encfs.cli.main import main"),
]


@pytest.mark.parametrize(("module", "source"), FORBIDDEN)
def test_a_module_that_breaks_the_layers_is_caught(module, source):
    """The check is not blind: each of these made-up modules is refused."""
    assert violations(source, module)


@pytest.mark.parametrize(("module", "source"), ALLOWED)
def test_a_module_that_keeps_to_its_layer_passes(module, source):
    """The check does not cry wolf."""
    assert violations(source, module) == []
