"""What a package offers at its front door is documented: every name, every method, every parameter."""

from __future__ import annotations

import importlib
import inspect
import re
from types import ModuleType

import pytest

import check_files
import monorepo

TREE = monorepo.read()
REFERENCE = re.compile(r"(?::(?:class|func|meth):`~?\.?|``|\bas (?:in )?)(?:\w+\.)*(\w+)")
GATHERED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def said(thing: object, door: ModuleType, *, follow: bool = True) -> str:
    """Its docstring, those of its constructor and of our own bases, and of the public names that it refers to."""
    texts = [getattr(thing, "__doc__", None) or ""]
    if inspect.isclass(thing):
        texts += [vars(each).get("__init__").__doc__ or "" for each in thing.__mro__ if "__init__" in vars(each)]
        texts += [base.__doc__ or "" for base in thing.__mro__[1:] if base.__module__.startswith(door.__name__)]
    if follow:
        for name in REFERENCE.findall(" ".join(texts)):
            other = getattr(door, name.split(".")[-1], None)
            texts += [said(other, door, follow=False)] if other is not None else []
    return " ".join(texts)


def silences(name: str, thing: object, door: ModuleType) -> list[str]:
    """What is not documented about one public name."""
    if not (inspect.isclass(thing) or inspect.isfunction(thing)):
        return []
    if not (thing.__doc__ or "").strip():
        return [f"{name} has no docstring"]
    found = []
    if inspect.isclass(thing):
        methods = [method for method, own in vars(thing).items() if inspect.isfunction(own) and method[0] != "_"]
        found += [f"{name}.{m} has no docstring" for m in methods if not inspect.getdoc(getattr(thing, m))]
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return found
    text = said(thing, door)
    words = [p.name for p in parameters if p.kind not in GATHERED and not p.name.startswith("_")]
    missing = [word for word in words if not re.search(rf"\b{re.escape(word)}\b", text)]
    return [*found, f"{name} says nothing of {', '.join(missing)}"] if missing else found


@pytest.mark.parametrize("package", sorted(TREE.names))
def test_the_front_door_is_documented(package: str) -> None:
    door = importlib.import_module(TREE[package].module)
    names = check_files.exported((TREE[package].source / "__init__.py").read_text(encoding="utf-8")) or []
    assert names
    assert [line for name in names for line in silences(name, getattr(door, name), door)] == []
