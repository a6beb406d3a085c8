"""Four threads that make and hand on objects: the interpreter's lock changes hands, and so does the recorder's order."""

import threading
import zlib

import workload

THREADS = 4


def chunk(i):
    text = "row %d," % i
    return [text, text.upper(), {"row": i, "length": len(text) * 1.5}]


def packed(i):
    return zlib.compress(b"%d" % i * 2_000, 1)  # works without the lock


def worker(number, scale, results):
    kept = []
    checksum = 0
    for i in range(scale):
        row = chunk(number * scale + i)
        kept.append(row)
        if len(kept) > 200:
            checksum += len(kept.pop(i % 200)[0])
        if i % 400 == 0:
            checksum += len(packed(i))
    results[number] = checksum


def threads(scale):
    results = [0] * THREADS
    running = [threading.Thread(target=worker, args=(n, scale // THREADS, results)) for n in range(THREADS)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(results)


workload.run(threads, 1_600_000)
