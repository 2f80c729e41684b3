"""An option that takes one of a few words."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import rich_click as click

from bridge.wording import NEAR


class Word(click.Choice[str]):
    """One of these words; one that is misspelt is answered with the near one, and a synonym with ours."""

    def __init__(self, choices: Sequence[str], synonyms: Mapping[str, str] | None = None) -> None:
        super().__init__(choices)
        self._synonyms = synonyms or {}

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """As click does."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            word = str(value).lower()
            near = [self._synonyms[word]] if word in self._synonyms else get_close_matches(word, self.choices, 1, NEAR)
            meant = f"; did you mean “{near[0]}”?" if near else "."
            self.fail(error.message.removesuffix(".") + meant, param, ctx)
