"""numpy temporaries: expressions over arrays of 8 KB to 8 MB, each operator with a temporary array of its own."""

import numpy
import workload


def distances(a, b):
    return numpy.sqrt((a - b) ** 2 + (a * b + 1.0) ** 2)


def smoothed(a):
    return (a[:-2] + a[1:-1] * 2 + a[2:]) / 4


def arrays(scale):
    checksum = 0.0
    for i in range(scale):
        n = (1_000, 10_000, 100_000, 1_000_000)[0 if i % 64 else 3] if i % 8 else (10_000 if i % 16 else 100_000)
        a = numpy.arange(n, dtype=float) % 97
        checksum += float(smoothed(distances(a, a[::-1])).sum()) / n
    return "%.6f" % checksum


workload.run(arrays, 16_000)
