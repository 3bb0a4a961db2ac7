"""A wheel knows the commit that it was made of: `harness/commit`, which `--version` and results say where there is no checkout."""

import subprocess
import tempfile
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Commit(BuildHookInterface):

    def initialize(self, version: str, build_data: dict) -> None:
        if version == "editable":        # a checkout asks git itself
            return
        try:
            said = subprocess.run(["git", "-C", self.root, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return                       # not of a checkout: its source has a hash, which is said in any case
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "commit"
        path.write_text(said.stdout)
        build_data["force_include"][str(path)] = "harness/commit"

    def finalize(self, version: str, build_data: dict, artifact_path: str) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()
