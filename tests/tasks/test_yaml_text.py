"""YAML: the numbers of YAML 1.2, limits for all input, and output that every parser reads alike."""

import warnings

import pytest
import yaml

from evo_core.config.parsing import ConfigError, parse_config
from flows.cli.app import _main
from flows.cli.flags import split_flags
from tasks.yaml_text import MOST_CHARACTERS, MOST_DEPTH, MOST_VALUES, dump_yaml, load_yaml

NUMBERS = {
    "1e-3": 0.001,
    "1e3": 1000,
    "1E+3": 1000,
    "-2e2": -200,
    "1.0e3": 1000.0,
    "1000.0": 1000.0,
    ".5e3": 500.0,
    "-.5e-1": -0.05,
    "1e20": 1e20,
    "010": 10,
    "08": 8,
    "0o10": 8,
    "0x1F": 31,
    "1_500_000": 1_500_000,
    "1_500e3": 1_500_000,
    "1_000.5": 1000.5,
    "1:30": "1:30",
    "2001-99-99": "2001-99-99",
    "2001-01-01": "2001-01-01",
    "yes": "yes",
    "off": "off",
    "=": "=",
    "true": True,
    "~": None,
    "'1e3'": "1e3",
    "!!float 3": 3.0,
}

NINE = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 10)
)
HOSTILE = {
    "a cycle": ("search: &s {lr: *s}", r"\*s refers to a value that contains it; .* \(line 1, column 17\)"),
    "a cycle of merges": ("{<<: &a {<<: *a}}", "refers to a value that contains it"),
    "nine levels of aliases": (NINE, f"expected at most {MOST_VALUES} values"),
    "deep": ("[" * (MOST_DEPTH + 1), f"nested too deep: expected at most {MOST_DEPTH} levels"),
    "very deep": ("{a: " * 20_000, "nested too deep"),
    "long": ("a" * (MOST_CHARACTERS + 1), f"expected at most {MOST_CHARACTERS} characters"),
    "a key twice": ("{a: {b: 1, b: 2}}", r"'b' is given twice \(line 1, column 12\)"),
    "a number as a key twice": ("{1: a, 1: b}", "1 is given twice"),
    "a merge twice": ("{<<: {a: 1}, <<: {b: 1}}", "duplicate merge key"),
    "digits": ("9" * 5000, "expected what !!int stands for, got '9999"),
    "a tag that does not fit": ("a: !!int x", r"expected what !!int stands for, got 'x' \(line 1, column 4\)"),
    "a set of a list": ("x: !!set [a]", "expected a mapping"),
    "a map of a list": ("!!map [a]", "expected a mapping"),
    "code": ("!!python/object/apply:os.system [true]", "could not determine a constructor"),
    "a mapping as a key": ("? {a: 1}\n: 2", "unhashable"),
    "an unknown alias": ("*a", "undefined alias"),
    "a zero": ("a: \0", "unacceptable character"),
    "two documents": ("--- 1\n--- 2", "a single document"),
}
FILES = {name: text for name, (text, _) in HOSTILE.items()}
FILES |= {"a list": "- 1", "a number": "1", "a list as a key": "? [a]\n: 1"}


@pytest.mark.parametrize(("text", "value"), NUMBERS.items())
def test_plain_scalars_have_the_types_of_yaml_1_2(text, value):
    found = load_yaml(f"[{text}]", "not YAML")[0]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(("text", "said"), HOSTILE.values(), ids=HOSTILE)
def test_invalid_yaml_is_refused_in_one_line(text, said):
    with pytest.raises(ConfigError, match=said) as refused:
        load_yaml(text, "not YAML")
    assert str(refused.value).startswith("not YAML: ")


def test_anchors_may_be_repeated_and_given_again_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_yaml("a: &x [1]\nb: *x\nc: &x 2\nd: *x", "") == {"a": [1], "b": [1], "c": 2, "d": 2}


def test_written_yaml_is_read_alike_by_yaml_1_1_parsers():
    words = [text.strip("'") for text in NUMBERS] + ["", "a\nb", "ä", "- a", "null", "No", "y", "1_0", "<<", "0b1"]
    plain = {"words": words, "numbers": [1e-5, 1e16, 1000.0, 1000, -0.0, True, None], "empty": [{}, []], "n": {"y": 1}}
    text = dump_yaml(plain)
    assert list(plain) == [line.partition(":")[0].strip("'") for line in text.splitlines() if line[0] not in " -"]
    for read in (yaml.safe_load(text), load_yaml(text, "")):
        assert read == plain
        assert list(map(type, read["numbers"])) == list(map(type, plain["numbers"]))


def test_arguments_of_environments_and_wrappers_arrive_as_they_are_meant():
    text = """
    env:
      id: CartPole-v1
      kwargs: {dt: 1e-3, code: 010, steps: 1e3, word: '1e3', since: 2001-01-01}
      wrappers: [TimeLimit: {max_episode_steps: 1e3, name: '1e3'}]
    training: {max_steps: 1_500_000}
    """
    config = parse_config(load_yaml(text, ""))
    assert config.env.kwargs == {"dt": 0.001, "code": 10, "steps": 1000, "word": "1e3", "since": "2001-01-01"}
    (wrapper,) = config.env.wrappers
    assert wrapper == {"TimeLimit": {"max_episode_steps": 1000, "name": "1e3"}}
    assert isinstance(wrapper["TimeLimit"]["max_episode_steps"], int)
    _, overrides = split_flags(["--env.kwargs", "{dt: 1e-3, n: 010}", "--training.max_steps=2e6"])
    assert overrides == {"env.kwargs": {"dt": 0.001, "n": 10}, "training.max_steps": 2_000_000}


@pytest.mark.parametrize("command", [["run", "--config"], ["import-agilerl"], ["doctor", "--config"]], ids=" ".join)
@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_hostile_file_ends_a_command_with_code_2(tmp_path, capsys, command, text):
    (tmp_path / "bad.yaml").write_text(text)
    assert _main([*command, str(tmp_path / "bad.yaml")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("evolve: ") and len(said) < 600, said


def test_an_endless_file_is_not_read_to_its_end(capsys):
    assert _main(["run", "--config", "/dev/zero"]) == 2
    assert f"expected at most {MOST_CHARACTERS} characters" in capsys.readouterr().err


def test_a_hostile_flag_is_refused_too(capsys):
    assert _main(["run", "--env.kwargs", "&a [*a]"]) == 2
    assert "refers to a value that contains it" in capsys.readouterr().err
