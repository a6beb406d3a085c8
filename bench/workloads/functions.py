"""Small objects made in short functions: tuples, lists, strings, floats and instances, each called for a few times."""

import workload


class Point:
    def __init__(self, x, y):
        self.x = x
        self.y = y

    def moved(self, dx, dy):
        return Point(self.x + dx, self.y + dy)


def label(i):
    return "point-%d" % i


def pair(a, b):
    return (a, b)


def window(i):
    return [i, i + 1.5, i + 2.5]


def step(i, point):
    name = label(i)
    near = pair(point.x, name)
    point = point.moved(i * 0.5, 1.5)
    return point, len(near[1]) + int(sum(window(i)))


def functions(scale):
    checksum = 0
    point = Point(0.0, 0.0)
    for i in range(scale):
        point, n = step(i & 4095, point)
        checksum += n
    return "%d %.1f" % (checksum, point.x)


workload.run(functions, 1_500_000)
