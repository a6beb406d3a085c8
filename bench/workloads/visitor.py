"""A recursive visitor over random trees: millions of different call stacks, each made only a few times."""

import random

import workload


class Node:
    __slots__ = ("children", "kind")

    def __init__(self, kind, children):
        self.kind = kind
        self.children = children


def tree(rng, depth):
    kind = rng.randrange(6)
    if depth == 0 or kind == 0:
        return Node(kind, ())
    return Node(kind, [tree(rng, depth - 1) for _ in range(rng.randrange(1, 4))])


class Visitor:
    def __init__(self):
        self.seen = 0

    def visit(self, node):
        self.seen += 1
        return (self.leaf, self.binary, self.call, self.block, self.name, self.loop)[node.kind](node)

    def leaf(self, node):
        return [1.5]

    def binary(self, node):
        result = [0.5]
        for child in node.children:
            result = [self.visit(child)[0] + result[0]]
        return result

    def call(self, node):
        return [sum([self.visit(child)[0] for child in node.children])]

    def block(self, node):
        done = []
        for child in node.children:
            done.append(self.visit(child))
        return [float(len(done))]

    def name(self, node):
        parts = {"kind": node.kind}
        for child in node.children:
            parts["value"] = self.visit(child)
        return [len(parts) * 1.25]

    def loop(self, node):
        last = [2.5]
        for child in node.children:
            last = self.visit(child)
        return [last[0] + 1.0]


def visitor(scale):
    rng = random.Random(7)
    walker = Visitor()
    total = 0.0
    for _ in range(scale):
        root = tree(rng, 14)
        total += walker.visit(root)[0]
    return "%d %.3f" % (walker.seen, total)


workload.run(visitor, 500)
