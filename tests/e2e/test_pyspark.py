"""PySpark's memory profiler of UDFs, unchanged, on what `heapline install-shims` puts.

It needs Java 17 (Debian: openjdk-17-jre-headless) and PySpark, which is large: 300 to 450 MB from PyPI for each version, half a
minute. With HEAPLINE_TEST_PYSPARK=1 it is installed, once, into the folder of tools/pythons.sh; without,
the tests run where it is there already."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pythons import ROOT, all_pythons, cache_folder
from test_memory_profiler import row, tables

HEAD = """
from pyspark.sql import SparkSession
from pyspark.sql.functions import udf
spark = (SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    .config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
    .config("spark.python.profile.memory", "{old}").getOrCreate())
"""
UDF = """
kept = []

@udf("long")
def grows(x):
    block = bytearray(20 << 20)
    kept.append(block)
    text = [x] * 5
    if x == 1:
        del kept[0]
    return sum(n for n in text)

print(sorted(row[0] for row in spark.range(3).select(grows("id")).collect()))
"""
OLD = HEAD.format(old="true") + UDF + "spark.sparkContext.show_profiles()\n"
NEW = (
    HEAD.format(old="false")
    + "spark.conf.set('spark.sql.pyspark.udf.profiler', 'memory')\n"
    + UDF
    + "spark.profile.show(type='memory')\n"
)


def java() -> str | None:
    """Why there is no Java for PySpark; None: there is."""
    path = shutil.which(
        "java", path=os.path.join(os.environ["JAVA_HOME"], "bin") if "JAVA_HOME" in os.environ else None
    )
    if path is None:
        return "no java on PATH or in JAVA_HOME"
    said = subprocess.run([path, "-version"], capture_output=True, text=True).stderr
    found = re.search(r'version "(\d+)', said)
    return None if found and int(found.group(1)) >= 17 else f"{path} is older than 17: {said.splitlines()[:1]}"


def python_with(spark: str, kind: str) -> Path:
    """A Python of a virtual environment with this PySpark; skips the test where there is none."""
    if kind not in all_pythons():
        pytest.skip(f"CPython {kind} is not on this machine")
    why = java()
    if why:
        pytest.skip(f"PySpark needs Java 17: {why}")
    folder = cache_folder() / f"pyspark-{spark}" / kind
    if not (folder / "complete").exists():
        if os.environ.get("HEAPLINE_TEST_PYSPARK") != "1":
            pytest.skip(f"PySpark {spark} for {kind} is not installed: HEAPLINE_TEST_PYSPARK=1 does that")
        subprocess.run([all_pythons()[kind].path, "-m", "venv", "--clear", folder], check=True)
        pip = [folder / "bin" / "pip", "install", "-q", "--disable-pip-version-check", f"pyspark=={spark}"]
        subprocess.run(pip, check=True, timeout=900)
        (folder / "complete").touch()
    return folder / "bin" / "python"


@pytest.mark.parametrize("backend", [None, "heap"])
@pytest.mark.parametrize(
    "spark, kind, text",
    [("3.4.4", "3.10", OLD), ("3.5.8", "3.11", OLD), ("4.0.5", "3.12", NEW), ("4.3.0", "3.13", NEW)],
    ids=["3.4", "3.5", "4.0", "4.3"],
)
def test_memory_of_a_udf_by_line(heapline, spark, kind, text, backend):
    """Three rows: each takes 20 MiB, and one gives 20 back. (PySpark adds up what Mem usage was in each, and the baseline.)"""
    python = python_with(spark, kind)
    assert heapline("install-shims", "shims").exit == 0
    (heapline.folder / "app.py").write_text(text)
    environment = {
        **os.environ,
        "PYSPARK_PYTHON": str(python),
        "PYTHONPATH": os.pathsep.join([str(heapline.folder / "shims"), str(ROOT / "python")]),
        "PATH": os.pathsep.join([str(heapline.binary.parent), os.environ["PATH"]]),
        "MALLOC_MMAP_THRESHOLD_": "100000",
        **({"HEAPLINE_BACKEND": backend} if backend else {}),
    }
    done = subprocess.run(
        [python, "app.py"], env=environment, cwd=heapline.folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and "[0, 5, 10]" in done.stdout, done
    [table] = tables(done.stdout)
    times, deleted = (
        (5, 2) if spark == "4.3.0" else (3, 1)
    )  # that one adds two rows twice, with the real memory_profiler too
    assert row(table, "block = bytearray")[1:3] == (pytest.approx(20 * times, abs=0.11), times), done.stdout
    assert row(table, "del kept[0]")[1:3] == (pytest.approx(-20 * deleted, abs=0.11), deleted)
    for line in ("kept.append", "text = [x] * 5", "if x == 1"):
        assert row(table, line)[1:3] == (pytest.approx(0, abs=0.11), times)
    usage = row(table, "@udf")[0]
    assert usage > 60 if backend is None else usage == pytest.approx(40 if times == 3 else 80, abs=0.3), done.stdout
