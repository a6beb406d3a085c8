"""Objects made and dropped on three lines in turn, below DEPTH calls: what one object costs at that depth.

objects_at_depth.py COUNT DEPTH
"""

import sys
import time

import workload


def below(depth, count):
    if depth > 1:
        return below(depth - 1, count)
    start = time.perf_counter()
    for _ in range(count // 3):
        object()
        object()
        object()
    print("ns_each %.3f" % ((time.perf_counter() - start) / (count // 3 * 3) * 1e9))


def main():
    workload.own_cpu()
    sys.setrecursionlimit(10_000)
    below(int(sys.argv[2]), int(sys.argv[1]))
    print("checksum 0")


main()
