"""The public functions and classes explain themselves, and their examples are true."""

import doctest
import inspect

import pytest

import dysweep

PUBLIC = {name: public for name in dysweep.__all__ for public in [getattr(dysweep, name)]}
METHODS = {
    f"Space.{name}": getattr(dysweep.Space, name)
    for name in ("compile", "parameters", "resolve", "to_json", "from_json")
}


OBJECTS = {**PUBLIC, **METHODS}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.online) if name == "dysweep_sync" else name for name in OBJECTS],
)
def test_it_says_what_it_does_in_one_sentence_and_shows_it(name, request, capsys):
    documented = OBJECTS[name]
    text = inspect.getdoc(documented)
    assert text.partition("\n")[0].endswith(".") and "Example:" in text
    if inspect.isfunction(documented) or inspect.ismethod(documented):
        arguments = inspect.signature(documented).parameters.keys() - {"self"}
        assert not arguments or "Args:" in text
    if name == "dysweep_sync":
        request.getfixturevalue("server")
    finder = doctest.DocTestFinder(recurse=False)
    names = {"dysweep": dysweep, "Space": dysweep.Space}
    [test] = finder.find(documented, name, globs=names, module=False)
    assert test.examples
    failures = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test).failed
    assert failures == 0, capsys.readouterr().out
