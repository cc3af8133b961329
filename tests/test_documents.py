"""The Python in the README and the how-to pages runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "how-to").glob("*.md"))]
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
