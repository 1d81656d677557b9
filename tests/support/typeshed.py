"""Which names a module of the standard library has on another system, as typeshed (which mypy carries) tells it."""

from __future__ import annotations

import ast
import importlib.util
from functools import cache
from pathlib import Path
from types import SimpleNamespace


def _stdlib() -> Path:
    found = importlib.util.find_spec("mypy")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "typeshed" / "stdlib"


@cache
def names(module: str, platform: str, version: tuple[int, int] = (3, 11)) -> frozenset[str]:
    """The public names of a module, such as ``os``, on ``win32``, ``darwin`` or ``linux``."""
    path = _stdlib() / module
    stub = path / "__init__.pyi" if path.is_dir() else path.with_suffix(".pyi")
    system = SimpleNamespace(platform=platform, version_info=version)
    found: set[str] = set()
    pending: list[ast.stmt] = list(ast.parse(stub.read_text(encoding="utf-8")).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If):
            holds = eval(compile(ast.Expression(node.test), str(stub), "eval"), {"sys": system})
            pending += node.body if holds else node.orelse
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
    if "*" in found:
        found |= _starred(module, platform, version)
    return frozenset(name for name in found if name == "path" or not name.startswith("_"))


def _starred(module: str, platform: str, version: tuple[int, int]) -> frozenset[str]:
    """``socket`` and ``signal`` take most of their names from a module with an underscore."""
    return names(f"_{module}", platform, version)
