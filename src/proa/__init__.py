"""Proa: a container engine with process and VM isolation.

Importing this package is cheap: public names are loaded on first use.
"""

__version__ = "0.1.0"

_LAZY = {
    "AsyncEngine": "proa.engine.asynchronous",
    "Container": "proa.engine.containers.container",
    "ContainerConfig": "proa.engine.config",
    "Engine": "proa.engine.facade",
    "ExecConfig": "proa.engine.config",
    "HealthConfig": "proa.engine.config",
    "MountConfig": "proa.engine.config",
    "Resources": "proa.engine.config",
    "RestartPolicy": "proa.engine.config",
    "Result": "proa.engine.facade",
}

__all__ = [
    "AsyncEngine",
    "Container",
    "ContainerConfig",
    "Engine",
    "ExecConfig",
    "HealthConfig",
    "MountConfig",
    "Resources",
    "RestartPolicy",
    "Result",
    "__version__",
    "errors",
]


def __getattr__(name: str) -> object:
    """Load a public name on first use (PEP 562).

    Raises:
        AttributeError: ``name`` is not public.
    """
    from importlib import import_module

    if name == "errors":
        return import_module("proa.errors")
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'proa' has no attribute {name!r}")
    value: object = getattr(import_module(module), name)
    globals()[name] = value
    return value
