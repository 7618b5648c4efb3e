"""Run the tests on every installed Python from 3.11 up, each in an environment of its own under .venvs/.

The oldest runs them once more with our dependencies at their lower bounds.
Run it as ``make test-all``; further arguments go to pytest.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
UV = ROOT / ".venv/bin/uv"
OLDEST, NEWEST = 11, 20


def main() -> int:
    """Test on one interpreter after the other; 0 if all passed."""
    found = interpreters()
    print(f"Python {', '.join(found)} found", flush=True)
    results = {f"Python {version}": run(version, python) for version, python in found.items()}
    if found:
        results["lower bounds"] = run("lowest", next(iter(found.values())), "lowest.txt")
    for name, code in results.items():
        print(f"{name}: {'passed' if code == 0 else f'FAILED (exit code {code})'}")
    return max(results.values(), default=1)


def interpreters() -> dict[str, str]:
    """The newest patch release of each minor version: those on PATH first, then those of pyenv."""
    found: dict[str, str] = {}
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for minor in range(OLDEST, NEWEST):
        installed = sorted(pyenv.glob(f"3.{minor}.*/bin/python"), key=_patch, reverse=True)
        for candidate in (shutil.which(f"python3.{minor}"), *map(str, installed)):
            if candidate and runs(candidate):  # pyenv puts a name on PATH even for a version that is switched off
                found[f"3.{minor}"] = candidate
                break
    return found


def _patch(python: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in python.parent.parent.name.split(".") if part.isdigit())


def runs(python: str) -> bool:
    """Whether the interpreter starts at all."""
    return subprocess.run([python, "-c", "import venv"], capture_output=True, check=False).returncode == 0


def run(name: str, python: str, requirements: str = "dev.txt") -> int:
    """Set up .venvs/<name> unless it is up to date, and run the tests in it."""
    folder = ROOT / ".venvs" / name
    own = folder / "bin/python"
    ready = folder / ".ready"
    pinned = [ROOT / "requirements" / requirements, ROOT / "pyproject.toml"]
    if not ready.exists() or ready.stat().st_mtime < max(path.stat().st_mtime for path in pinned):
        install = [UV, "pip", "install", "--quiet", "--python", own]
        for command in (
            [UV, "venv", "--quiet", "--clear", "--python", python, folder],
            [*install, "--require-hashes", "-r", pinned[0]],
            [*install, "--no-build-isolation", "--no-deps", "-e", ROOT],
        ):
            subprocess.run(command, check=True, cwd=ROOT)
        ready.touch()
    print(f"\n{name}", flush=True)
    return subprocess.run([own, "-m", "pytest", "-q", *sys.argv[1:]], check=False, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
