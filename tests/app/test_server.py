"""The app is made without loading anything, and serving refuses in one line what it cannot do."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from latentlens_app import create_app, serve
from latentlens_app.examples import opening_prompt
from latentlens_app.layout import page
from latentlens_app.style import GRAPH

import latentlens as ll


def test_making_the_app_loads_no_model_and_starts_no_thread():
    code = (
        "import threading, sys, latentlens_app; latentlens_app.create_app();"
        "print(threading.active_count(), 'latentlens.models.raven' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]


def test_no_graph_offers_to_upload_what_it_shows():
    assert GRAPH["showSendToCloud"] is False
    assert GRAPH["displaylogo"] is False
    graphs = [part for part in page("walks", opening_prompt("walks"))._traverse() if type(part).__name__ == "Graph"]
    assert len(graphs) == 5
    assert all(graph.config == GRAPH for graph in graphs)


def test_callbacks_are_checked_by_dash():
    app = create_app()
    assert not app.config.suppress_callback_exceptions
    assert app.config.serve_locally if "serve_locally" in app.config else app.scripts.config.serve_locally


def test_a_model_that_is_loaded_already_can_be_handed_over():
    assert create_app(ll.load("walks")).title == "latentlens"
    with pytest.raises(ll.LatentLensError, match="expected a model's name, or what ll.load returns, got int"):
        create_app(3)  # type: ignore[arg-type]


def test_a_store_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(ll.LatentLensError, match="expected a folder to keep runs in, got .*none.*make it first"):
        create_app(store=tmp_path / "none")
    with pytest.raises(ll.LatentLensError, match="expected a folder to read lenses from, got .*none.*make it first"):
        create_app(lenses=tmp_path / "none")


def test_a_port_in_use_is_refused_in_one_line(capfd):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ll.LatentLensError, match=f"expected a free port, got {port}, which is in use"):
            serve(port=port)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("host", "port"), [("no.such.host.invalid", 0), ("127.0.0.1", 70000)])
def test_an_address_that_cannot_be_served_is_refused_in_one_line(host: str, port: int):
    with pytest.raises(ll.LatentLensError) as caught:
        serve(host=host, port=port)
    assert "\n" not in str(caught.value)


def test_serving_says_where_and_serves_this_machine_only():
    code = "from latentlens_app import serve; serve(port=0)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as served:
        assert served.stdout is not None
        line = served.stdout.readline()
        try:
            url = re.fullmatch(r"latentlens is at (http://127\.0\.0\.1:\d+) \(stop it with Ctrl-C\)\n", line)[1]
            assert b"<title>latentlens</title>" in urlopen(url).read()
            with pytest.raises(HTTPError, match="403"):
                urlopen(Request(url, headers={"Host": "elsewhere.example"}))
        finally:
            served.terminate()
