"""Which pairs of users' programs every run of the tests sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Container, Iterable


def some(names: Iterable[str], always: Container[str]) -> list[Any]:
    """Names as parameters, the rest of them for the exhaustive tests."""
    marks = {True: [], False: [pytest.mark.exhaustive]}
    return [pytest.param(name, marks=marks[name in always]) for name in names]
