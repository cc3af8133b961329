"""Make the app, and serve it.

In: a model, a store, a host and a port. Out: a `Dash`, or a server that runs until it is stopped.
"""

from __future__ import annotations

import errno
import logging
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dash import Dash, set_props
from flask import abort, request
from werkzeug.serving import WSGIRequestHandler, make_server

import latentlens as ll
from latentlens_app import callbacks, mapping, marking, motion_panel, pictures, playhead, sides
from latentlens_app.desk import Desk
from latentlens_app.layout import page
from latentlens_app.runs import Runs
from latentlens_app.style import INDEX

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def create_app(
    model: str | ll.LatentModel = "walks",
    store: str | Path | None = None,
    lenses: str | Path | None = None,
) -> Dash:
    """The dashboard as a Dash app; nothing is loaded before a page asks for it.

    Args:
        model: the model that a page opens on: a shipped name, a folder, a hub id, or one that `ll.load` returned.
        store: a folder in which the states of every run are kept as zarr, and found again.
        lenses: a folder of saved lenses (`ll.TunedLens`, `ll.JacobianLens`); those of a model are offered with it.

    Raises:
        LatentLensError: `store` or `lenses` is not a folder, or `model` is neither a name nor a model.

    >>> create_app().title
    'latentlens'
    """
    name, given = (model, {}) if isinstance(model, str) else (_name_of(model), {_name_of(model): model})
    desk = Desk(name, Runs(_checked_folder("keep runs in", store), given, _checked_folder("read lenses from", lenses)))
    app = Dash(
        __name__,
        assets_folder=str(Path(__file__).parent / "assets"),
        title="latentlens",
        update_title="",
        index_string=INDEX,
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
        add_log_handler=False,
        on_error=show_error,
    )
    app.layout = page(name, desk.opening.prompt)
    callbacks.connect(app, desk)
    pictures.connect(app, desk)
    mapping.connect(app, desk)
    marking.connect(app, desk)
    motion_panel.connect(app, desk)
    sides.connect(app, desk)
    playhead.connect(app)
    return app


def serve(
    model: str | ll.LatentModel = "walks",
    store: str | Path | None = None,
    lenses: str | Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8050,
) -> None:
    """Serve the dashboard until it is interrupted; says where, in one line.

    Raises:
        LatentLensError: the address cannot be served from (a port in use, an unknown host), or `store` or `lenses`
            is no folder.
    """
    app = create_app(model, store, lenses)
    with _listening(host, port) as listener:
        # A socket of our own, because werkzeug prints and exits where it cannot have one.
        options: dict[str, Any] = {"fd": listener.fileno(), "threaded": True, "request_handler": _Quiet}
        server = make_server(host, port, app.server, **options)
    if host in LOOPBACK:
        app.server.before_request(_refuse_strangers)
    with server:
        name = f"[{host}]" if ":" in host else host
        print(f"latentlens is at http://{name}:{server.socket.getsockname()[1]} (stop it with Ctrl-C)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def show_error(error: Exception) -> None:
    """Put what went wrong in a callback on the page, which stays as it was."""
    message = str(error)
    if not isinstance(error, ll.LatentLensError):
        logging.getLogger(__name__).error("a callback failed", exc_info=error)
        message = f"the page met {type(error).__name__}: {error}; the terminal has the details"
    set_props("error", {"children": message, "hide": False})


def _refuse_strangers() -> None:
    """Where only this machine is served, refuse a page elsewhere whose name was made to point here."""
    if urlsplit(f"//{request.host}").hostname not in LOOPBACK:
        abort(403)


class _Quiet(WSGIRequestHandler):
    """No line a request: a playhead makes many."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens there, or the reason in one line."""
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 2**16:
        raise ll.LatentLensError(f"expected a port from 0 to 65535, got {port!r}: leave it out for 8050")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = f"expected a free port, got {port}, which is in use: pass another one, for example {port + 1}"
        else:
            reason = f"expected an address to serve from, got {host}:{port} ({error.strerror}): pass another one"
        raise ll.LatentLensError(reason) from None


def _name_of(model: object) -> str:
    if not isinstance(model, ll.LatentModel):
        raise ll.LatentLensError(f"expected a model's name, or what ll.load returns, got {type(model).__name__}")
    return model.name


def _checked_folder(what_for: str, name: str | Path | None) -> Path | None:
    if name is None:
        return None
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise ll.LatentLensError(f"expected a folder to {what_for}, got {str(name)!r}, which is none: make it first")
    return folder
