"""The form of a run: fifteen described fields, a box or a pasted file; and the resulting configuration."""

import re
from pathlib import Path

import pytest
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate

from deployments.entrypoints import evaluate, evolve, gc, resume
from deployments.field_titles import SHOWN, TITLES, errors_in_form_terms
from deployments.form import DEFAULT, FORM_DEFAULTS, Advanced, Hyperparameter, config_of
from evo_core.config.parsing import ConfigError, parse_config
from evo_core.config.run_config import RunConfig, evolvable_hyperparameters
from flows.cli.flags import read_yaml
from flows.settings import BadInput
from tasks.yaml_text import load_yaml

CONFIGS = sorted(Path("deployments/configs").glob("*.yaml"))
FORM = {**FORM_DEFAULTS, "yaml": ""}
SCHEMA = parameter_schema(evolve).model_dump()


def refused(**values):
    with pytest.raises(ConfigError) as info:
        config_of({**FORM, **values})
    return str(info.value)


def test_the_form_shows_fifteen_fields_with_title_and_description():
    assert len(SCHEMA["properties"]) == 15
    for flow in (evolve, resume, evaluate, gc):
        for name, field in parameter_schema(flow).model_dump()["properties"].items():
            assert field["title"] != name
            assert len(field["description"]) > 10, name


def test_the_box_is_closed_at_first():
    assert SCHEMA["properties"]["advanced"]["default"] is None
    assert {"type": "null"} in SCHEMA["properties"]["advanced"]["anyOf"]


def bounded(schema, name=""):
    """Every field of a form's schema that has bounds, those of its boxes included, with its text."""
    for kind in (schema, *(box for box in schema.get("definitions", {}).values())):
        for field, described in kind.get("properties", {}).items():
            choices = [described, *described.get("anyOf", []), *described.get("prefixItems", [])]
            choices += [described["items"]] if isinstance(described.get("items"), dict) else []
            keys = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
            found = {choice[key] for choice in choices for key in keys if key in choice}
            if found:
                yield f"{kind.get('title', '')} {field}", found, described["description"]


@pytest.mark.parametrize("flow", [evolve, resume, evaluate, gc], ids=lambda flow: flow.name)
def test_bounds_are_in_the_description(flow):
    schema = parameter_schema(flow).model_dump()
    fields = list(bounded(schema))
    assert len(fields) >= (40 if flow is evolve else 1)
    missing = {
        (name, bound)
        for name, bounds, text in fields
        for bound in bounds
        if bound not in map(float, re.findall(r"(?<![\w-])-?\d+(?:\.\d+)?(?:e-?\d+)?", text))
    }
    assert missing == set()


def test_no_parameter_is_an_address_or_a_secret():
    flows = (evolve, resume, evaluate, gc)
    names = {name for flow in flows for name in parameter_schema(flow).model_dump()["properties"]}
    assert not names & {"store", "study", "engine", "url", "endpoint", "password", "key", "token", "device", "workers"}


def test_the_untouched_form_is_the_default_configuration_with_three_evolving_hyperparameters():
    config = config_of(FORM)
    assert list(config.search) == ["lr", "batch_size", "learn_step"]
    assert config.model_copy(update={"search": {}}) == DEFAULT


def test_every_field_of_the_configuration_is_in_the_form_once():
    def leaves(model, prefix=""):
        for name, field in model.model_fields.items():
            nested = field.annotation
            if isinstance(nested, type) and hasattr(nested, "model_fields") and prefix.count(".") < 1:
                yield from leaves(nested, f"{prefix}{name}.")
            else:
                yield prefix + name

    shown, boxed, all_of_them = set(SHOWN.values()), set(leaves(Advanced)), set(leaves(RunConfig))
    assert shown | boxed == all_of_them
    assert not shown & boxed


def test_form_fields_reach_the_configuration():
    advanced = Advanced(mutation={"rl_hp": 0.5}, search={"ent_coef": {"min": 0.0, "max": 0.1}})
    config = config_of(
        {**FORM, "environment": "Acrobot-v1", "seed": 7, "lr": 2e-3, "target": -100.0, "advanced": advanced}
    )
    assert (config.env.id, config.seed, config.algorithm.lr, config.training.target) == ("Acrobot-v1", 7, 2e-3, -100)
    assert config.mutation.rl_hp == 0.5
    assert list(config.search) == ["lr", "batch_size", "learn_step", "ent_coef"]
    assert config.search["lr"].min == pytest.approx(2e-4)
    assert config.search["lr"].max == pytest.approx(2e-2)


@pytest.mark.parametrize("name", Hyperparameter.__args__)
def test_every_hyperparameter_may_evolve_around_its_initial_value(name):
    gene = config_of({**FORM, "evolving": [name]}).search[name]
    initial = getattr(DEFAULT.algorithm, name)
    assert gene.min < initial < gene.max


