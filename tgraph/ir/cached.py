"""Properties that are computed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class cached_property(Generic[T]):
    """functools.cached_property as it is from Python 3.12 on, without a lock.

    The lock of older ones is the class's: all threads wait for one, and a child that is forked meanwhile waits for ever.
    """

    def __init__(self, function: Callable[[Any], T]):
        self.function: Callable[[Any], T] = function
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> cached_property[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        found = vars(instance)[self.name] = self.function(instance)
        return found
