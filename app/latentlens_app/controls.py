"""The left column: what to run, and how far the run is.

In: a model's name and a prompt. Out: components. Knows nothing about runs.
"""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import html

from latentlens.models import SHIPPED
from latentlens.names import LENSES
from latentlens_app.asking import ITERATIONS
from latentlens_app.examples import FOR_WALKS, Example
from latentlens_app.style import aria

LENS_TITLES = {"coda": "Coda", "logit": "Logit"}
LENS_IN_FILE = "file"
"""The choice of a lens whose file is typed."""


def controls(model: str, prompt: str) -> html.Aside:
    """Everything that describes a run, with Run and Cancel."""
    return html.Aside(
        [
            html.H2("Ask", className="hidden"),
            dmc.Textarea(
                id="prompt",
                label="Prompt",
                value=prompt,
                autosize=True,
                minRows=4,
                maxRows=9,
                spellCheck=False,
            ),
            html.Div(example_buttons(FOR_WALKS), id="examples", className="pills", hidden=model != "walks"),
            dmc.Autocomplete(
                id="model",
                label="Model",
                description="a name, a folder, a hub id or a .gguf file",
                value=model,
                data=sorted({*SHIPPED, model}),
            ),
            html.Div(id="about", className="about", role="note", **aria(label="The model", live="polite")),
            _numbers(model),
            *_lens_picker(),
            html.Div(
                [
                    dmc.Button("Run", id="run", fullWidth=True, **aria(keyshortcuts="Control+Enter")),
                    dmc.Button("Cancel", id="cancel", variant="default", disabled=True),
                ],
                className="buttons",
            ),
            progress(),
        ],
        className="controls",
        **aria(label="What to run"),
    )


def _numbers(model: str) -> html.Div:
    """How often to iterate, and what `s_0` is drawn from."""
    return html.Div(
        [
            dmc.NumberInput(
                id="iterations",
                label="Iterations",
                value=ITERATIONS if model == "walks" else "",
                placeholder="its own",
                step=1,
                min=1,
                clampBehavior="none",
            ),
            dmc.NumberInput(id="seed", label="Seed", value=0, step=1, min=0, clampBehavior="none"),
        ],
        className="pair",
    )


def _lens_picker() -> list[Any]:
    """The lenses that need no file, those that are saved, and where a file is typed."""
    return [
        dmc.Select(
            id="lens",
            label="Lens",
            data=[
                *({"value": name, "label": LENS_TITLES.get(name, name)} for name in LENSES),
                {"value": LENS_IN_FILE, "label": "A saved lens…"},
            ],
            value=LENSES[0],
            allowDeselect=False,
        ),
        html.Div(
            dmc.TextInput(
                id="lens-file",
                label="File of the lens",
                placeholder="tuned.safetensors",
                value="",
                debounce=True,
                spellCheck=False,
            ),
            id="lens-file-box",
            hidden=True,
        ),
    ]


def example_buttons(examples: tuple[Example, ...]) -> list[html.Button]:
    """A button for each example of the shipped model, and one that makes another."""
    buttons = [
        html.Button(example.title, id={"type": "example", "index": index}, className="pill", title=example.prompt)
        for index, example in enumerate(examples)
    ]
    another = html.Button("Another random walk", id={"type": "example", "index": -1}, className="pill another")
    return [*buttons, another]


def progress() -> html.Div:
    """How far the run is."""
    return html.Div(
        [
            dmc.ProgressRoot(
                dmc.ProgressSection(id="progress", value=0, **aria(label="Progress of the run")), size="sm"
            ),
            html.P(id="progress-text", className="hint", role="status"),
        ],
        id="progress-box",
        className="progress idle",
    )
