"""Small-object churn: documents written as JSON and read again."""

import json

import workload


def document(i):
    return {
        "id": i,
        "name": "item %d" % i,
        "tags": ["red", "green", "blue", str(i)],
        "price": i * 1.25,
        "parts": [{"n": n, "text": "part %d of %d" % (n, i), "weight": n / 7} for n in range(20)],
    }


def round_trip(i):
    return json.loads(json.dumps(document(i)))


def json_churn(scale):
    checksum = 0
    for i in range(scale):
        back = round_trip(i)
        checksum += len(back["parts"][i % 20]["text"]) + back["id"]
    return checksum


workload.run(json_churn, 40_000)
