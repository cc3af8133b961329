"""The command line, called as a function."""

from __future__ import annotations

import re

from latentlens import cli


def run(capsys, *words: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of one command; bars of a slow machine are left out."""
    try:
        status = cli.main(list(words))
    except SystemExit as stop:
        status = int(stop.code or 0)
    out, err = capsys.readouterr()
    return status, out, re.sub(r"\r[^\r\n]*", "", err)
