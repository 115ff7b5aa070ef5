"""The README's Python runs as written; what it lists exists."""

import pathlib
import re

import jaxnn

README = pathlib.Path(__file__).parent.parent / "README.md"


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_scripts_run_as_written_and_learn_the_digits(capsys):
    names: dict = {}
    for block in blocks():
        exec(compile(block, str(README), "exec"), names)
    printed = capsys.readouterr().out
    assert len(blocks()) == 2 and "returned epoch" in printed
    assert jaxnn.evaluate(names["objective"], names["result"].params, names["test"]).accuracy > 0.94
    assert names["gradient"][0].kernel.shape == names["one"][0].kernel.shape == (64, 128)


def test_the_first_script_has_about_twenty_lines():
    code = [line for line in blocks()[0].splitlines() if line.strip()]
    assert 14 <= len(code) <= 20


def test_every_name_in_the_table_of_pieces_exists():
    table = README.read_text().split("## The pieces")[1].split("Conventions")[0]
    listed = set(re.findall(r"`([A-Za-z_.]+)[(`]", table))
    ours = {name for name in listed if not name.startswith(("model.", ".", "objective"))}
    assert len(ours) > 40
    for name in ours:
        place = jaxnn
        for part in name.split("."):
            assert hasattr(place, part), f"the README names {name}"
            place = getattr(place, part)
