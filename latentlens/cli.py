"""The `latentlens` command: app, decode, capture, fit-lens, figure, models.

In: words on the command line. Out: text, JSON or files; exit status 2 and one line for anything that it cannot do.
Torch is imported only after every word that can be checked without it has been.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from latentlens import names, quantities, tables
from latentlens.errors import FigureError, LatentLensError, LensError

DESCRIPTION = "Watch a recurrent-depth language model think: every iteration's hidden state, decoded and drawn."


class Parser(argparse.ArgumentParser):
    """An argument parser that refuses in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status, 2 for bad input, 130 when interrupted.

    >>> main(["models"])  # doctest: +ELLIPSIS
    shipped  walks ...
    0
    """
    args = parser().parse_args(arguments)
    try:
        refuse_namesake()
        args.run(args)
    except LatentLensError as error:
        print(f"latentlens: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("latentlens: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line, as argparse knows it."""
    top = Parser(prog="latentlens", description=DESCRIPTION)
    commands = top.add_subparsers(metavar="command", required=True, parser_class=Parser)

    app = _command(commands, "app", "open the dashboard", run_app)
    app.add_argument(
        "--model", default="walks", help="a shipped name, a folder, a hub id or a .gguf file (default: walks)"
    )
    app.add_argument("--store", metavar="DIR", help="a folder of saved trajectories")
    app.add_argument("--lenses", metavar="DIR", help="a folder of saved lenses; those of a model are offered with it")
    app.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    app.add_argument("--port", type=_port, default=8050, help="port to listen on (default: 8050)")

    decode = _command(commands, "decode", "what the model would answer after each iteration", run_decode)
    _add_run(decode)
    decode.add_argument("--prompt", required=True, help="the text to run")
    _add_reading(decode)
    decode.add_argument(
        "--statistic", action="append", default=[], metavar="NAME", help="add a statistic, or all; may be repeated"
    )
    form = decode.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON, probabilities unrounded")
    form.add_argument("--csv", metavar="FILE", help="write a table, a row for each iteration and candidate")
    form.add_argument("--parquet", metavar="FILE", help="write that table as parquet (needs pyarrow)")

    capture = _command(commands, "capture", "keep every state of many prompts in a zarr folder", run_capture)
    _add_run(capture)
    capture.add_argument("--prompts", required=True, metavar="FILE", help="a text file, one prompt a line")
    capture.add_argument("--out", required=True, metavar="RUN.zarr", help="the folder to write")

    fit = _command(commands, "fit-lens", "fit a tuned or a Jacobian lens and save it", run_fit_lens)
    _add_run(fit)
    fit.add_argument("--prompts", required=True, metavar="FILE", help="a text file, one prompt a line")
    fit.add_argument("--out", required=True, metavar="LENS.safetensors", help="the file to write")
    fit.add_argument("--kind", default="tuned", help=f"{' or '.join(names.FITTED)} (default: tuned)")
    fit.add_argument("--rank", type=_count, metavar="K", help="the rank of a tuned lens's translators (default: full)")
    fit.add_argument("--shared", action="store_true", help="one translator of a tuned lens for all iterations")

    figure = _command(commands, "figure", "save a figure for paper or browser", run_figure)
    figure.add_argument("kind", help=", ".join(names.FIGURES))
    _add_run(figure)
    figure.add_argument("--prompt", required=True, help="the text to run")
    _add_reading(figure)
    figure.set_defaults(position=None)  # the last, or in a figure of all tokens: none is marked
    figure.add_argument("--out", required=True, metavar="FILE", help=f"ends in {', '.join(names.SUFFIXES)}")
    figure.add_argument("--marks", action="store_true", help="mark the candidates in a map: anchors, arrows, regions")
    figure.add_argument("--style", default="default", help=", ".join(names.STYLES))
    figure.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the figure, e.g. mode=line"
    )

    _command(commands, "models", "list the shipped models and the families that can be read", run_models)
    return top


