"""The dashboard: watch candidate answers rise, compete and die, in a browser.

In: a model's name. Out: a Dash app (`create_app`), or one that is being served (`serve`). It computes no number
itself: it asks `latentlens`, and shows what comes back.
"""

from latentlens_app.server import create_app, serve

__all__ = ["create_app", "serve"]
