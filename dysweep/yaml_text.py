"""YAML as dysweep reads and writes it, with one rule everywhere."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from typing import Any

import yaml

from dysweep.errors import ConfigError
from dysweep.limits import check_size

_WHOLE = r"(?:[0-9]+|[0-9]{1,3}(?:_[0-9]{3})+)"
_NUMBERS = {
    "int": rf"[-+]?(?:{_WHOLE}|0b[01]+|0o[0-7]+|0x[0-9a-fA-F]+)",
    "float": rf"[-+]?(?:{_WHOLE}\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?{_WHOLE}[eE][-+]?[0-9]+"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
}
_BLANKS = "\xa0\u2007\u202f\u3000\u200b\ufeff"
_AS_TEXT = ("timestamp", "value", "int", "float")


class _Rules:
    """YAML as configurations mean it: `1e-3` is a number, dates and times are text, no key is there twice."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Check the keys, and resolve `<<`.

        PyYAML 6.0.4 compares keys by identity, which makes chains of merges wrong.
        """
        _check_keys(node)
        # A key of the mapping's own wins over merged ones, and of these the first, as YAML 1.1 says.
        own = [(key, value) for key, value in node.value if key.tag != _MERGE]
        merged = [value for key, value in node.value if key.tag == _MERGE]
        if not merged:
            return
        sources = merged[0].value if isinstance(merged[0], yaml.SequenceNode) else merged
        pairs: dict[Any, tuple[yaml.Node, yaml.Node]] = {}
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                raise _problem("`<<` takes a mapping, or a list of mappings, as in `<<: *name`", source)
            self.flatten_mapping(source)
            for key, value in source.value:
                pairs.setdefault(_identity(key), (key, value))
        pairs.update((_identity(key), (key, value)) for key, value in own)
        node.value = list(pairs.values())

    def construct_text(self, node: yaml.ScalarNode) -> Any:
        return node.value

    def construct_whole_number(self, node: yaml.ScalarNode) -> int:
        if not re.fullmatch(_NUMBERS["int"], node.value):
            raise _problem(f"{node.value!r} is not a whole number", node)
        text = node.value.replace("_", "")
        digits = text.lstrip("+-")
        if re.fullmatch("0[0-7]+", digits):
            raise _problem(
                f"{text} may be octal ({int(digits, 8)}) or decimal ({int(digits)}); "
                f"write one of these numbers, or '{text}' in quotes for text",
                node,
            )
        return int(text, 0) if re.match("0[box]", digits) else int(text)

    def construct_number(self, node: yaml.ScalarNode) -> float:
        text = node.value.replace("_", "").lower()
        if text.lstrip("+-") in (".inf", ".nan"):
            return float(text.replace(".", ""))
        try:
            number = float(text)
        except ValueError:
            raise _problem(f"{node.value!r} is not a number", node) from None
        if math.isinf(number):
            raise _problem(f"{text} is too large for a number; write '{text}' in quotes for text", node)
        return number


class _Loader(_Rules, yaml.SafeLoader):
    """PyYAML's own parser: slower, and its messages are clearer."""


if yaml.__with_libyaml__:

    class _FastLoader(_Rules, yaml.CSafeLoader):
        """libyaml's parser, five times as fast."""

    _LOADERS: list[Any] = [_FastLoader, _Loader]
else:
    _LOADERS = [_Loader]

_MERGE = "tag:yaml.org,2002:merge"
_RESOLVERS = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in _AS_TEXT]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _each in _LOADERS:
    _each.yaml_implicit_resolvers = {first: list(resolvers) for first, resolvers in _RESOLVERS.items()}
    for _kind, _pattern in _NUMBERS.items():
        _each.add_implicit_resolver(
            f"tag:yaml.org,2002:{_kind}", re.compile(f"(?:{_pattern})$"), list("-+.0123456789")
        )
    _each.add_constructor("tag:yaml.org,2002:int", _Rules.construct_whole_number)
    _each.add_constructor("tag:yaml.org,2002:float", _Rules.construct_number)
    _each.add_constructor(_MERGE, _Rules.construct_text)  # `<<` that is not a key


def _check_keys(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value.strip(_BLANKS) != key.value and not key.style:
            raise _problem(f"the key {key.value!r} begins or ends with what only looks like a blank", key)
        name = _identity(key)
        if name in seen:
            raise _problem(f"duplicate key {key.value!r}", key)
        seen.add(name)


def _identity(key: yaml.Node) -> Any:
    return (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key)


def _problem(text: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, text, node.start_mark)


class _Dumper(yaml.SafeDumper):
    """Quotes texts that this loader or YAML 1.1 would take for something else."""


_Dumper.yaml_implicit_resolvers = {
    first: [*_Loader.yaml_implicit_resolvers.get(first, []), *resolvers]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _text_node(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # PyYAML writes these three as they are, in single quotes, and reads them as line breaks.
    style = '"' if re.search("[\x85\u2028\u2029]", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text_node)


def dump_yaml(tree: Any, is_compact: bool = False) -> str:
    """Write a tree as YAML that `parse_yaml` reads as the same tree; compact with short lists in one line."""
    style = None if is_compact else False
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=style)


def _loaded(text: str) -> Any:
    # libyaml takes tabs that PyYAML refuses, skips byte order marks, and reads `?` in `{}` differently; its
    # messages are others.
    if not re.search("[\t\ufeff?]", text):
        with suppress(yaml.YAMLError, ValueError, RecursionError):
            return yaml.load(text, Loader=_LOADERS[0])
    return yaml.load(text, Loader=_Loader)


def parse_yaml(text: str, where: str) -> Any:
    """Read a YAML text with the one rule that all of dysweep uses.

    Args:
        text: the YAML.
        where: what to call it in messages: a file's path, or an option.

    Returns:
        the tree. `1e-3` and `1_000` are numbers, dates and times (`12:30:00`) are text; `on`, `off`, `yes`
        and `no` are booleans; a whole number that begins with 0 is refused, as it may be octal.

    Raises:
        ConfigError: it is not YAML, and the message names the line; or it is too large with its aliases.
    """
    try:
        tree = _loaded(text)
        check_size(tree, where)
        return tree
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}, line {mark.line + 1}, column {mark.column + 1}" if mark else where
        problem = getattr(error, "problem", None) or str(error)
        if problem == "but found another document":
            problem = "a second document begins here (`---`); write one document"
        elif "tab character" in problem or "'\\t'" in problem:
            problem = "a tab character; YAML is indented with blanks only"
        elif found := re.search(r"^[ ]*\xa0", text, re.MULTILINE):
            line = text.count("\n", 0, found.end()) + 1
            place = f"{where}, line {line}"
            problem = "a no-break space, which looks like a blank; YAML is indented with blanks only"
        raise ConfigError(f"{place}: {problem}".replace("\n", " ")) from None
    except (RecursionError, ValueError) as error:
        problem = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        if "digits" in problem:
            problem = "a number with too many digits; at most 4,000 can be kept"
        raise ConfigError(f"{where}: {problem}".replace("\n", " ")) from None