def _command(commands: Any, name: str, help: str, run: Any) -> argparse.ArgumentParser:
    out = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    out.set_defaults(run=run)
    return out


def _add_run(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "--model", default="walks", help="a shipped name, a folder, a hub id or a .gguf file (default: walks)"
    )
    to.add_argument("--iterations", type=_count, metavar="R", help="how often to iterate (default: the model's own)")
    to.add_argument("--seed", type=_seed, default=0, metavar="S", help="what s_0 is drawn from (default: 0)")


def _add_reading(to: argparse.ArgumentParser) -> None:
    to.add_argument("--lens", default="coda", help=f"{', '.join(names.LENSES)} or a saved lens (default: coda)")
    to.add_argument(
        "--track", action="append", metavar="T", help="follow this token instead of the leaders; may be repeated"
    )
    to.add_argument("--position", type=int, default=-1, metavar="N", help="token position (default: -1, the last)")


def run_app(args: argparse.Namespace) -> None:
    from latentlens.models.checkpoint import preflight

    preflight(args.model)
    from latentlens_app import serve

    serve(model=args.model, store=args.store, lenses=args.lenses, host=args.host, port=args.port)


def run_decode(args: argparse.Namespace) -> None:
    names.check_lens(args.lens)
    quantities.check_statistics(args.statistic)
    kind = "csv" if args.csv is not None else "parquet"
    file = args.csv if args.csv is not None else args.parquet
    if file is not None:
        tables.check_table(file, kind)
    traj = _captured(args, [args.prompt])
    from latentlens import reports

    out = _decoded(args, traj, args.statistic)
    if file is not None:
        tables.write_table(out, file, kind, position=args.position)
        print(file)
        return
    print(reports.as_json(out, traj, args.position) if args.json else reports.as_text(out, traj, args.position))


def run_capture(args: argparse.Namespace) -> None:
    prompts = _read_prompts(Path(args.prompts))
    out = _checked_target(Path(args.out))
    traj = _captured(args, prompts)
    traj.save(out)
    print(f"{out}: {traj!r}")


def run_fit_lens(args: argparse.Namespace) -> None:
    names.check_fitted(args.kind)
    out = _checked_target(names.check_lens_file(args.out))
    options: dict[str, Any] = {"rank": args.rank, "shared": args.shared} if args.kind == "tuned" else {}
    if not options and (args.rank or args.shared):
        raise LensError("expected --rank and --shared with --kind tuned, got them with jacobian: leave them out")
    prompts = _read_prompts(Path(args.prompts))
    model = _loaded(args, prompts)
    import latentlens as ll

    kind = ll.TunedLens if args.kind == "tuned" else ll.JacobianLens
    lens = kind.fit(model, prompts, iterations=args.iterations, seed=args.seed, **options)
    lens.save(out)
    print(f"{out}: {args.kind} lens of {model.name} ({model.family}); {lens.summary}")


def run_figure(args: argparse.Namespace) -> None:
    names.check_figure(args.kind)
    names.check_lens(args.lens)
    names.check_style(args.style)
    out = names.check_suffix(args.out)
    options = dict(_option(text) for text in args.option)
    if "readout" not in names.DRAWN_FROM[args.kind] and (args.lens != "coda" or args.track):
        raise FigureError(f"expected no --lens and no --track for {args.kind}, which takes none: leave them out")
    model = _ready(args, [args.prompt])
    from latentlens.drawing import Made, drawing

    asked = {name: getattr(args, name) for name in ("prompt", "iterations", "seed", "lens", "track", "position")}
    made = Made(args.kind, model, **asked, marked=args.marks, options=options)
    drawing(made).save(out, style=args.style)
    print(out)


