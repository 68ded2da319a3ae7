"""What the build compiles, one entry a source."""
import json
import pathlib
import re


def sources_of(entry):
    """The sources that one entry compiles: itself, or those of a unity file (ATELIER_UNITY)."""
    path = pathlib.Path(entry["file"])
    if path.parent.name != "Unity":
        return [entry["file"]]
    return re.findall(r'^#include "(.*)"$', path.read_text(), re.M)


def compiled(build):
    """compile_commands.json of the folder `build` as it is, a unity file as one; nothing where there is no such file."""
    path = pathlib.Path(build) / "compile_commands.json"
    return json.loads(path.read_text()) if path.exists() else []


def entries(build):
    """The same, an entry a source: a unity file's command stands for each of its sources."""
    for entry in compiled(build):
        for source in sources_of(entry):
            yield {**entry, "file": source, "command": entry["command"].replace(entry["file"], source)}
