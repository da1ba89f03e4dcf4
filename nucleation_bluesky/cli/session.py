"""``nucleation-bluesky session``: IPython with RunEngine, devices, plans and catalogue."""

import os

import typer

from nucleation_bluesky.cli.common import (
    ConfigOption,
    DataOption,
    configuration,
    errors_in_one_sentence,
)
from nucleation_bluesky.session.config import CONFIG_VARIABLE, DATA_VARIABLE, PROFILE

BANNER = """\
nucleation_bluesky: sample '{sample}', data in {data}
  overview         plans and devices         RE({plan}(...))   run a plan
  %wa %mov %ct     positions, move, count    help({plan})      its arguments
  catalog[-1]      the latest run            maps(run)         its results
"""
FIRST_PLAN = {"afm": "nucleation_map", "seccm": "landing"}


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(
        "session",
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )
    def session(
        context: typer.Context, config: ConfigOption = None, data: DataOption = None
    ) -> None:
        """Open IPython with RE, devices, plans, catalog and magics. Arguments go to IPython."""
        chosen = configuration(config, data)
        if config is not None:
            os.environ[CONFIG_VARIABLE] = str(config.absolute())
        from IPython.terminal.ipapp import TerminalIPythonApp  # noqa: PLC0415 - slow import
        from traitlets.config import Config  # noqa: PLC0415

        from nucleation_bluesky.session.session import EXPECTED_ERRORS  # noqa: PLC0415
        from nucleation_bluesky.session.startup import start  # noqa: PLC0415

        if data is not None:
            os.environ[DATA_VARIABLE] = str(data.absolute())
        with errors_in_one_sentence(*EXPECTED_ERRORS):
            start()
        settings = Config()
        settings.InteractiveShell.xmode = "Minimal"  # one sentence; %xmode Context shows where
        settings.TerminalInteractiveShell.banner2 = BANNER.format(
            sample=chosen.sample.name,
            data=chosen.data_directory,
            plan=FIRST_PLAN[chosen.instrument.family],
        )
        settings.InteractiveShellApp.exec_files = [
            str(path) for path in sorted((PROFILE / "startup").glob("*.py"))
        ]
        shell = TerminalIPythonApp.instance(config=settings)
        shell.initialize(list(context.args))
        shell.start()
