"""What starting costs: the command's help and the bare import, beside a bare python."""

from __future__ import annotations

import subprocess
import sys


def python(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def test_help_beside_bare_python(benchmark):
    benchmark(python, "-m", "latentlens.cli", "--help")


def test_import_beside_bare_python(benchmark):
    benchmark(python, "-c", "import latentlens")


def test_bare_python(benchmark):
    benchmark(python, "-c", "pass")
