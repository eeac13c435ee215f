"""Check the wheel and the source archive: what is in them, and that a second build gives the same bytes.

``python -m tests.package FOLDER`` builds them into FOLDER, with the time of the last commit. It is a part of
``nox -s package``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
DEFAULT_TIME = "1700000000"
"""For a copy without git's history, in seconds since 1970."""


def build(folder: Path) -> dict[str, str]:
    """Build both archives into a folder; return their names and hashes."""
    git = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True)
    environment = {"SOURCE_DATE_EPOCH": git.stdout.strip() or DEFAULT_TIME, **os.environ}
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("fullstory_async-*"))
    }


def contents_of_wheel(path: Path) -> list[str]:
    """Return what is wrong with the files of a wheel."""
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    metadata = path.name.split("-py3")[0] + ".dist-info/"
    wanted = {each.relative_to(ROOT).as_posix() for each in (ROOT / "fullstory_async").rglob("*.py")}
    wanted |= {"fullstory_async/py.typed", f"{metadata}licenses/LICENSE", f"{metadata}entry_points.txt"}
    strange = {each for each in names if not each.startswith(("fullstory_async/", metadata))}
    return [f"{path.name} lacks {each}" for each in sorted(wanted - names)] + [
        f"{path.name} has {each}"
        for each in sorted(strange | {each for each in names if "__pycache__" in each})
    ]


def contents_of_archive(path: Path) -> list[str]:
    """Return what is wrong with the files of a source archive."""
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "docs/index.md", "tests/conftest.py"}
    made = {each for each in names if each.startswith(("docs/reference/", "build/")) or "__pycache__" in each}
    return [f"{path.name} lacks {each}" for each in sorted(wanted - names)] + [
        f"{path.name} has {each}" for each in sorted(made)
    ]


def main(folder: Path) -> int:
    """Build twice, and report every difference and every wrong file."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        built, again = build(Path(first)), build(Path(second))
        wrong = [f"{name} differs in the second build" for name in built if again.get(name) != built[name]]
        for path in Path(first).iterdir():
            wrong += contents_of_wheel(path) if path.suffix == ".whl" else []
            wrong += contents_of_archive(path) if path.suffix == ".gz" else []
            shutil.copy(path, folder)
    sys.stdout.writelines(
        f"{line}\n" for line in wrong or (f"{digest}  {name}" for name, digest in built.items())
    )
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
