"""A readout as one tidy table, and the table as a file.

In: what `decode` returned. Out: a data frame with a row for each prompt, position, iteration and candidate; CSV or
parquet. Numbers are unrounded; what is not there is empty. Light until a table is made: no torch.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from latentlens.errors import ReadoutError
from latentlens.files import write_whole

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

KEYS = ["prompt", "position", "iteration", "candidate"]


def as_table(out: xr.Dataset, *, position: int | None = None) -> pd.DataFrame:
    """One row for each prompt, position (or one `position`, negative from the end), iteration and candidate; no pads.

    Columns: those four; `token` and `text` of the position; `candidate_token`, `candidate_label`, `prob`, `rank` of the
    candidate; `top_token`, `top_text`, `top_prob` of the leader; and every statistic of the readout under its name.

    >>> import latentlens as ll
    >>> out = ll.decode(ll.capture(ll.load("walks"), "1 steps from Ann", iterations=2), track=["Ann", "Bob"])
    >>> len(as_table(out)), as_table(out).columns[:8].tolist()
    (24, ['prompt', 'position', 'iteration', 'candidate', 'token', 'text', 'candidate_token', 'candidate_label'])
    """
    from latentlens.readouts.labelled import token_text

    if position is not None:
        count = out.sizes["position"]
        out = out.assign_coords(position=range(count)).isel(position=[position % count])
    leader = out.isel(k=0, drop=True)
    flat = leader.drop_vars(["text", "vocabulary"]).assign(
        text=(out.token.dims, token_text(out, out.token.values)),
        top_text=(leader.top_token.dims, token_text(out, leader.top_token.values)),
    )
    for axis in ("prompt", "position", "candidate"):
        flat = flat if axis in flat.coords else flat.assign_coords({axis: range(flat.sizes[axis])})
    table = flat.to_dataframe().reset_index()
    table = table[(table.token >= 0) & (table.candidate_token >= 0)]
    first = [*KEYS, "token", "text", "candidate_token", "candidate_label", "prob", "rank"]
    rest = [name for name in table.columns if name not in first]
    return table[[*first, *rest]].sort_values(KEYS, ignore_index=True)


def check_table(path: str | Path, kind: str) -> Path:
    """A file that a table of this kind can be written to, before anything is computed for it."""
    out = Path(path)
    if not out.parent.is_dir():
        raise ReadoutError(f"expected a folder at {out.parent}, got none: make it first")
    if out.is_dir():
        raise ReadoutError(f"expected a file name, got the folder {out}: add a name")
    if kind == "parquet" and importlib.util.find_spec("pyarrow") is None:
        raise ReadoutError("expected pyarrow to write parquet, got none: pip install pyarrow, or write CSV")
    return out


def write_table(out: xr.Dataset, path: str | Path, kind: str, *, position: int | None = None) -> None:
    """Write `as_table` as "csv" (UTF-8, an empty field where there is nothing) or "parquet"."""
    file, table = check_table(path, kind), as_table(out, position=position)
    if kind == "csv":
        write_whole(file, lambda part: table.to_csv(part, index=False, lineterminator="\n"))
        return
    write_whole(file, lambda part: table.to_parquet(part, engine="pyarrow", index=False))
