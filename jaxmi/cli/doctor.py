"""`jaxmi doctor`: versions, devices, the place of MNIST, and what is missing."""

import os
import platform
import shutil
from dataclasses import dataclass
from importlib import metadata

from jaxmi.cli.subcommand import Result, Subcommand
from jaxmi.errors import InputError, UnavailableError

REQUIRED = ("jax", "jaxlib", "flax", "optax", "chex", "numpy", "tensorflow-datasets", "safetensors")
OPTIONAL = {"torch": "jaxmi[torch]", "pytest": "jaxmi[test]"}


@dataclass(frozen=True, kw_only=True)
class Doctor(Subcommand):
    """Print versions, devices, the place of MNIST, and what this installation lacks."""

    example = "jaxmi doctor"

    def run(self) -> Result:
        """Collect versions, devices and data, without downloading anything."""
        import jax

        from jaxmi.backend import explain_failure, plugin_errors, refused_flags, unused_gpu
        from jaxmi.data import mnist
        from jaxmi.workflows.compiled import MAX_BYTES, folder_bytes, keep_compiled

        compiled = keep_compiled()
        versions = {name: _version(name) for name in ("jaxmi", *REQUIRED, *OPTIONAL)}
        missing = [f"{name}: pip install {name}" for name in REQUIRED if versions[name] is None]
        missing += [
            f"{name}: pip install '{extra}' (optional)"
            for name, extra in OPTIONAL.items()
            if versions[name] is None
        ]
        try:
            location = mnist.locate()
            data = f"{location.source} {location.path}" if location else "a download, when needed"
            if location is None and shutil.which("npm") is None:
                missing.append("npm: MNIST's second source, should the public mirror not answer")
            if location is not None:
                mnist.read_verified(location)
        except (InputError, UnavailableError) as error:
            data = f"unusable: {error}"
            missing.append(str(error))
        backend, devices = None, []
        if refused := refused_flags():
            missing.append(f"a device: {refused}")
        else:
            with plugin_errors() as errors:
                try:
                    backend, devices = jax.default_backend(), [str(one) for one in jax.devices()]
                    missing += filter(None, [unused_gpu()])
                except (AssertionError, RuntimeError) as error:
                    missing.append(f"a device: {explain_failure(error) or error}")
            missing += errors
        return {
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "versions": versions,
            "backend": backend,
            "devices": devices,
            "mnist": data,
            "cache": str(mnist.cache_dir()),
            "compiled": {
                "folder": None if compiled.folder is None else str(compiled.folder),
                "bytes": 0 if compiled.folder is None else folder_bytes(compiled.folder),
                "max_bytes": MAX_BYTES,
                "why": compiled.why,
            },
            "missing": missing,
        }

    def show(self, result: Result) -> None:
        """Print one aligned line per fact."""
        facts = {**result, **{f"  {name}": v or "-" for name, v in result["versions"].items()}}
        del facts["versions"]
        compiled = result["compiled"]
        facts["compiled"] = f"not kept ({compiled['why']})"
        if compiled["folder"] is not None:
            megabytes = f"{compiled['bytes'] / 1e6:.0f} MB of {compiled['max_bytes'] / 1e6:.0f}"
            facts["compiled"] = f"{compiled['folder']}, {megabytes} ({compiled['why']})"
        for name, value in facts.items():
            print(
                f"{name:<22}{', '.join(value) or 'nothing' if isinstance(value, list) else value}"
            )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
