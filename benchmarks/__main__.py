"""Run benchmarks: ``python -m benchmarks [NAME [options]]``, all of them without a name."""

import importlib
import pkgutil
import subprocess
import sys

import benchmarks


def found() -> dict[str, str]:
    """Name and first line of every module with a ``main``."""
    names = {}
    for module in pkgutil.iter_modules(benchmarks.__path__):
        if module.name == "__main__":
            continue
        loaded = importlib.import_module(f"benchmarks.{module.name}")
        if callable(getattr(loaded, "main", None)) and not module.name.endswith("_child"):
            names[module.name] = (loaded.__doc__ or "").strip().split("\n", maxsplit=1)[0]
    return names


def main() -> int:
    """Run what was asked for."""
    names = found()
    asked = sys.argv[1:]
    if asked and asked[0] in ("-h", "--help"):
        print("python -m benchmarks [NAME [options]], all of them without a name\n")
        for name, text in names.items():
            print(f"  {name:16} {text}")
        return 0
    if asked and asked[0] not in names:
        print(f"there is no benchmark '{asked[0]}'; choose one of: {', '.join(names)}")
        return 2
    # each in a process of its own: one Channel Access context belongs to one instrument
    failed = []
    for name in asked[:1] or names:
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *asked[1:]]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
