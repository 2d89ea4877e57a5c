"""Values: what is set when made and never changes.

In: a class with fields. Out: the same class, with slots and with what `dataclass` writes for it.

Theory. That a field never changes is for the type checker to see. To have it checked at run time too costs
0.3 ms for each class before the first packet is read, and a third of the time to make an object.

Never: compares; a value equals itself alone (`dataclass` is there for those that are compared).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, eq_default=False, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """Make a class of fields a value."""
    return dataclass(slots=True, eq=False)(cls)
