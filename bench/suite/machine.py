"""What the numbers depend on: the class of the machine (never its name), versions, and who else used the CPUs."""

import os
import platform
import re
import shlex
import subprocess
import sys


def cpu_model():
    """Vendor's model name with family and model number, as far as the kernel tells."""
    facts = {}
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                key, _, value = line.partition(":")
                facts.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    name = facts.get("model name") or facts.get("CPU part") or platform.machine()
    family = facts.get("cpu family")
    return "%s (family %s, model %s)" % (name, family, facts.get("model")) if family else name


def is_virtual():
    try:
        with open("/proc/cpuinfo") as text:
            return "hypervisor" in text.read()
    except OSError:
        return False


def describe():
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "virtual": is_virtual(),
        "memory_gib": round(pages / 2**30),
        "architecture": platform.machine(),
        "kernel": re.match(r"[\d.]*", platform.release()).group().rstrip("."),
        "libc": " ".join(platform.libc_ver()),
    }


def sentence(machine):
    return "%s%s, %d CPUs, %d GiB, Linux %s, %s" % (
        machine["cpu"],
        ", virtual" if machine["virtual"] else "",
        machine["cpus"],
        machine["memory_gib"],
        machine["kernel"],
        machine["libc"],
    )


def python_version(python):
    code = (
        "import sys, sysconfig; print(sys.version.split()[0], 'shared' if sysconfig.get_config_var("
        "'Py_ENABLE_SHARED') else 'static')"
    )
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def package_versions(python, packages):
    """{package: version} of those that are installed for `python`."""
    code = (
        "import sys\nfrom importlib import metadata\nfor name in sys.argv[1:]:\n"
        "    try: print(name, metadata.version(name))\n    except metadata.PackageNotFoundError: pass"
    )
    out = subprocess.run([python, "-c", code, *packages], capture_output=True, text=True).stdout
    return dict(line.split() for line in out.splitlines())


def busy_seconds():
    """CPU seconds that all processes together have used since boot, with time stolen by the hypervisor."""
    with open("/proc/stat") as lines:
        fields = lines.readline().split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def command_line():
    """The command line without what is private to this machine: paths keep their last two parts."""
    words = ["python", "bench/run.py"]
    for word in sys.argv[1:]:
        words.append("/".join(word.split("/")[-3:]) if word.startswith("/") else word)
    return shlex.join(words)
