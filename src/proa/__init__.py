"""Proa: a container engine with process and VM isolation.

Importing this package is cheap: public names are loaded on first use.
"""

__version__ = "0.1.0"

_LAZY = {"Engine": "proa.engine.facade", "Result": "proa.engine.facade"}

__all__ = ["Engine", "Result", "__version__"]


def __getattr__(name: str) -> object:
    """Load a public name on first use (PEP 562).

    Raises:
        AttributeError: ``name`` is not public.
    """
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'proa' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(module), name)
    globals()[name] = value
    return value
