"""The list of nodes: which take units, which went, which are refused, what is said where none has room."""

from __future__ import annotations

from typing import Any

from fdpbench.prep.runtime.cluster.nodes import Nodes


def entry(name: str, alive: bool = True, why: str = "", **resources: float) -> dict[str, Any]:
    return {
        "NodeID": name * 8,
        "Alive": alive,
        "NodeManagerHostname": f"host-{name}",
        "NodeManagerAddress": "10.0.0.1",
        "DeathReasonMessage": why,
        "Resources": resources,
    }


def test_nodes_come_and_go() -> None:
    nodes = Nodes(1.0, 0.0, None)
    assert nodes.update([entry("h"), entry("a", CPU=2.0)]) == []
    assert [node.name for node in nodes.usable] == ["host-a (10.0.0.1, aaaaaa)"] and nodes.slots == 2
    assert nodes.update([entry("h"), entry("a", CPU=2.0), entry("b", CPU=4.0)]) == [] and nodes.slots == 6
    (gone,) = nodes.update([entry("h"), entry("a", False, "its  machine\nwent", CPU=2.0), entry("b", CPU=4.0)])
    assert gone.name.startswith("host-a") and gone.reason == "its machine went" and nodes.slots == 4
    (gone,) = nodes.update([entry("h")])  # Ray forgets those that are long gone
    assert gone.name.startswith("host-b") and nodes.usable == []


def test_a_refused_node_is_used_no_more() -> None:
    nodes = Nodes(1.0, 0.0, None)
    nodes.update([entry("a", CPU=2.0), entry("b", CPU=1.0)])
    nodes.refuse(nodes.usable[0], "bench/train/fit.py differs")
    assert nodes.slots == 1 and len(nodes.hopeful) == 1
    nodes.update([entry("a", CPU=2.0), entry("b", CPU=1.0)])
    assert nodes.slots == 1
    assert nodes.refused_text() == "host-a (10.0.0.1, aaaaaa): bench/train/fit.py differs"


def test_a_silent_node_is_used_again_if_it_is_not_lost() -> None:
    nodes = Nodes(1.0, 0.0, None)
    nodes.update([entry("a", CPU=2.0)])
    (node,) = nodes.usable
    node.silent, node.given, node.told = 10.0, 3, True
    assert nodes.usable == [] and nodes.hopeful == [node] and nodes.heard_again(9.0) == []
    assert nodes.heard_again(11.0) == [node] and nodes.usable == [node]
    assert (node.given, node.told) == (0, False)


def test_devices_count_where_units_take_some() -> None:
    listed = entry("a", CPU=4.0, GPU=1.0)
    listed["Resources"]["accelerator_type:H100"] = 1.0
    for gpus, devices in ((0.0, ""), (0.5, "H100")):
        nodes = Nodes(1.0, gpus, None)
        nodes.update([listed])
        assert nodes.usable[0].devices == devices


def test_what_is_said_where_nothing_was_built() -> None:
    nodes = Nodes(2.0, 0.5, 4e9)
    nodes.update([entry("h")])
    said = "no node had room for a unit (2 CPU, 0.5 GPU, 4 GB of memory) for 600 s, of 1 that are there"
    assert nodes.idle_text(600.0).startswith(said)
    nodes.update([entry("h"), entry("a", CPU=2.0, GPU=1.0, memory=8e9)])
    assert "host-a (10.0.0.1, aaaaaa) has room" in nodes.idle_text(600.0)
