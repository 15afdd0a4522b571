"""Commands about data: where the tasks lie."""

from __future__ import annotations

import typer


def lm_eval_path() -> None:
    """Print the folder with the task files, for `lm_eval --include_path`: an lm_eval of another environment, or Python started
    with -S or -I. Elsewhere plain `lm_eval` finds the tasks by itself.
    """
    from harness_tasks.tasks import yaml_folder

    typer.echo(yaml_folder())