def run_models(args: argparse.Namespace) -> None:
    from latentlens.models import FAMILIES, SHIPPED

    for name, shipped in SHIPPED.items():
        size = sum(file.stat().st_size for file in shipped.folder.glob("*.safetensors"))
        print(f"shipped  {name:8} {shipped.title} ({size / 1e6:.1f} MB)")
    for family in FAMILIES:
        kinds = f"; model_type {', '.join(family.model_types)}" if family.model_types else ""
        shipped_here = [name for name, s in SHIPPED.items() if s.family == family.name]
        at_hand = f"; weights at hand: {', '.join(shipped_here)}" if shipped_here else "; no weights at hand"
        offers = ", ".join(family.offers) or "states"
        print(f"family   {family.name:8} {family.title}; offers {offers}{kinds}{at_hand}")


def refuse_namesake() -> None:
    """Refuse to run where the unrelated distribution called `latentlens` is installed too: one overwrites the other."""
    try:
        version = importlib.metadata.version("latentlens")
    except importlib.metadata.PackageNotFoundError:
        return
    raise LatentLensError(
        f"expected latentlens-trajectories alone, got the unrelated package latentlens {version} beside it, which "
        "overwrites its files: uninstall both, then install latentlens-trajectories"
    )


def _loaded(args: argparse.Namespace, prompts: list[str]) -> Any:
    """The model; everything that can be refused without torch is refused before it is imported."""
    from latentlens.errors import TokenError
    from latentlens.models.checkpoint import preflight

    if any(not prompt.strip() for prompt in prompts):
        raise TokenError("expected a prompt with at least one token, got an empty one: write some text")
    preflight(args.model)
    import latentlens as ll

    return ll.load(args.model)


def _ready(args: argparse.Namespace, prompts: list[str]) -> Any:
    """The model, with the lens and the position checked: whatever can be refused is refused before a run."""
    model = _loaded(args, prompts)
    import latentlens as ll
    from latentlens.lenses import find_lens

    if "lens" in args:
        args.lens = find_lens(args.lens)
    if getattr(args, "position", None) is not None and model.tokenizer is not None:
        length = len(model.tokenizer.encode(prompts[0]))
        if not -length <= args.position < length:
            raise ll.errors.ReadoutError(
                f"expected a position from {-length} to {length - 1} for this prompt, got {args.position}"
            )
    return model


def _captured(args: argparse.Namespace, prompts: list[str]) -> Any:
    """Load and run."""
    model = _ready(args, prompts)
    import latentlens as ll

    return ll.capture(model, prompts, iterations=args.iterations, seed=args.seed)


def _decoded(args: argparse.Namespace, traj: Any, statistics: Sequence[str] = ()) -> Any:
    import latentlens as ll

    return ll.decode(traj, args.lens, track=args.track, also=None if args.track else "truth", statistics=statistics)


def _read_prompts(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise LatentLensError(f"expected a text file at {path}, one prompt a line, got none ({reason})") from None
    prompts = [line for line in lines if line]
    if not prompts:
        raise LatentLensError(f"expected prompts in {path}, one a line, got an empty file")
    return prompts


def _checked_target(path: Path) -> Path:
    from latentlens.errors import StoreError

    if not path.parent.is_dir():
        raise StoreError(f"expected a folder at {path.parent}, got none: make it first")
    if path.exists():
        raise StoreError(f"expected a new path, got {path}, which exists: choose another name")
    return path


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise LatentLensError(f"expected --option NAME=VALUE, got {text!r}: for example --option mode=line")
    words: dict[str, Any] = {"true": True, "false": False, "none": None}
    if value.lower() in words:
        return name, words[value.lower()]
    return name, int(value) if value.removeprefix("-").isdigit() else value


def _count(text: str) -> int:
    return _whole(text, 1, 100_000, "a whole number of 1 or more")


def _seed(text: str) -> int:
    return _whole(text, 0, 2**63 - 1, "a whole number of 0 or more")


def _port(text: str) -> int:
    return _whole(text, 1, 65_535, "a port from 1 to 65535")


def _whole(text: str, least: int, most: int, what: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"expected {what}, got {text!r}")
    return value


if __name__ == "__main__":
    sys.exit(main())
