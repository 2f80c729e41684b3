"""An option that takes one of a few words."""

from difflib import get_close_matches
from typing import Any

import rich_click as click


class Word(click.Choice[str]):
    """One of these words; one that is misspelt is answered with the near one."""

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """As click does."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            near = get_close_matches(str(value).lower(), self.choices, 1)
            meant = f"; did you mean “{near[0]}”?" if near else "."
            self.fail(error.message.removesuffix(".") + meant, param, ctx)
