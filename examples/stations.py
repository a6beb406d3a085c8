"""A night of weather data: four threads clean and summarise the readings of forty stations with numpy.

It holds far more memory than its results need. Which line is to blame is what heapline answers:

    heapline run examples/stations.py
    heapline table stations.*.heapline
"""

import json
import sys
import threading
from queue import Empty, Queue

import numpy as np

READINGS = 100_000  # of one station: 28 hours, one a second
LAST_HOUR = 3_600


def read_station(number):
    """Readings as they would come from a file: temperature, humidity, pressure."""
    random = np.random.default_rng(number)
    readings = random.normal((12.0, 70.0, 1013.0), (4.0, 15.0, 8.0), size=(READINGS, 3))
    readings[random.integers(0, READINGS, 500)] = np.nan  # the sensor's gaps
    return readings


def clean(readings):
    mean = np.nanmean(readings, axis=0)
    spread = np.nanstd(readings, axis=0)
    usual = np.abs(readings - mean) < 4 * spread
    return np.where(usual, readings, mean)


def smooth(readings, width=60):
    sums = np.cumsum(readings, axis=0)
    return (sums[width:] - sums[:-width]) / width


def summarise(number, readings):
    lowest, highest = readings.min(axis=0), readings.max(axis=0)
    return {
        "station": number,
        "temperature": [round(float(lowest[0]), 1), round(float(highest[0]), 1)],
        "histogram": np.histogram(readings[:, 0], bins=50)[0].tolist(),
    }


class Archive:
    def __init__(self):
        self.lock = threading.Lock()
        self.summaries = []
        self.last_hours = {}

    def add(self, number, readings):
        summary = summarise(number, readings)
        with self.lock:
            self.summaries.append(summary)
            self.last_hours[number] = readings[-LAST_HOUR:]  # a view: it keeps all of `readings` alive


def work(stations, archive):
    while True:
        try:
            number = stations.get_nowait()
        except Empty:
            return
        archive.add(number, smooth(clean(read_station(number))))


def main(count):
    stations, archive = Queue(), Archive()
    for number in range(count):
        stations.put(number)
    threads = [threading.Thread(target=work, args=(stations, archive), name=f"station-{i}") for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = sum(hours.nbytes for hours in archive.last_hours.values())
    text = json.dumps(sorted(archive.summaries, key=lambda summary: summary["station"]))
    print(f"{len(archive.summaries)} stations, {len(text):,} bytes of JSON, {kept / 1e6:.1f} MB of last hours")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
