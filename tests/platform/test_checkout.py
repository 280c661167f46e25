"""What a fresh clone is built from: locks with digests and without addresses, and `make`."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


# Code of ours that runs in an engine's own environment imports these there.
INSTALLED_WITH_ENGINES = {"torch", "transformers", "triton_python_backend_utils"}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, str]:
    """Every locked package with the text of its entry."""
    entries = re.split(r"\n(?=\S)", LOCK)
    found = (re.match(r"([A-Za-z0-9._-]+)==", entry) for entry in entries)
    return {
        normalised(match.group(1)): entry
        for match, entry in zip(found, entries, strict=True)
        if match is not None
    }


def test_every_locked_package_has_digests_and_no_address() -> None:
    assert len(locked()) > 50
    assert all("--hash=sha256:" in entry for entry in locked().values())
    assert "://" not in LOCK
    assert "index" not in re.sub(r"[\w-]+==.*", "", LOCK)


@pytest.mark.parametrize("extra", [None, "embedded", "dev"])
def test_the_lock_has_what_the_project_asks_for(extra: str | None) -> None:
    project = PROJECT["project"]
    wanted = project["optional-dependencies"][extra] if extra else project["dependencies"]
    names = {normalised(re.split(r"[^A-Za-z0-9._-]", each, maxsplit=1)[0]) for each in wanted}
    assert names <= set(locked()), "run `make lock`"


@pytest.mark.parametrize("folder", ["frontend", "proto"])
def test_npm_locks_carry_no_addresses(folder: str) -> None:
    packages = json.loads((ROOT / folder / "package-lock.json").read_text())["packages"]
    assert packages
    assert not any("resolved" in package for package in packages.values())


def test_make_lists_its_targets() -> None:
    told = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    listed = set(re.findall(r"^  make (\S+)", told, re.MULTILINE))
    assert {"up", "test", "bench", "lint", "format", "clean", "help"} <= listed
    phony = set(re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert listed == phony


def test_git_ignores_data_secrets_and_what_is_built() -> None:
    paths = [".env", ".loggia/secret.key", ".venv/x", "frontend/dist/index.html"]
    paths += ["backend/contracts/generated/loggia/x_pb2.py", "frontend/node_modules/x"]
    ignored = subprocess.run(
        ["git", "check-ignore", *paths],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.split()
    assert ignored == paths


def imported_by_the_product() -> dict[str, str]:
    """Every top-level name that the product imports, with a file that does."""
    found: dict[str, str] = {}
    for package in ("backend", "projections", "workers"):
        for path in (ROOT / package).rglob("*.py"):
            if "generated" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names = [node.module]
                found |= {name.partition(".")[0]: str(path.relative_to(ROOT)) for name in names}
    own = {"backend", "projections", "workers", *INSTALLED_WITH_ENGINES}
    return {name: file for name, file in found.items() if name not in sys.stdlib_module_names | own}


def test_what_the_product_imports_is_locked() -> None:
    """A package that only happens to be installed here is missing in a fresh clone."""
    providers = packages_distributions()
    missing = {
        name: file
        for name, file in imported_by_the_product().items()
        if not set(locked()) & {normalised(each) for each in providers.get(name, [])}
    }
    assert missing == {}, "name it in pyproject.toml, then `make lock`"
