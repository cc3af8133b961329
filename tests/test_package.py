"""The package as a whole: light to import, every name documented, every family listed, every import one way."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import latentlens as ll

ROOT = Path(__file__).parent.parent
MODULES = [m.name for m in pkgutil.walk_packages(ll.__path__, "latentlens.")]


def test_importing_latentlens_loads_neither_torch_nor_dash_nor_plotly():
    heavy = {"torch", "transformer_lens", "dash", "plotly", "matplotlib", "xarray", "numpy", "sklearn", "umap", "zarr"}
    code = f"import sys, latentlens; print(sorted({heavy!r} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


def test_every_submodule_imports_and_every_public_name_is_there_afterwards():
    for module in MODULES:
        importlib.import_module(module)
    for name in ll.__all__:
        assert getattr(ll, name) is not None
        # No module bears the name of a public function: it would shadow it.
        assert f"latentlens.{name}" not in MODULES or inspect.ismodule(getattr(ll, name))
    assert set(ll.__all__) <= set(dir(ll))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = ll.nothing


@pytest.mark.parametrize("name", [n for n in ll.__all__ if not inspect.ismodule(getattr(ll, n))])
def test_every_public_name_has_a_docstring(name):
    thing = getattr(ll, name)
    if inspect.isclass(thing) or inspect.isfunction(thing):
        assert thing.__doc__
    for method, function in vars(thing).items() if inspect.isclass(thing) else []:
        if inspect.isfunction(function) and not method.startswith("_"):
            documented = function.__doc__ or any(
                getattr(base, method).__doc__ for base in thing.__mro__[1:] if hasattr(base, method)
            )
            assert documented, f"{name}.{method}"


def test_every_module_says_what_comes_in_and_what_goes_out():
    for name in MODULES:
        document = importlib.import_module(name).__doc__
        assert document, name


def test_every_family_file_is_in_the_visible_tuple():
    listed = {family.module for family in ll.models.FAMILIES}
    shared = {
        "base",
        "native",
        "checkpoint",
        "loading",
        "parts",
        "tokens",
        "hooked",
        "looping",
        "describing",
        "gguf_files",
        "pretrained",
        "wrapping",
        "watching",
        "bridges",
        "remote",
    }
    files = {p.stem for p in (ROOT / "latentlens" / "models").glob("*.py")} - shared - {"__init__"}
    assert {f"latentlens.models.{stem}" for stem in files} == listed


def test_the_distribution_is_not_called_like_the_unrelated_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "latentlens-trajectories"
    assert project["version"] == ll.__version__


def test_no_file_is_longer_than_four_hundred_lines():
    long = [
        p
        for folder in ("latentlens", "app")
        for p in (ROOT / folder).rglob("*.py")
        if len(p.read_text().splitlines()) > 400
    ]
    assert long == []
