"""What kwok is told; that it does it is seen by the tests with a control plane."""

from dtj_cluster import fake_nodes


def test_pods_keep_off_fake_nodes_unless_they_ask():
    node = fake_nodes.fake_node(7, gpus=0)
    taint, tolerated = node["spec"]["taints"][0], fake_nodes.toleration()

    assert (taint["key"], taint["effect"]) == (tolerated["key"], tolerated["effect"])
    assert fake_nodes.SELECTOR.items() <= node["metadata"]["labels"].items()
    assert node["metadata"]["name"] == "fake-0007"


def test_fake_nodes_claim_gpus_only_when_asked():
    assert fake_nodes.fake_node(0, gpus=8)["status"]["capacity"]["nvidia.com/gpu"] == "8"
    assert "nvidia.com/gpu" not in fake_nodes.fake_node(0, gpus=0)["status"]["capacity"]


def test_each_stage_is_for_what_it_says():
    stages = {
        one["metadata"]["name"]: one["spec"] for one in fake_nodes.documents() if one["kind"] == "Stage"
    }  # fmt: skip

    assert stages["pod-gone"]["next"] == {"delete": True}
    assert stages["node-ready"]["resourceRef"]["kind"] == "Node"
    # A pod that is deleted while Pending must go, not come up.
    alive = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}
    assert alive in stages["pod-running"]["selector"]["matchExpressions"]
