# ruff: noqa
# fmt: off
"""Allocates from Python functions that C functions call: for where C frames stand among Python frames. For 2.7 and later."""
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]


def get(size): libc.free(libc.malloc(size))


def key(size):
    get(size)
    return 1


def sorter(size): return sorted([size], key=key)


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
called_back = CALLBACK(key)


def calls_back(size): return called_back(size)


class Ends(object):
    def __init__(self, size): self.size = size
    def __del__(self): get(self.size)


def ends(size):
    e = Ends(size)
    del e


def generator(size):
    get(size)
    yield 1


def draws(size): return list(generator(size))


def nested(size): return sorted([size], key=sorter_of_drawn)


def sorter_of_drawn(size): return draws(size)


for i in range(20):
    sorter(100001)
    calls_back(100002)
    ends(100003)
    draws(100004)
    nested(100005)
print("done")
