"""Files of settings: numbers as YAML 1.2 and DVC read them, and what would take time, memory or meaning away."""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.serialize import load_yaml

from fdpbench.bench.plan.check import load_runs
from fdpbench.prep.settings.align import AlignParams
from fdpbench.prep.settings.params import read_params
from fdpbench.prep.settings.plain_yaml import MOST_BYTES, MOST_LEVELS, MOST_VALUES, parse_yaml, read_yaml
from fdpbench.prep.settings.problems import ParamsError
from fdpbench.prep.settings.section import section
from fdpbench.prep.settings.synth import SynthParams
from fdpbench.prep.settings.task import FlowInput
from tests.support.builders import params

FILE = Path("params.yaml")
FLOATS = {"1e-3": 1e-3, "1E-3": 1e-3, "1.e-3": 1e-3, "+1e-3": 1e-3, "1.0e-3": 1e-3, ".1e-2": 1e-3, "0.001": 1e-3}
FLOATS |= {"1E5": 1e5, "+1e3": 1e3, "-2e2": -200.0, ".5": 0.5, "+.5": 0.5, "3.": 3.0, "12e03": 12000.0, ".5e3": 500.0}


@pytest.mark.parametrize(("text", "value"), FLOATS.items())
def test_floats_of_yaml_1_2(text: str, value: float) -> None:
    found = parse_yaml(f"a: {text}", FILE)["a"]
    assert found == value and isinstance(found, float)
    assert parse_yaml(f"a: '{text}'", FILE)["a"] == text, "in quotes it is text"


NUMBERS = [  # every number that has no need to be whole
    *((f"synth.{key}", 0.5) for key in ("peak_min", "drift", "blink_rate", "gaze_rate", "overlap")),
    *((f"align.{key}", 0.5) for key in ("eye_distance", "eye_height")),
    *((f"options.ststnet.{key}", 0.5) for key in ("lr", "weight_decay")),
    ("options.ststnet.model.dropout", 0.5),
    ("runs.tiny-ststnet.set.lr", 0.5),
]


@pytest.mark.parametrize(("dotted", "value"), NUMBERS)
def test_every_number_may_be_written_with_an_exponent(dotted: str, value: float, tmp_path: Path) -> None:
    content = copy.deepcopy(params())
    content["options"]["ststnet"]["model"] = {}
    content["runs"]["tiny-ststnet"]["set"] = {}
    place: Any = content
    *parts, last = dotted.split(".")
    for part in parts:
        place = place[part]
    place[last] = "5e-1"
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content).replace("'5e-1'", "5e-1"), encoding="utf-8")
    found: Any = read_params(path)
    assert len(load_runs(found)) == 3
    for part in dotted.split("."):
        found = found[part]
    assert found == value


def test_limits_of_flow_may_be_written_with_an_exponent() -> None:
    text = "{size: 28, scaling: fixed, limit: 2e0, strain_limit: 1e-1}"
    found = section(FlowInput, parse_yaml(text, FILE), "flow")
    assert (found.limit, found.strain_limit) == (2.0, 0.1)


def test_a_count_is_written_in_digits_and_the_message_says_so() -> None:
    content = params()["synth"] | {"subjects": 1e1}
    with pytest.raises(ParamsError, match=r"synth\.subjects: .*integer \(found 10.0\); write 10"):
        section(SynthParams, content, "synth")


PLAIN = ["1e-3", "1E5", "010", "0o17", "0x1F", "yes", "no", "on", "off", "y", "true", "1:30", "1_000", "~", "null"]
PLAIN += ["2020-01-01", "0777", "08", "1e", "1.5E+3", "text", "[a, 1]", "{a: 1e3}", "'1e3'", '"1"', "+1", "-0", "1."]


@pytest.mark.parametrize("text", PLAIN)
def test_values_have_the_type_that_dvc_compares(text: str, tmp_path: Path) -> None:
    """Else DVC would take for the same what we take for different, or the other way round."""
    path = tmp_path / "params.yaml"
    path.write_text(f"a: {text}\n", encoding="utf-8")
    assert repr(read_yaml(path)) == repr(load_yaml(str(path)))


