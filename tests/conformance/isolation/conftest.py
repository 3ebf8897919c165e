"""Every implementation of the isolation contract that this machine can run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proa.oci.isolation import Isolation
from proa.runtime import groups
from proa.runtime.process import ProcessIsolation, drop_spare
from proa.runtime.sandbox import ProcessSandbox
from proa.vm.isolation import VmIsolation
from tests.support import kernels
from tests.support.sandboxes import Boxes, make_root


class WithSpare(ProcessIsolation):
    """Containers that begin as a child made ahead."""

    def create(self, *arguments: Any, **options: Any) -> ProcessSandbox:
        """Create a container from a spare child, where one fits."""
        self.keep_spare()
        return super().create(*arguments, **options)


ISOLATIONS: dict[str, Callable[[], Isolation]] = {
    "process-native": lambda: ProcessIsolation(executor="native"),
    "process-portable": lambda: ProcessIsolation(executor="portable"),
    "process-spare": WithSpare,
    "vm": lambda: VmIsolation(kernels.cached_root()),
}
"""Another isolation joins the suite by a line here."""


@pytest.fixture(params=sorted(ISOLATIONS))
def isolation(request: pytest.FixtureRequest) -> Isolation:
    return ISOLATIONS[request.param]()


@pytest.fixture
def boxes(isolation: Isolation, tmp_path: Path) -> Iterator[Boxes]:
    layer = tmp_path / "layer"
    make_root(str(layer))
    made = Boxes(isolation, str(tmp_path / "state"), str(layer))
    yield made
    made.close()
    drop_spare()
    groups.manager().close()
