"""`jaxnn data list | fetch | describe`: what there is by name, on this machine before it is needed, looked at."""

from typing import Any

from jaxnn import data
from jaxnn.cli._config import DataConfig, DescribeConfig, FetchConfig, ListConfig
from jaxnn.cli._help import as_options
from jaxnn.cli._json import to_json
from jaxnn.cli._output import say, write
from jaxnn.cli._screen import facts_of, working
from jaxnn.cli._source import column, is_name, table_options
from jaxnn.data._remote.fetch import status

WHO = "data describe"


def run(config: DataConfig) -> int:
    """Run one of the three; return the exit code."""
    action: Any = config.action
    verbs = {ListConfig: list_sets, FetchConfig: fetch, DescribeConfig: describe}
    return verbs[type(action)](action)


def list_sets(config: ListConfig) -> int:
    """Print a line for every data set known by name, and where the downloaded ones are; return the exit code."""
    found = {}
    for name, about in data.names().items():
        state, _, missing, folder = status(name)
        found[name] = {"about": about, "state": state, "missing_bytes": missing, "folder": folder and str(folder)}
    if config.json:
        write(to_json(found) + "\n")
        return 0
    for name, facts in found.items():
        where = f" [{facts['state']}: {facts['folder']}]" if facts["folder"] else ""
        say(f"{name:<15}{facts['about']}{where}")
    say("", "use one:  jaxnn train --data NAME    get one:  jaxnn data fetch NAME    look:  jaxnn data describe NAME")
    return 0


def fetch(config: FetchConfig) -> int:
    """Download a set and print its folder; return the exit code."""
    folder = data.fetch(config.name, config.folder)
    files = {path.name: path.stat().st_size for path in sorted(folder.glob("*-ubyte.gz"))}
    if config.json:
        write(to_json({"name": config.name, "folder": str(folder), "files": files}) + "\n")
        return 0
    total = sum(files.values())
    say(*facts_of({config.name: f"{len(files)} files, {total / 1e6:.1f} MB, checked", "folder": str(folder)}))
    if config.folder is not None:
        say(f"{'use it':<12}jaxnn train --data {config.name} --folder {folder}")
    return 0


def describe(config: DescribeConfig) -> int:
    """Print what is in a file or a named set; return the exit code."""
    options = table_options(config)
    with working(f"reading {config.data}"):
        if is_name(WHO, config.data):
            found = data.describe(data.load(config.data), label=config.label, features=config.features, **options)
        else:
            found = data.describe(config.data, label=column(config.label), features=config.features, **options)
    if config.json:
        write(to_json(found.to_dict()) + "\n")
    else:
        say(as_options(str(found)))
    return 0
