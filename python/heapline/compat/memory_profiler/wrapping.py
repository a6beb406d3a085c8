"""Decorators of whatever can be decorated: functions, coroutine functions, generators, descriptors, classes."""

# Untyped, as what it stands in for: callers pass and replace whatever that takes.
# mypy: ignore-errors

import functools
import inspect
import types


def decorate(thing, wrap):
    """`wrap` applied to the functions of whatever can be decorated: descriptors keep their kind, of a class each function
    that it defines is wrapped."""
    if isinstance(thing, (classmethod, staticmethod)):
        return type(thing)(decorate(thing.__func__, wrap))
    if isinstance(thing, property):
        parts = [part and decorate(part, wrap) for part in (thing.fget, thing.fset, thing.fdel)]
        return property(*parts, thing.__doc__)
    if isinstance(thing, type):
        for name, value in list(vars(thing).items()):
            if isinstance(value, (types.FunctionType, classmethod, staticmethod, property)):
                setattr(thing, name, decorate(value, wrap))
        return thing
    if not callable(thing):
        raise ValueError("Value must be callable")
    return wrap(thing)


class _Driven:
    """Runs a generator or coroutine step by step, each step inside `around()`."""

    def __init__(self, steps, around):
        self.steps, self.around = steps, around

    def __iter__(self):
        value, error = None, None
        while True:
            try:
                with self.around():
                    item = self.steps.send(value) if error is None else self.steps.throw(error)
            except StopIteration as stop:
                return stop.value
            value, error = None, None
            try:
                value = yield item
            except GeneratorExit:
                with self.around():
                    self.steps.close()
                raise
            except BaseException as caught:
                error = caught

    __await__ = __iter__


def wrap(func, whole, around):
    """`func` within `with whole() as one:` from its call to its end, and within `with around(one):` while code of it runs.
    Coroutine functions stay coroutine functions, and generators and async generators what they are."""
    if inspect.iscoroutinefunction(func):

        async def wrapper(*args, **kwargs):
            with whole() as one:
                return await _Driven(func(*args, **kwargs), lambda: around(one))

    elif inspect.isasyncgenfunction(func):

        async def wrapper(*args, **kwargs):
            with whole() as one:
                steps = func(*args, **kwargs)
                value, error = None, None
                try:
                    while True:
                        next_step = steps.asend(value) if error is None else steps.athrow(error)
                        try:
                            item = await _Driven(next_step, lambda: around(one))
                        except StopAsyncIteration:
                            return
                        value, error = None, None
                        try:
                            value = yield item
                        except GeneratorExit:
                            raise
                        except BaseException as caught:
                            error = caught
                finally:
                    await _Driven(steps.aclose(), lambda: around(one))

    elif inspect.isgeneratorfunction(func):

        def wrapper(*args, **kwargs):
            with whole() as one:
                return (yield from _Driven(func(*args, **kwargs), lambda: around(one)))

    else:

        def wrapper(*args, **kwargs):
            with whole() as one, around(one):
                return func(*args, **kwargs)

    return functools.wraps(func)(wrapper)


class Nothing:
    def __init__(self, one=None):
        pass

    def __enter__(self):
        return None

    def __exit__(self, *exc):
        return None
