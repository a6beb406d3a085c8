"""Recursive calls and small integers: nothing is allocated, so a recorder that hooks allocations should cost nothing."""

import workload


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def calls(scale):
    return sum(fib(22) % 256 for _ in range(scale))


workload.run(calls, 1_000)
