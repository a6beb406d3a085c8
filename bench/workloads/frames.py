"""A pandas pipeline: build a table, filter, join, group, pivot, and format what comes out."""

import numpy
import pandas
import workload

ROWS = 50_000


def orders(seed):
    random = numpy.random.default_rng(seed)
    return pandas.DataFrame(
        {
            "customer": random.integers(0, 2_000, ROWS),
            "product": random.integers(0, 300, ROWS),
            "amount": random.integers(1, 20, ROWS),
            "day": random.integers(0, 365, ROWS),
        }
    )


def products():
    return pandas.DataFrame(
        {
            "product": range(300),
            "price": [(p * 7 % 100) + 1 for p in range(300)],
            "group": ["group %d" % (p % 12) for p in range(300)],
        }
    )


def report(table, catalogue):
    table = table[table["amount"] > 2].merge(catalogue, on="product")
    table["value"] = table["amount"] * table["price"]
    table["month"] = table["day"] // 31
    by_month = table.pivot_table(index="group", columns="month", values="value", aggfunc="sum", fill_value=0)
    best = table.groupby("customer")["value"].sum().sort_values(ascending=False).head(20)
    names = best.index.map(lambda customer: "customer %05d" % customer)
    return int(by_month.to_numpy().sum()) + int(best.sum()) + sum(len(name) for name in names)


def frames(scale):
    catalogue = products()
    return sum(report(orders(seed), catalogue) for seed in range(scale))


workload.run(frames, 160)
