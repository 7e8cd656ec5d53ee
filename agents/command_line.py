"""The `cryptoenv` command: typer commands that import what they need when they run."""

from __future__ import annotations

import os
import sys
import time
import warnings
from pathlib import Path
from typing import Annotated, Any

from agents.commands.error_words import error_in_words

USER_ERROR = 2
#: Packages whose warnings are for users; typer's frames are those that call a command.
WARNING_FOR_USERS = ("synthetic", "cryptoenv", "pretrain", "agents", "typer", "click")

try:
    import typer
except ModuleNotFoundError:
    from synthetic.installation import install_hint

    print(f"the `cryptoenv` command needs typer: {install_hint('agents')}", file=sys.stderr)
    raise SystemExit(USER_ERROR) from None

from agents.commands.backtest import backtest, stress  # noqa: E402 -- once typer is known to be there
from agents.commands.bench import app as bench_commands  # noqa: E402
from agents.commands.check_leakage import check_leakage  # noqa: E402
from agents.commands.data import app as data_commands  # noqa: E402
from agents.commands.evaluate import evaluate  # noqa: E402
from agents.commands.export_dataset import export_dataset  # noqa: E402
from agents.commands.features import app as features_commands  # noqa: E402
from agents.commands.models import app as models_commands  # noqa: E402
from agents.commands.options import (  # noqa: E402
    Bars,
    Exogenous,
    Features,
    Funding,
    Reference,
    Seed,
    SplitFractions,
    Timeframes,
    market_inputs,
)
from agents.commands.play import play  # noqa: E402
from agents.commands.predict import predict  # noqa: E402
from agents.commands.pretrain import pretrain  # noqa: E402
from agents.commands.report import report  # noqa: E402
from agents.commands.retrain import retrain  # noqa: E402
from agents.commands.sb3 import export, import_model  # noqa: E402
from agents.commands.serve import serve  # noqa: E402
from agents.commands.signal import signal  # noqa: E402
from agents.commands.synth import synth  # noqa: E402
from agents.commands.tokens import app as tokens_commands  # noqa: E402
from agents.commands.trade import app as trade_commands  # noqa: E402
from agents.commands.train import train  # noqa: E402
from agents.commands.tune import tune  # noqa: E402
from agents.commands.walk_forward import walk_forward  # noqa: E402
from agents.commands.warm import warm  # noqa: E402
from agents.run_folders.new_outputs import INTERRUPTED, told_when_interrupted  # noqa: E402

app = typer.Typer(
    name="cryptoenv",
    help="Trading environments, synthetic markets with a known optimum, and agents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(data_commands, name="data")
app.add_typer(features_commands, name="features")
app.add_typer(tokens_commands, name="tokens")
app.add_typer(trade_commands, name="trade")
app.add_typer(bench_commands, name="bench")
app.add_typer(models_commands, name="models")
app.command()(pretrain)
app.command()(synth)
app.command()(train)
app.command()(evaluate)
app.command()(backtest)
app.command()(stress)
app.command()(predict)
app.command()(play)
app.command()(report)
app.command()(serve)
app.command()(signal)
app.command()(tune)
app.command()(retrain)
app.command("check-leakage")(check_leakage)
app.command("walk-forward")(walk_forward)
app.command("export-dataset")(export_dataset)
app.command()(warm)
app.command()(export)
app.command("import")(import_model)


def _print_version(asked: bool) -> None:
    if asked:
        from cryptoenv import __version__

        print(f"cryptoenv {__version__}")
        raise typer.Exit


@app.callback()
def commands(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    log_level: Annotated[
        str | None, typer.Option("--log-level", help="Log as JSON lines on stderr: debug, info, warning or error.")
    ] = None,
) -> None:
    """Trading environments, synthetic markets with a known optimum, and agents."""
    if log_level is not None:
        from cryptoenv.files.json_log import json_log

        context.with_resource(json_log(log_level, run=f"{os.getpid():x}-{int(time.time()):x}"))


@app.command()
def demo(
    bars: Bars = None,
    timeframes: Timeframes = None,
    features: Features = None,
    reference: Reference = None,
    exogenous: Exogenous = None,
    funding: Funding = None,
    split_fractions: SplitFractions = None,
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/demo"),
    seed: Seed = 0,
) -> None:
    """Pretrain, clone, train PPO, evaluate on unseen markets; prints a table, saves a run folder and a picture.

    Without --bars it is shown on synthetic markets.
    """
    from agents.commands.demo import run_demo

    inputs = market_inputs(timeframes, features, reference, exogenous, funding=funding, split_fractions=split_fractions)
    with told_when_interrupted(lambda: "nothing was kept: a demo begins anew, with the same command"):
        run_demo(out=out, seed=seed, bars_file=bars, inputs=inputs)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; what a user can mend is one line on stderr and exit code 2.

    Args:
        arguments: of the command; those of the process where None.

    Returns:
        The exit code.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code = app(args=arguments, standalone_mode=False)  # of typer.Exit; None where the command just ends
    except typer.Exit as stop:
        return stop.exit_code
    except typer.Abort:
        print("cryptoenv: interrupted; nothing half-made is left", file=sys.stderr)
        return INTERRUPTED
    except typer.TyperException as error:
        message = error.format_message()
        return _one_line(message) if message else USER_ERROR  # empty where the help was shown instead
    except Exception as error:
        if os.environ.get("CRYPTOENV_TRACEBACK"):
            raise
        return _one_line(error_in_words(error, arguments or sys.argv[1:]))
    return code if isinstance(code, int) else 0


def _one_line(message: str) -> int:
    print("cryptoenv: " + " ".join(message.split()), file=sys.stderr)
    return USER_ERROR


def _show_warning(message: Warning | str, category: type[Warning], filename: str, *_more: Any, **_options: Any) -> None:
    """What this package warns of, as one line that breaks no progress bar; other packages warn their developers."""
    _before, installed, inside = filename.replace(os.sep, "/").rpartition("/site-packages/")
    if installed and not sys.warnoptions and inside.partition("/")[0] not in WARNING_FOR_USERS:
        return
    line = "cryptoenv: note: " + " ".join(str(message).split())
    if "cryptoenv.progress" in sys.modules:
        sys.modules["cryptoenv.progress"].write_line(line)
    else:
        print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
