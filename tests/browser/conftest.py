"""The dashboard in a real Chromium: served from a thread, watched for errors and for requests that leave loopback."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from latentlens_app import create_app
from latentlens_app.examples import opening_prompt
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from werkzeug.serving import WSGIRequestHandler, make_server

import latentlens as ll
from latentlens.models import raven, walks
from latentlens.models.walks import files

EXAMPLE = opening_prompt("walks")
PATIENCE = 20_000
"""Milliseconds that a page may take, on a machine that is busy with something else."""
expect.set_options(timeout=PATIENCE)
QUIET = ("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run")
HOSTILE = ("<img/src=x/onerror=window.hacked=1>", "<b>bold</b>", "</script><script>window.hacked=2</script>", "$x^2$")


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict) -> dict:
    """The Chromium of this machine, or the one that LATENTLENS_BROWSER names."""
    names = (os.environ.get("LATENTLENS_BROWSER"), "chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if name and (found := shutil.which(name))), None)
    if path is None:
        pytest.fail("expected a Chromium to test the dashboard in, got none: install one, or set LATENTLENS_BROWSER")
    return {**browser_type_launch_args, "executable_path": path, "args": list(QUIET)}


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args: dict) -> dict:
    """A desktop window, and no motion unless a test is about motion."""
    size = {"width": 1440, "height": 900}
    return {**browser_context_args, "viewport": size, "reduced_motion": "reduce", "color_scheme": "light"}


class _Silent(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """No line a request."""


@contextmanager
def serving(model: str | ll.LatentModel, **options: Any) -> Iterator[str]:
    """The dashboard on a free port of this machine."""
    server = make_server("127.0.0.1", 0, create_app(model, **options).server, threaded=True, request_handler=_Silent)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    """Where the dashboard of the shipped model is."""
    with serving("walks") as address:
        yield address


@pytest.fixture(scope="session")
def slow_url() -> Iterator[str]:
    """The same with a model that takes its time, so that there is something to cancel."""
    model = ll.load("walks")
    model.transformer.adapter.register_forward_pre_hook(lambda *_: time.sleep(0.02))  # type: ignore[attr-defined]
    with serving(model) as address:
        yield address


@pytest.fixture(scope="session")
def hostile_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A random model whose words are markup."""
    folder = tmp_path_factory.mktemp("hostile")
    settings = {**files.config(32, 2, 64, 8), "vocab_size": 16, "padded_vocab_size": 16}
    empty, _ = raven.build(settings, {})
    draw = torch.Generator().manual_seed(0)
    shapes = {name: tensor.shape for name, tensor in empty.state_dict().items() if name != "lm_head.weight"}
    save_file(
        {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}, folder / "model.safetensors"
    )
    (folder / "config.json").write_text(json.dumps(settings))
    words = [*HOSTILE, *(f"{HOSTILE[0]}{number}" for number in range(11)), "[UNK]"]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    with serving(str(folder)) as address:
        yield address


@pytest.fixture(scope="session")
def lenses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tuned lens of the shipped model."""
    folder = tmp_path_factory.mktemp("lenses")
    lens = ll.TunedLens.fit(ll.load("walks"), walks.sample(8, 2, 1), iterations=16, epochs=1, progress=False)
    lens.save(folder / "mine.safetensors")
    return folder


@pytest.fixture(scope="session")
def lens_url(lenses: Path) -> Iterator[str]:
    """The dashboard with that folder."""
    with serving("walks", lenses=lenses) as address:
        yield address


DECODE = """
    const gd = (id) => document.querySelector(`#${id} .js-plotly-plot`);
    const decode = (values) => {  // plotly's own form of a typed array: base64 of its bytes
        if (!values.bdata) return [...values];
        const bytes = Uint8Array.from(atob(values.bdata), (c) => c.charCodeAt(0));
        return [...new {f4: Float32Array, f8: Float64Array, i2: Int16Array, i4: Int32Array}[values.dtype](bytes.buffer)];
    };
    const states = () => {  // of the chosen token: [position, iteration, x] each
        const trace = gd('map').data.find((t) => t.name === 'states'), x = decode(trace.x);
        const ids = decode(trace.customdata), width = ids.length / x.length;
        return x.map((value, i) => [ids[i * width + 1], ids[i * width + 2], value]);
    };
"""
"""What is in a graph, as a page's script reads it."""


