"""Print the service's dependencies as requirements: `lowest` pins each to its lower bound, else the ranges stay."""

import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
dependencies = [*project["dependencies"], *project["optional-dependencies"]["service"]]
if sys.argv[1] == "lowest":
    dependencies = [re.sub(r">=([\w.]+),<[\w.]+", r"==\1", dependency) for dependency in dependencies]
sys.stdout.write("\n".join(dependencies) + "\n")
