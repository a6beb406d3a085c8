"""Import of a large package the first time, when no bytecode of it is cached: reading, compiling and running about 800
modules, most of whose code objects, classes and functions stay alive."""

import importlib
import sys

import workload


def imports(scale):
    """Imports pandas, and then compiles the sources of its modules `scale` - 1 times more."""
    sys.pycache_prefix = "/nonexistent"
    sys.dont_write_bytecode = True
    importlib.import_module("pandas")
    modules = [sys.modules[name] for name in sorted(sys.modules) if name.startswith("pandas")]
    compiled = 0
    for _ in range(scale - 1):
        for module in modules:
            loader = getattr(module.__spec__, "loader", None)
            if hasattr(loader, "source_to_code"):
                compiled += loader.source_to_code(loader.get_data(loader.path), loader.path) is not None
    return len(modules) + compiled


workload.run(imports, 1)
