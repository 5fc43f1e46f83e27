"""Ready configurations, found by name."""

from pathlib import Path

import pytest

from evo_core.config.parsing import ConfigError
from flows.cli.app import _main
from flows.cli.flags import load_config
from flows.ready_configs import describe_config, find_config, ready_configs


@pytest.mark.parametrize("path", ready_configs(), ids=lambda path: path.stem)
def test_every_ready_configuration_is_found_by_its_name_and_has_a_description(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config(Path(path.stem)) == path
    assert load_config(Path(path.stem), {}) == load_config(path, {})
    assert 20 < len(describe_config(path)) < 120
    assert path.read_text().splitlines()[1] == f"#   evolve run --config {path.stem}"


def test_a_file_takes_precedence_over_a_ready_configuration_and_a_path_is_never_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "acrobot").mkdir()
    assert find_config(Path("acrobot")).name == "acrobot.yaml"
    (tmp_path / "cartpole").write_text("env: {id: Acrobot-v1}\ntraining: {max_steps: 100_000}\n")
    assert load_config(Path("cartpole"), {}).env.id == "Acrobot-v1"
    for given in ("pendulum.yaml", "./sub/pendulum", "/pendulum"):
        with pytest.raises(ConfigError, match=f"--config .*{Path(given).name}: there is no such file"):
            load_config(Path(given), {})


def test_a_name_that_is_neither_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"--config cartpol: neither a file .* did you mean cartpole\?"):
        load_config(Path("cartpol"), {})
    with pytest.raises(ConfigError, match=r"known: acrobot, blackjack, .*tmaze"):
        load_config(Path("nothing-of-ours"), {})


def test_the_command_lists_them(capsys):
    assert _main(["configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(list(ready_configs())) >= 10
    assert any(line.startswith("cartpole ") and "CartPole-v1 to its reward threshold" in line for line in lines)
