"""Fields by their dotted names."""

from evo_core.config.nested_fields import find_section, leaf_fields, section_of
from evo_core.config.network import EncoderConfig
from evo_core.config.run_config import RunConfig


def test_every_field_that_holds_a_value_has_its_dotted_name_once():
    fields = dict(leaf_fields(RunConfig, "--"))
    assert fields["--network.encoder.hidden_size"] is EncoderConfig.model_fields["hidden_size"]
    assert {"--seed", "--search", "--algorithm.lr"} <= set(fields)
    assert not any(section_of(field) for field in fields.values())
    assert len(list(leaf_fields(RunConfig))) == len(fields)


def test_a_section_is_found_by_its_names():
    assert find_section(RunConfig) is RunConfig
    assert find_section(RunConfig, "network", "encoder") is EncoderConfig
    assert find_section(RunConfig, "network", "encoding") is None
    assert find_section(RunConfig, "seed") is None
    assert find_section(RunConfig, "nowhere", "encoder") is None
