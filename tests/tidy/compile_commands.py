"""What the build compiles, one entry a source."""
import json
import pathlib
import re


def entries(build):
    """compile_commands.json of the folder `build`; where a unity file compiles several sources at once (ATELIER_UNITY), its
    command stands for each of them. Nothing where there is no such file."""
    path = pathlib.Path(build) / "compile_commands.json"
    if not path.exists():
        return
    for entry in json.loads(path.read_text()):
        unity = pathlib.Path(entry["file"])
        if unity.parent.name != "Unity":
            yield entry
            continue
        for source in re.findall(r'^#include "(.*)"$', unity.read_text(), re.M):
            yield {**entry, "file": source, "command": entry["command"].replace(entry["file"], source)}
