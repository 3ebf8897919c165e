"""``docker network ls --filter``: words to a predicate over networks.

Values of one filter are alternatives, but for labels, which must all match; different filters must
all match. As with Docker the default network is never dangling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from proa.errors import Invalid
from proa.network.model import Network

FILTERS: Final = ("dangling", "driver", "id", "label", "name", "scope", "type")

_TRUTHS: Final = {"true": True, "1": True, "false": False, "0": False}


class NetworkFilter:
    """A checked filter."""

    def __init__(
        self,
        filters: Mapping[str, Sequence[str]],
        *,
        default: str,
        is_used: Callable[[Network], bool],
    ) -> None:
        """Check the names.

        Args:
            filters: values by filter name, as in the API.
            default: name of the network that is there by itself.
            is_used: whether a container is on a network; asked only for ``dangling``.

        Raises:
            Invalid: an unknown filter or a bad value.
        """
        for name, values in filters.items():
            if name not in FILTERS:
                raise Invalid(f"invalid filter '{name}'", f"the filters are {', '.join(FILTERS)}")
            if name == "dangling" and not all(value.lower() in _TRUTHS for value in values):
                raise Invalid(f"invalid filter 'dangling={values[-1]}'", "it is true or false")
        self._filters = filters
        self._default = default
        self._is_used = is_used

    def matches(self, network: Network) -> bool:
        """Tell whether a network passes."""
        return all(
            (all if name == "label" else any)(self._holds(network, name, text) for text in values)
            for name, values in self._filters.items()
            if values
        )

    def _holds(self, network: Network, name: str, value: str) -> bool:
        match name:
            case "name":
                return value in network.name
            case "id":
                return network.id.startswith(value)
            case "driver":
                return value == network.driver
            case "label":
                key, equals, wanted = value.partition("=")
                return key in network.labels and (not equals or network.labels[key] == wanted)
            case "scope":
                return value == "local"
            case "type":
                return (value == "builtin") == (network.name == self._default)
        is_dangling = network.name != self._default and not self._is_used(network)
        return is_dangling is _TRUTHS[value.lower()]
