"""Make the app, and serve it.

In: a model, a store, a host and a port. Out: a `Dash`, or a server that runs until it is stopped.
"""

from __future__ import annotations

import errno
from pathlib import Path

from dash import Dash
from werkzeug.serving import WSGIRequestHandler, make_server

import latentlens as ll
from latentlens_app import callbacks, pictures, playhead
from latentlens_app.desk import Desk
from latentlens_app.examples import examples_for
from latentlens_app.layout import page
from latentlens_app.runs import Runs
from latentlens_app.style import INDEX


def create_app(model: str | ll.LatentModel = "walks", store: str | Path | None = None) -> Dash:
    """The dashboard as a Dash app; nothing is loaded before a page asks for it.

    Args:
        model: the model that a page opens on: a shipped name, a folder, a hub id, or one that `ll.load` returned.
        store: a folder in which the states of every run are kept as zarr, and found again.

    Raises:
        LatentLensError: `store` is not a folder, or `model` is neither a name nor a model.

    >>> create_app().title
    'latentlens'
    """
    name, given = (model, {}) if isinstance(model, str) else (_name_of(model), {_name_of(model): model})
    desk = Desk(name, Runs(_checked_store(store), given))
    app = Dash(
        __name__,
        assets_folder=str(Path(__file__).parent / "assets"),
        title="latentlens",
        update_title="",
        index_string=INDEX,
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
        add_log_handler=False,
    )
    app.layout = page(name, examples_for(name))
    callbacks.connect(app, desk)
    pictures.connect(app, desk)
    playhead.connect(app)
    return app


def serve(
    model: str | ll.LatentModel = "walks",
    store: str | Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8050,
) -> None:
    """Serve the dashboard until it is interrupted; says where, in one line.

    Raises:
        LatentLensError: the address cannot be served from (a port in use, an unknown host), or `store` is no folder.
    """
    app = create_app(model, store)
    try:
        server = make_server(host, port, app.server, threaded=True, request_handler=_Quiet)
    except (OSError, OverflowError, SystemExit) as error:
        raise ll.LatentLensError(_refusal(host, port, error)) from None
    with server:
        print(f"latentlens is at http://{host}:{server.server_port} (stop it with Ctrl-C)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


class _Quiet(WSGIRequestHandler):
    """No line a request: a playhead makes many."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


def _refusal(host: str, port: int, error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno not in (errno.EADDRINUSE, None):
        return f"expected an address to serve from, got {host}:{port} ({error.strerror}): pass another host or port"
    return f"expected a free port, got {port}, which is in use: pass another one, for example port {port + 1}"


def _name_of(model: object) -> str:
    if not isinstance(model, ll.LatentModel):
        raise ll.LatentLensError(f"expected a model's name, or what ll.load returns, got {type(model).__name__}")
    return model.name


def _checked_store(store: str | Path | None) -> Path | None:
    if store is None:
        return None
    folder = Path(store).expanduser()
    if not folder.is_dir():
        raise ll.LatentLensError(f"expected a folder to keep runs in, got {str(store)!r}, which is none: make it first")
    return folder
