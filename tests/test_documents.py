"""The Python in the README and the how-to pages runs as it stands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import latentlens as ll

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*/*.md"))]
WITH_CODE = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize("document", WITH_CODE, ids=lambda path: path.name)
def test_the_code_on_a_page_runs(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks
    exec(compile("\n".join(blocks), str(document), "exec"), {"__name__": "page"})
    for name in re.findall(r'\.save\("([^"]+)"', "".join(blocks)):
        assert (tmp_path / name).stat().st_size > 0


@pytest.mark.parametrize("document", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_every_link_to_a_file_leads_somewhere(document):
    targets = [t for t in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")) if "://" not in t]
    assert targets
    assert [t for t in targets if not (ROOT / t).exists()] == []


def named_block(text: str, name: str) -> str:
    found = re.search(rf"```{{code-block}} python\n:name: {name}\n\n(.*?)```", text, flags=re.DOTALL)
    assert found, name
    return found[1]


def test_the_page_that_says_how_to_add_a_family_adds_one(tmp_path):
    page = (ROOT / "docs" / "how-to" / "add-a-family.md").read_text(encoding="utf-8")
    shutil.copytree(ROOT / "latentlens", tmp_path / "latentlens", ignore=shutil.ignore_patterns("__pycache__"))
    models = tmp_path / "latentlens" / "models"
    (models / "halver.py").write_text(named_block(page, "file"))
    listed = (models / "__init__.py").read_text()
    entry = named_block(page, "entry")
    (models / "__init__.py").write_text(listed.replace("FAMILIES = (\n", f"FAMILIES = (\n{entry}", 1))
    command = [sys.executable, "-c", named_block(page, "contract")]
    told = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(tmp_path)}
    )
    assert told.stdout == "the contract holds\n", told.stderr
    told = subprocess.run(
        [sys.executable, "-m", "latentlens.cli", "models"], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert "family   halver" in told.stdout


def test_every_family_has_a_page_with_its_formula():
    for family in ll.models.FAMILIES:
        page = (ROOT / "docs" / "families" / f"{family.name.replace('_', '-')}.md").read_text(encoding="utf-8")
        assert "$$" in page, family.name
        assert "s_0" in page, family.name