class Dashboard:
    """A page with the dashboard, as a reader uses it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.strangers: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._check(request.url))

    def _check(self, address: str) -> None:
        if not address.startswith(("http://127.0.0.1:", "data:", "blob:")):
            self.strangers.append(address)

    def open(self, address: str) -> Dashboard:
        """Go there, and wait until a run is on the page."""
        self.page.goto(address)
        self.wait_for_tokens()
        return self

    def back_to_start(self) -> None:
        """Run the first example again, as if nothing had happened."""
        self.page.set_viewport_size({"width": 1440, "height": 900})
        close = self.page.get_by_role("button", name="Close")
        if close.is_visible():
            close.click()
        self.page.get_by_label("Iterations", exact=True).fill("16")
        for picker, value in (("lens", "Coda"), ("grid-color", "Entropy"), ("line-y", "Entropy")):
            self.pick(picker, value)
        if self.page.locator("#leaders").is_enabled():
            self.page.locator("#leaders").click()
        for choice in ("Shares", "2-D", "Iteration"):
            if not self.page.get_by_role("radio", name=choice, exact=True).is_checked():
                self.page.get_by_text(choice, exact=True).click()
        self.page.locator("#examples button").first.click()
        self.page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
        self.wait_for_tokens(EXAMPLE)
        self.is_on(len(EXAMPLE.split()) - 1)
        self.is_at(16)

    def pick(self, picker: str, value: str) -> None:
        """Choose from one of the pickers, if it says something else."""
        field = self.page.locator(f"#{picker}")
        if field.input_value() != value:
            field.click()
            self.page.get_by_role("option", name=value, exact=True).click()

    def wait_for_tokens(self, text: str | None = None) -> None:
        """Wait until the strip shows a run (and these tokens), with its pictures."""
        if text is None:
            expect(self.tokens.first).to_be_visible(timeout=PATIENCE)
        else:
            expect(self.tokens).to_have_count(len(text.split()), timeout=PATIENCE)
        drawn = """() => ['stream', 'map', 'grid'].every((id) => {
            const gd = document.querySelector(`#${id} .js-plotly-plot`);
            return gd && gd.data && gd.data.length > 0;
        })"""
        self.page.wait_for_function(drawn, timeout=PATIENCE)

    def run(self, prompt: str) -> None:
        """Type a prompt and run it."""
        self.page.get_by_label("Prompt", exact=True).fill(prompt)
        self.page.get_by_role("button", name="Run", exact=True).click()

    @property
    def tokens(self) -> Locator:
        """The buttons of the token strip."""
        return self.page.get_by_role("group", name="Tokens").get_by_role("button")

    @property
    def bars(self) -> Locator:
        """The rows of candidates that are shown at the playhead."""
        return self.page.get_by_role("list", name="Candidates at the playhead").get_by_role("listitem")

    @property
    def slider(self) -> Locator:
        """The playhead."""
        return self.page.get_by_role("slider", name="Iteration")

    def has_bar(self, text: str) -> None:
        """Wait until a visible row of the candidates says this."""
        expect(self.bars.filter(has_text=text).filter(visible=True)).not_to_have_count(0, timeout=PATIENCE)

    def has_top(self, text: str, chance: str) -> None:
        """Wait until the uppermost of the candidates is this one, with this probability."""
        top = """([text, chance]) => {
            const rows = [...document.querySelectorAll('#bars .bar')];
            const top = rows.find((row) => row.style.visibility !== 'hidden' && row.style.getPropertyValue('--place') === '0');
            const told = (name) => top.querySelector(name).textContent;
            return top && told('.bar-text') === text && told('.chance') === chance;
        }"""
        self.page.wait_for_function(top, arg=[text, chance], timeout=PATIENCE)

    def is_at(self, iteration: int) -> None:
        """Wait until every picture marks this iteration."""
        expect(self.slider).to_have_attribute("aria-valuenow", str(iteration), timeout=PATIENCE)
        expect(self.page.locator("#now-iteration")).to_have_text(f"Iteration {iteration}", timeout=PATIENCE)
        marked = (
            "(at) => {"
            + DECODE
            + """
            const lines = gd('stream').layout.shapes[0].x0 === at && gd('grid').layout.shapes[0].x0 === at - 0.5;
            const head = gd('map').data[gd('map').data.length - 1];
            const here = states().find(([position, iteration]) => iteration === at);
            return lines && head.name === 'playhead' && head.visible === true && here && Math.abs(decode(head.x)[0] - here[2]) < 1e-5;
        }"""
        )
        self.page.wait_for_function(marked, arg=iteration, timeout=PATIENCE)

    def is_on(self, position: int) -> None:
        """Wait until every picture shows this position."""
        expect(self.tokens.nth(position)).to_have_attribute("aria-pressed", "true", timeout=PATIENCE)
        marked = (
            "(position) => {"
            + DECODE
            + "return gd('grid').layout.shapes[1].y0 === position - 0.5 && states()[0][0] === position; }"
        )
        self.page.wait_for_function(marked, arg=position, timeout=PATIENCE)

    def lonely_state(self) -> tuple[float, float, int, int]:
        """A state on the map that has the most room around it: where it is on the screen, and which it is."""
        find = (
            "() => {"
            + DECODE
            + """
            const graph = document.querySelector('#map .js-plotly-plot');
            const number = graph.data.findIndex((trace) => trace.name === 'states of other tokens');
            const dots = [...graph.querySelectorAll('.scatterlayer .trace')][number].querySelectorAll('.points path');
            const frame = graph.querySelector('.nsewdrag').getBoundingClientRect();
            const middle = (dot) => {
                const box = dot.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2];
            };
            const ids = decode(graph.data[number].customdata), width = ids.length / dots.length;
            const near = [...dots].map((dot, i) => [...middle(dot), ids[i * width + 1], ids[i * width + 2]]);
            const sight = ([x, y]) => y > Math.max(frame.y, 0) && y < Math.min(frame.bottom, window.innerHeight - 90);
            const room = (a) => Math.min(...near.filter((b) => b !== a).map((b) => Math.hypot(a[0] - b[0], a[1] - b[1])));
            return near.filter(sight).sort((a, b) => room(b) - room(a))[0];
        }"""
        )
        return tuple(self.page.evaluate(find))

    def click_cell(self, position: int, iteration: int) -> None:
        """Click on a cell of the grid, in the middle of the window."""
        where = """([position, iteration]) => {
            const graph = document.querySelector('#grid .js-plotly-plot');
            const count = graph.layout.yaxis.tickvals.length, width = graph.layout.xaxis.range[1] + 0.5;
            const top = graph.querySelector('.nsewdrag').getBoundingClientRect();
            window.scrollBy(0, top.y + top.height * (position + 0.5) / count - window.innerHeight / 2);
            const box = graph.querySelector('.nsewdrag').getBoundingClientRect();
            return [box.x + box.width * (iteration + 0.5) / width, box.y + box.height * (position + 0.5) / count];
        }"""
        x, y = self.page.evaluate(where, [position, iteration])
        self.page.mouse.move(x, y)
        self.page.mouse.click(x, y)


@pytest.fixture(scope="session")
def window(browser: Browser, browser_context_args: dict) -> Iterator[BrowserContext]:
    """One window for many tests: each opens a tab of its own, and what the page loads is compiled once."""
    context = browser.new_context(**browser_context_args)
    yield context
    context.close()


@pytest.fixture
def visit(browser: Browser, browser_context_args: dict, window: BrowserContext) -> Iterator[Callable[..., Dashboard]]:
    """Open a tab, in a window of its own where it has options; at the end nothing may have gone wrong."""
    opened: list[Dashboard] = []

    def start(address: str, *, wait: bool = True, **options: Any) -> Dashboard:
        context = browser.new_context(**{**browser_context_args, **options}) if options else window
        dashboard = Dashboard(context.new_page())
        opened.append(dashboard)
        if wait:
            return dashboard.open(address)
        dashboard.page.goto(address)
        return dashboard

    yield start
    for dashboard in opened:
        context = dashboard.page.context
        dashboard.page.close()
        if context is not window:
            context.close()
        assert dashboard.errors == []
        assert dashboard.strangers == []


@pytest.fixture(scope="session")
def tab(window: BrowserContext, url: str) -> Dashboard:
    """A tab that many tests use, one after the other, for a page takes long to load."""
    return Dashboard(window.new_page()).open(url)


@pytest.fixture
def dashboard(tab: Dashboard) -> Iterator[Dashboard]:
    """A page on the worked example, at its last token and iteration."""
    tab.back_to_start()
    yield tab
    assert tab.errors == []
    assert tab.strangers == []
