"""`bridge config`: what is set, and by whom."""

import rich_click as click

from bridge.cli.output import Columns, chosen, emit, emit_one, field, output_option, output_without_ids, safe, say
from bridge.cli.session import settings_of

COLUMNS: Columns = (("setting", field("setting")), ("value", field("value")), ("source", field("source")))


@click.group()
def config() -> None:
    """Look at the configuration.

    \b
    Examples:
      bridge config show
      bridge config check
    """


@config.command()
@output_option
@click.pass_context
def show(ctx: click.Context, output: str | None, as_json: bool) -> None:
    """Show every setting with its value, secrets masked, and where it comes from.

    \b
    Examples:
      bridge config show
      bridge config show --json
    """
    from bridge.settings import explain

    rows = [{"setting": name, "value": value, "source": source} for name, value, source in explain(settings_of(ctx))]
    emit(rows, chosen(ctx, output, as_json), COLUMNS, key="setting")


@config.command()
@output_without_ids
@click.pass_context
def check(ctx: click.Context, output: str | None, as_json: bool) -> None:
    """Check the configuration. Exit code 2 with all that is wrong.

    \b
    Examples:
      bridge config check
    """
    settings = settings_of(ctx)
    for warning in settings.warnings:
        say(f"! {safe(warning)}")
    if (how := chosen(ctx, output, as_json)) == "table":
        click.echo("The configuration is valid.")
    else:
        emit_one({"valid": True, "warnings": list(settings.warnings)}, how, key="valid")
