"""Private interfaces of Ray that we use: each is still what it was on Ray 2.60.0."""

import inspect
import os
import subprocess
import sys

import pytest
import ray
from ray.core.generated import gcs_service_pb2
from ray.data._internal.cluster_autoscaler import default_autoscaling_coordinator as coordinator
from ray.train.backend import Backend

from orchestration.workers import ray_internals
from orchestration.workers.train import IndependentBackend


def test_they_were_checked_on_this_version():
    assert ray.__version__ in (ray_internals.__doc__ or "")


@pytest.mark.parametrize("host", ["127.0.0.1", "head.lab", "::1"])
def test_an_address_is_taken_apart_and_put_together(host):
    address = ray_internals.build_address(host, 6379)
    assert ray_internals.parse_address(address) == (host, "6379")
    assert ray_internals.parse_address("head") is None


def test_a_named_head_is_found_without_joining_it():
    assert ray_internals.head_of("127.0.0.1:1") == "127.0.0.1:1"


def test_auto_without_a_cluster_is_a_connection_error(monkeypatch):
    monkeypatch.setattr(ray_internals.services, "find_gcs_addresses", set)
    monkeypatch.setattr(ray_internals.services, "find_bootstrap_address", lambda _: None)
    with pytest.raises(ConnectionError):
        ray_internals.head_of("auto")


def test_loopback_is_switched_on_and_off(monkeypatch):
    constants = ray_internals.ray_constants
    monkeypatch.delenv(ray_internals._ON_NETWORK, raising=False)
    assert constants.ENABLE_RAY_CLUSTERS_ENV_VAR == ray_internals._ON_NETWORK
    before = constants.ENABLE_RAY_CLUSTER
    with ray_internals.on_loopback():
        assert constants.ENABLE_RAY_CLUSTER is False
        assert os.environ[ray_internals._ON_NETWORK] == "0"
    assert constants.ENABLE_RAY_CLUSTER is before
    assert ray_internals._ON_NETWORK not in os.environ
    assert set(ray_internals.NODE_ON_LOOPBACK) <= set(ray.init.__doc__.replace("`", " ").split())


def test_a_node_that_registers_late_has_started(monkeypatch):
    services, asked = ray_internals.services, []

    def ask(*node):
        asked.append(node)
        if len(asked) < 3:
            raise RuntimeError("not yet")
        return {}

    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(services, "get_node", ask)
    with ray_internals.slow_start():
        assert services.get_node("127.0.0.1:1", "node") == {}
        monkeypatch.setattr(ray_internals, "START_S", 0)
        asked.clear()
        with pytest.raises(RuntimeError):
            services.get_node("127.0.0.1:1", "node")
        assert set(os.environ) >= set(ray_internals._SLOW_START)
    assert services.get_node is ask
    assert not os.environ
    source = inspect.getsource(ray._private.node)
    assert "ray._private.services.get_node(" in source
    assert "RAY_gcs_server_port_wait_time_s" in source


def test_a_token_is_looked_for_without_a_warning():
    function = ray_internals.maybe_enable_token_auth_if_token_available
    assert "warn_if_disabled" in inspect.signature(function).parameters


def test_a_head_has_the_question_that_it_is_asked():
    service, method = ray_internals.CHECK_ALIVE.removeprefix("/ray.rpc.").split("/")
    assert method in gcs_service_pb2.DESCRIPTOR.services_by_name[service].methods_by_name


def test_free_resources_are_known_by_node():
    assert inspect.signature(ray_internals.state.available_resources_per_node).parameters == {}


def test_a_worker_group_with_the_flag_is_not_restarted_as_a_whole():
    assert Backend.has_replica_groups is False
    assert IndependentBackend.has_replica_groups is True


CALLBACKS = """
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from orchestration.workers.train import make_trainer
usual = {type(c).__name__ for c in DataParallelTrainer(print)._create_default_callbacks()}
ours = {type(c).__name__ for c in make_trainer(print, {})._create_default_callbacks()}
print(*sorted(usual - ours), len(ours - usual), len(ours) > 0)
"""


def test_the_trainer_leaves_out_two_helpers_and_no_other():
    # In a process that never had a Ray: a trainer asks the head of the last one, and Ray ends a
    # process whose head has been gone for 60 s.
    done = subprocess.run([sys.executable, "-c", CALLBACKS], capture_output=True, text=True)
    assert done.stdout == "DatasetsCallback PlacementGroupCleanerCallback 0 True\n", done.stderr


def test_the_coordinator_takes_requests_that_expire_and_cancels_them():
    assert callable(coordinator.get_or_create_autoscaling_coordinator)
    actor = coordinator._AutoscalingCoordinatorActor
    wanted = {"requester_id", "resources", "expire_after_s"}
    assert wanted <= set(inspect.signature(actor.request_resources).parameters)
    assert list(inspect.signature(actor.cancel_request).parameters) == ["self", "requester_id"]


def test_the_controller_loads_no_torch():
    code = "import sys, orchestration.workers.train; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
