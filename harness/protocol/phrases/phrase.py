"""What a phrase of a call is: a frozen record with `emit`, and `locks` if it takes some.

    class Lifecycle(Phrase):
        allowed: tuple[int, ...]
        wrong: str = "TDX_LIFECYCLE_STATE_INCORRECT"

        def emit(self, call): ...

As a frozen dataclass is used.  A dataclass compiles the text of six functions; of the hundred phrases that was a tenth of the
processor time of a start.  Here all share one of each.
"""

from typing import ClassVar, dataclass_transform, get_origin


@dataclass_transform(frozen_default=True)
class Phrase:
    """Its fields are its annotations but ClassVar, those of its bases first; given by place or name, as of a dataclass."""

    fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **given):
        super().__init_subclass__(**given)
        own = [name for name, kind in cls.__annotations__.items() if get_origin(kind) is not ClassVar] if "__annotations__" in vars(cls) else []
        cls.fields = (*cls.fields, *(name for name in own if name not in cls.fields))

    def __init__(self, *values, **named):
        if len(values) > len(self.fields):
            raise TypeError(f"{type(self).__name__}: {len(values)} values, {len(self.fields)} fields")
        vars(self).update(zip(self.fields, values))
        for name, value in named.items():
            if name not in self.fields or name in vars(self):
                raise TypeError(f"{type(self).__name__}: {name}: no such field, or given twice")
            vars(self)[name] = value
        if missing := [name for name in self.fields if not hasattr(self, name)]:
            raise TypeError(f"{type(self).__name__}: {', '.join(missing)}: not given")

    def values(self) -> tuple:
        return tuple(getattr(self, name) for name in self.fields)

    def __setattr__(self, name, value):
        raise AttributeError(f"{type(self).__name__}.{name}: a phrase is not changed")

    def __delattr__(self, name):
        self.__setattr__(name, None)

    def __eq__(self, other):
        return self.values() == other.values() if type(other) is type(self) else NotImplemented

    def __hash__(self):
        return hash((type(self), self.values()))

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.fields)})"