@pytest.mark.parametrize("number", [".inf", "-.inf", "+.INF", ".nan", "1e400", "-1e999"])
@pytest.mark.parametrize("key", ["eye_distance", "eye_height"])
def test_numbers_without_end_are_refused_by_name(key: str, number: str) -> None:
    content = params()["align"] | {key: parse_yaml(number, FILE)}
    with pytest.raises(ParamsError, match=rf"align\.{key}: "):
        section(AlignParams, content, "align")


@pytest.mark.parametrize("key", ["lr", "weight_decay", "dro_step", "epochs"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_settings_without_end_are_refused_by_name(key: str, value: float) -> None:
    content = params()
    content["options"]["ststnet"][key] = value
    with pytest.raises(ParamsError, match=rf"options\.ststnet\.{key}: Input should be a (finite number|valid integer)"):
        load_runs(content)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_models_options_without_end_are_refused_by_name(value: float) -> None:
    content = params()
    content["options"]["ststnet"]["model"] = {"dropout": value}
    with pytest.raises(ParamsError, match=r"options\.ststnet\.model\.dropout: .*(finite|less than|greater)"):
        load_runs(content)


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 12)
)
MERGES = "a0: &a0 {k: v}\n" + "".join(f"a{k}: &a{k} {{<<: *a{k - 1}, x{k}: *a{k - 1}}}\n" for k in range(1, 40))
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{k}: &a{k} [*a{k - 1}]\n" for k in range(1, 2000))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, f"line 5: a4 has more than {MOST_VALUES:,} values, aliases .* written out"),
        (MERGES, "nested more than|more than 30,000 values"),
        (CHAIN, f"nested more than {MOST_LEVELS} levels"),
        ("a: " + "[" * 100_000, f"line 1: nested more than {MOST_LEVELS} levels deep"),
        ("a: " + "{a: " * 50_000, f"line 1: nested more than {MOST_LEVELS} levels deep"),
        ("- " * 50_000, f"line 1: nested more than {MOST_LEVELS} levels deep"),
        ("".join("  " * k + "a:\n" for k in range(600)), f"line 20: nested more than {MOST_LEVELS} levels deep"),
        ("a: [" + "1," * 400_000 + "1]", f"line 1: more than {MOST_VALUES:,} values"),
        ("a: &a [*a]", "a.0 holds itself"),
        ("a: &a {b: {c: *a}}", "a.b.c holds itself"),
        ("{[a]: b}", "a key of the file is no single word"),
        ("a: {? {b: c} : d}", "a key of a is no single word"),
        ("a: " + "9" * 5000, "not valid YAML"),
        ("a: 2020-13-45", "not valid YAML"),
        ("a: 1\n---\nb: 2", "not valid YAML"),
        ("a: \x00", "not valid YAML"),
        ("a: !!python/name:os.system", "not valid YAML"),
        ("a: *nowhere", "not valid YAML"),
    ],
    ids=lambda value: value[:20].strip(),
)
def test_what_takes_time_or_memory_is_refused_at_once(text: str, message: str) -> None:
    started = time.process_time()
    with pytest.raises(ParamsError, match=message) as caught:
        parse_yaml(text, FILE)
    assert str(caught.value).startswith("params.yaml")
    assert time.process_time() - started < 20


def test_aliases_that_stay_small_are_read() -> None:
    text = "base: &base {epochs: 3, lr: 1e-3}\none: {<<: *base, epochs: 4}\ntwo: *base\n"
    found = parse_yaml(text, FILE)
    assert found["one"] == {"epochs": 4, "lr": 1e-3} and found["two"] == found["base"]


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("a: 1\n" + "#" * MOST_BYTES, encoding="utf-8")
    with pytest.raises(ParamsError, match="larger than 1,000,000 bytes"):
        read_yaml(path)


def test_a_file_of_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes("a: 1\nb: é\n".encode("latin-1"))
    with pytest.raises(ParamsError, match="byte 9 is not UTF-8"):
        read_yaml(path)