def test_the_form_knows_every_hyperparameter_that_has_an_initial_value():
    assert set(Hyperparameter.__args__) == set(evolvable_hyperparameters()) - {"target_kl", "desired_kl"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_ready_configuration_may_be_pasted(path):
    assert config_of({**FORM, "yaml": path.read_text()}) == parse_config(read_yaml(path))


def test_merged_keys_may_be_replaced():
    merged = "base: &base {a: 1, b: 2}\nmine: {<<: *base, b: 3}"
    assert load_yaml(merged, "") == {"base": {"a": 1, "b": 2}, "mine": {"a": 1, "b": 3}}


def test_invalid_form_fields_are_reported_in_one_line():
    assert "batch_size" in refused(batch_size=4096, learn_step=1024)
    assert "multiple of env.num_envs" in refused(evo_steps=1001)
    assert "Learning rate was changed in the form" in refused(lr=0.5, yaml=CONFIGS[0].read_text())
    assert "not YAML" in refused(yaml="env: [")
    assert "expected sections" in refused(yaml="hello")
    assert "*a refers to a value that contains it" in refused(yaml="a: &a [*a]")
    assert "too deep" in refused(yaml="[" * 3000)
    assert refused(yaml="seed: !!int one").startswith(
        "Configuration as YAML: not YAML: expected what !!int stands for, got 'one'"
    )
    assert (
        refused(yaml="seed: 1\nenv: {id: A-v0}\nseed: 2")
        == "Configuration as YAML: not YAML: 'seed' is given twice (line 3, column 1)"
    )
    assert "at least env.num_envs" in refused(learn_step=2, batch_size=1)
    assert "unknown key" in refused(yaml="env: {id: CartPole-v1}\ntraining: {max_stps: 5}")
    assert "ent_coef begins at 0" in refused(evolving=["ent_coef"], advanced=Advanced(algorithm={"ent_coef": 0.0}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": 0},
        {"lr": "fast"},
        {"population_size": 0},
        {"run_id": "No Good"},
        {"run_id": "../../etc"},
        {"evolving": ["colour"]},
        {"advanced": {"mutation": {"rl_hp": -1}}},
        {"advanced": {"mutation": {"typo": 1}}},
    ],
    ids=str,
)
def test_the_server_refuses_a_wrong_value_on_submit(wrong):
    assert validate({}, SCHEMA) == []
    assert validate(wrong, SCHEMA)


def test_the_titles_are_those_of_the_form():
    found = {name: field["title"] for name, field in SCHEMA["properties"].items()}
    assert {name: found[name] for name in TITLES} == TITLES


def test_fields_of_the_configuration_are_named_as_the_form_names_them():
    @errors_in_form_terms
    def evolve(yaml="", **form):
        return config_of({**FORM, **form, "yaml": yaml})

    def said(**form):
        with pytest.raises(BadInput) as refused:
            evolve(**form)
        return str(refused.value)

    assert said(batch_size=4096).startswith(
        "Minibatch size: expected at most the initial rollout of 2048 steps "
        "(the smaller of Steps per update and Steps per member and generation), got 4096"
    )
    assert "Steps per member and generation: expected a multiple of Copies of the environment" in said(evo_steps=1001)
    tournament = Advanced(selection={"tournament_size": 9})
    assert said(advanced=tournament).startswith(
        "Advanced → Selection → Tournament Size: expected at most Members of the population (6), got 9"
    )
    assert said(seed=-1).startswith("Seed: expected")
    wide = Advanced(search={"lr": {"min": 0.1, "max": 0.2}})
    assert said(advanced=wide).startswith("Advanced → Search → lr: ") or "Learning rate: the initial" in said(
        advanced=wide
    )
    pasted = "{env: {id: A-v0}, training: {max_steps: 0}}"
    assert said(yaml=pasted).startswith("training.max_steps: "), "the names of the file"
    assert said(yaml="[").startswith("Configuration as YAML: not YAML")


def test_messages_name_the_fields_of_the_form():
    @errors_in_form_terms
    def body():
        raise BadInput("--extend: expected more, --from-generation: expected 0 to 3")

    @errors_in_form_terms
    def resume():
        raise BadInput("--run-id one: this run exists already")

    @errors_in_form_terms
    def evolve():
        raise ConfigError(["use another --run-id, not --run-identity: `evolve resume a --extend 5`, or more: --extend"])

    said = "use another Name of the run, not --run-identity: `evolve resume a --extend 5`, or more: Budget in steps"
    with pytest.raises(BadInput, match=f"^{said}$"):
        evolve()
    with pytest.raises(BadInput, match=r"^Budget in steps: expected more, From generation: expected 0 to 3$"):
        body()
    with pytest.raises(BadInput, match=r"^Name of the branch one: this run exists already$"):
        resume()


def test_installed_plugins_are_offered(plugins_installed):
    sections = Advanced.model_json_schema()["$defs"]
    assert "fourier" in sections["EncoderConfig"]["properties"]["kind"]["anyOf"][0]["enum"]
    assert "lexicase" in sections["AdvancedSelectionConfig"]["properties"]["method"]["anyOf"][0]["enum"]
    assert "gym-sync" in sections["AdvancedEnvConfig"]["properties"]["vectorization"]["anyOf"][0]["enum"]
    for section, field, name in (("Mutation", "plugins", "resample"), ("Evaluation", "fitness", "steady")):
        described = sections[f"Advanced{section}Config"]["properties"][field]["description"]
        assert f"Installed: {name} (evolve-example 0.1.0)." in described
