"""Stage 0: SwAV on labeled training images and pool; every trunk starts from it."""

import copy
import hashlib
from pathlib import Path
from typing import Any

from slade_plugin.base.differences import first_difference
from slade_plugin.base.errors import ExperimentError
from slade_plugin.base.files import sha256_of_file
from slade_plugin.method.self_supervised.settings import PLACE, SwAVSettings
from slade_plugin.stages.kinds import SELF_SUPERVISED, STUDENT
from slade_plugin.stages.run_command import RunCommand
from slade_plugin.stages.stage import Findings, Stage


class SelfSupervised(Stage):
    """Train one trunk per split scheme, or use the folder of a finished stage."""

    kind = SELF_SUPERVISED
    heading = "self-supervised trunk"
    has_scores = False

    def __init__(self, command: RunCommand, number: int = 1) -> None:
        super().__init__(command, number)
        place = command.self_supervised.get(PLACE)
        if place and place != str(command.stage_folder(self.kind)):
            self.given = Path(place)

    def is_wanted(self) -> bool:
        """Whether the config has an entry `self_supervised`."""
        return bool(self.command.self_supervised)

    def check(self) -> Findings:
        """Try a step on two images, or hash the existing trunks."""
        if self.given is None:
            self._parser().preflight()
            return Findings()
        digest = hashlib.sha256()
        for path in sorted(self.given.glob("*/trunk.pth")):
            digest.update(f"{path.parent.name} {sha256_of_file(path)}".encode())
        return Findings({self.kind: digest.hexdigest()})

    def describe(self) -> str:
        """Return method and number of epochs."""
        settings = SwAVSettings.from_config(self.command.self_supervised)
        return f"SwAV, {settings.num_epochs} epochs per split scheme"

    def run(self, entry: dict[str, Any]) -> None:
        """Train the missing trunks and check that the recorded ones are unchanged."""
        manifests = self._parser().run()
        trunks = {
            name: {key: manifest[key] for key in ("trunk_sha256", "start_sha256", "seconds")}
            | {"loss": [epoch["loss"] for epoch in manifest["epochs"]]}
            for name, manifest in manifests.items()
        }
        difference = first_difference(entry.get("trunks", trunks), trunks)
        if difference is not None:
            where, old, new = difference
            raise ExperimentError(
                f"the trunks in {self.folder} have changed: {where} was {old!r} and is now "
                f"{new!r}; expected those of this run. Restore them, or start a new run under "
                "another --experiment_name."
            )
        entry |= {"done": True, "trunks": trunks}
        for name, trunk in trunks.items():
            print(f"      {name}: loss {trunk['loss'][0]:.3f} to {trunk['loss'][-1]:.3f}")

    def _parser(self) -> Any:
        args = copy.deepcopy(self.command.configs[STUDENT])
        args.api_parser = {"APISladeSelfSupervised": {}}
        return self.command.runner.get_api_parser(args)
