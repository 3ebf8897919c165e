"""What every event of a container says."""

from __future__ import annotations

from proa.engine.config import ContainerConfig
from proa.engine.containerevents import container_event
from proa.engine.model import ContainerRecord, ContainerState

LABELS = {"com.docker.compose.project": "shop", "image": "not this", "name": "nor this"}


def _record(name: str) -> ContainerRecord:
    return ContainerRecord(
        id="ab" * 32,
        name=name,
        image_id="sha256:" + "0" * 64,
        created_at_ns=1,
        config=ContainerConfig(image="busybox", labels=LABELS),
        state=ContainerState(),
    )


def test_labels_are_attributes_that_hide_none_of_the_engines_own():
    event = container_event(_record("web"), "die", {"exitCode": "3"})
    assert (event.type, event.action, event.actor_id) == ("container", "die", "ab" * 32)
    assert event.attributes == {
        "com.docker.compose.project": "shop",
        "image": "busybox",
        "name": "web",
        "exitCode": "3",
    }


def test_a_new_name_replaces_the_old_one():
    event = container_event(_record("web"), "rename", {"name": "next", "oldName": "web"})
    assert (event.attributes["name"], event.attributes["oldName"]) == ("next", "web")
