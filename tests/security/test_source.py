"""What the package's source and its lock file must not contain."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "nucleation_bluesky"
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "telnetlib"}
CALLS = {"eval", "exec", "compile", "__import__"}
YAML = {"load", "load_all", "unsafe_load", "unsafe_load_all", "full_load", "full_load_all"}


def dotted(node):
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def unsafe(source):
    """What is unsafe in a module, as 'line: what'."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        found += [f"{node.lineno}: {n}" for n in names if n.split(".")[0] in MODULES]
        if not isinstance(node, ast.Call):
            continue
        called = dotted(node.func)
        first, _, last = called.rpartition(".")
        keywords = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
        bad = (
            called in CALLS
            or (first == "yaml" and last in YAML)
            or called in {"os.system", "os.popen"}
            or keywords.get("shell") is True
            or keywords.get("allow_pickle") is True
            or keywords.get("verify") is False
        )
        if bad:
            found.append(f"{node.lineno}: {called}")
    return found


def test_no_code_is_made_from_data():
    files = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "profile_collection").rglob("*.py")])
    assert len(files) > 100
    assert {str(f.relative_to(ROOT)): w for f in files if (w := unsafe(f.read_text()))} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "from dill import loads", "eval('1')", "exec(text)", "yaml.load(f)",
        "np.load(f, allow_pickle=True)", "subprocess.run(c, shell=True)", "os.system('ls')",
        "httpx.get(u, verify=False)", "yaml.unsafe_load(f)",
    ],
)  # fmt: skip
def test_the_check_sees(line):
    assert unsafe(line)


def test_the_lock_pins_hashes_and_names_no_address():
    text = (ROOT / "requirements.lock").read_text()
    logical = re.sub(r"\\\n\s*", " ", text).splitlines()
    packages = [line for line in logical if line and not line.lstrip().startswith("#")]
    assert len(packages) > 100
    for line in packages:
        assert re.match(r"[a-z0-9][a-z0-9._-]*(\[[^]]+])?==", line), line
        assert "--hash=sha256:" in line, line
    assert "://" not in text
    assert "index-url" not in text


def test_security_rules_hold_for_the_whole_package():
    """Ruff has the rules of bandit; nothing in the package is exempt but single, named lines."""
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert not [rule for rule in lint["ignore"] if re.fullmatch(r"S\d*", rule)]
    exempt = [path for path, rules in lint["per-file-ignores"].items() if "S" in rules]
    assert all(path.split("/")[0] in {"tests", "benchmarks", "docs", "examples"} for path in exempt)
    whole = re.compile(r"#\s*(ruff:\s*)?noqa\s*$|#\s*ruff:\s*noqa:.*\bS\d", re.M)
    for path in PACKAGE.rglob("*.py"):
        assert not whole.search(path.read_text()), path
    assert whole.search("# ruff: noqa: S101")
