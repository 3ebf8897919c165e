"""Every implementation of the isolation contract that this machine can run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proa.oci.isolation import Isolation
from proa.runtime import groups
from proa.runtime.process import ProcessIsolation, drop_spare
from proa.runtime.sandbox import ProcessSandbox
from proa.vm.isolation import VmIsolation
from tests.support import guests, kernels, requires
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


CORE = frozenset(
    {
        "test_output_input_and_error_are_apart",
        "test_a_created_sandbox_runs_nothing_until_started",
        "test_changes_stay_in_the_writable_layer",
        "test_127_layers",
        "test_only_the_default_capabilities_and_no_more",
        "test_a_bind_shows_files_with_their_owners",
        "test_a_terminal_is_a_session_of_its_own",
        "test_exec_joins_the_container",
        "test_exec_reports_its_own_end_and_errors",
        "test_pause_update_stats_and_processes",
        "test_a_memory_hog_is_reported",
    }
)
"""What runs in guests: emulated, they take seconds. ``PROA_TEST_VM=all`` runs everything."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("PROA_TEST_VM") == "all":
        return
    left = [item for item in items if _is_slow(item)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


def _is_slow(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    if callspec is None or callspec.params.get("isolation") != "vm":
        return False
    first = callspec.params.get("start", True) and callspec.params.get("command", "missing")
    return item.name.partition("[")[0] not in CORE or first not in ("missing", True)


@pytest.fixture(params=sorted(ISOLATIONS))
def isolation(request: pytest.FixtureRequest) -> Isolation:
    if request.param == "vm":
        request.applymarker(pytest.mark.timeout(300))
        absent = requires.absent(guests.REQUIRES)
        if absent:
            pytest.skip(", ".join(absent))
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
