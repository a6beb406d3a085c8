"""Recursion 200 deep that makes an object at each level, down and up: the stack walk's worst case."""

import sys

import workload

DEPTH = 200


def down(level):
    here = [level]
    if level:
        below = down(level - 1)
        return [below[0] + here[0]]
    return here


def deep(scale):
    sys.setrecursionlimit(10_000)
    return sum(down(DEPTH)[0] for _ in range(scale))


workload.run(deep, 60_000)
