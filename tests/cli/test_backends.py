"""A platform that JAX cannot use is one line that says what to do; `doctor` still answers."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from command import COMMAND

import jaxmi.backend
from jaxmi.backend import explain_failure, installed_plugins
from jaxmi.cli.main import main
from jaxmi.errors import UnavailableError
from jaxmi.settings import fixed_settings

no_plugin = pytest.mark.skipif(
    bool(installed_plugins()), reason="JAX has another platform on this machine"
)


def run(*args: str, **variables: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, **variables}
    return subprocess.run([*COMMAND, *args], env=environment, capture_output=True, text=True)


@pytest.fixture
def network(checkpoints: Path) -> str:
    return str(checkpoints / "transformer")


@no_plugin
@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"JAX_PLATFORMS": "tpu"}, "pip install 'jaxmi[tpu]'"),
        pytest.param({"JAX_PLATFORMS": "cuda"}, "'jaxmi[cuda]'", marks=pytest.mark.slow),
        pytest.param({"JAX_PLATFORMS": "gpu,cpu"}, "'jaxmi[cuda]'", marks=pytest.mark.slow),
        pytest.param({"JAX_PLATFORMS": "nonsense"}, "'nonsense'", marks=pytest.mark.slow),
        pytest.param({"JAX_PLATFORMS": "cpu,nonsense"}, "'nonsense'", marks=pytest.mark.slow),
        pytest.param({"JAX_PLATFORM_NAME": "tpu"}, "'jaxmi[tpu]'", marks=pytest.mark.slow),
    ],
)
def test_a_platform_that_is_not_there_is_one_line(
    variables: dict[str, str], named: str, network: str
) -> None:
    done = run("evaluate", network, **variables)
    ((name, value),) = variables.items()
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"jaxmi: {name}={value}: ")
    assert named in line and "here is cpu" in line and "JAX_PLATFORMS=cpu" in line


@pytest.fixture
def old_plugin(tmp_path: Path) -> str:
    """Make a plugin that calls a function which JAX no longer has; return its PYTHONPATH."""
    package = tmp_path / "plugins" / "jax_plugins" / "xla_old"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "def initialize():\n    from jax._src import xla_bridge\n    xla_bridge.gone()\n"
    )
    return os.pathsep.join([str(tmp_path / "plugins"), os.environ.get("PYTHONPATH", "")])


def test_an_old_plugin_is_one_line_and_the_cpu_works(network: str, old_plugin: str) -> None:
    done = run("evaluate", network, "--json", PYTHONPATH=old_plugin)
    (line,) = done.stderr.splitlines()
    assert "jax_plugins.xla_old" in line and "'gone'" in line
    assert json.loads(done.stdout)["challenge"] == "transformer"


@no_plugin
@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"XLA_FLAGS": "--xla_no_such_flag=1"}, "--xla_no_such_flag"),
        pytest.param({"JAX_PLATFORMS": "nonsense"}, "'nonsense'", marks=pytest.mark.slow),
        pytest.param({"JAX_PLATFORMS": "tpu"}, "'jaxmi[tpu]'", marks=pytest.mark.slow),
    ],
)
def test_doctor_says_why_there_are_no_devices(variables: dict[str, str], reason: str) -> None:
    done = run("doctor", "--json", **variables)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["backend"], found["devices"]) == (None, [])
    (why,) = [line for line in found["missing"] if line.startswith("a device: ")]
    assert reason in why
    (name,) = variables
    assert name in why


@pytest.mark.slow
def test_doctor_lists_a_plugin_that_cannot_be_used_and_takes_good_flags(old_plugin: str) -> None:
    flags = "--xla_force_host_platform_device_count=2"
    found = json.loads(run("doctor", "--json", PYTHONPATH=old_plugin, XLA_FLAGS=flags).stdout)
    assert found["devices"] == ["cpu:0", "cpu:1"] or found["backend"] != "cpu"
    assert any("jax_plugins.xla_old" in line for line in found["missing"])


def test_other_errors_are_not_taken_for_a_missing_platform() -> None:
    for error in (AssertionError(), AssertionError("Unknown"), RuntimeError("its own backend")):
        assert explain_failure(error) is None
        with pytest.raises(type(error)) as caught, fixed_settings():
            raise error
        assert caught.value is error
    known = RuntimeError("Unable to initialize backend 'cuda': out of memory (you may need to ...")
    explained = pytest.raises(UnavailableError, match=r"no device: out of memory; .*jaxmi\[cuda\]")
    with explained, fixed_settings():
        raise known


def test_doctor_says_what_a_gpu_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a machine whose GPU JAX does not use, as one without the plugin."""
    monkeypatch.setattr("jax._src.hardware_utils.has_visible_nvidia_gpu", lambda: True)
    monkeypatch.setattr("jax.default_backend", lambda: "cpu")
    monkeypatch.setattr(jaxmi.backend, "_asked", lambda: None)
    monkeypatch.setattr(jaxmi.backend, "installed_plugins", lambda: [("jax-cuda12-plugin", "0.4")])
    main(["doctor", "--json"])
    (line,) = [one for one in json.loads(capsys.readouterr().out)["missing"] if "GPU" in one]
    assert "jax-cuda12-plugin 0.4 with jaxlib" in line and "pip install 'jaxmi[cuda]'" in line
