"""How the dashboard looks where Python says so: theme, page frame, options of the graphs.

In: nothing. Out: plain data. The rest is in `assets/latentlens.css`.
"""

from __future__ import annotations

from typing import Any


def aria(**names: str) -> dict[str, Any]:
    """Accessible names and states as attributes of a component.

    >>> aria(label="Play", hidden="true")
    {'aria-label': 'Play', 'aria-hidden': 'true'}
    """
    return {f"aria-{name}": value for name, value in names.items()}


FONT = 'Inter, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
MONO = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace'

THEME: dict[str, Any] = {
    "primaryColor": "indigo",
    "primaryShade": {"light": 8, "dark": 8},
    "autoContrast": True,
    "fontFamily": FONT,
    "fontFamilyMonospace": MONO,
    "defaultRadius": "md",
    "cursorType": "pointer",
}

GRAPH: Any = {
    "showSendToCloud": False,
    "displaylogo": False,
    "displayModeBar": False,
    "responsive": True,
    "scrollZoom": False,
}

# The script runs before anything is drawn, so that a dark page never flashes white.
INDEX = """<!DOCTYPE html>
<html lang="en">
  <head>
    {%metas%}
    <title>{%title%}</title>
    {%favicon%}
    <script>
      (function () {
        var kept = null;
        try { kept = localStorage.getItem("mantine-color-scheme-value"); } catch (error) { /* storage is off */ }
        var dark = kept === "dark" || (kept !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
        document.documentElement.setAttribute("data-mantine-color-scheme", dark ? "dark" : "light");
      })();
    </script>
    {%css%}
  </head>
  <body>
    {%app_entry%}
    <footer>{%config%}{%scripts%}{%renderer%}</footer>
  </body>
</html>"""
