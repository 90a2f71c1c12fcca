"""The command line: `cluster COMMAND`."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType

from dtj_cluster import binaries, control_plane, images, metrics_server, node, seed
from dtj_cluster.cluster import Cluster
from dtj_cluster.errors import ClusterError
from dtj_cluster.status import Status
from dtj_cluster.together import together

EXTRA_PROGRAMS = ("coredns", "kwok", "kubectl", "helm", "prometheus")
"""What a whole cluster and its tests need beside what runs on control plane and nodes."""
# Whoever ends us politely (CI that cancels a job) gets the same cleaning up as Ctrl-C.
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 with a message when something foreseeable failed, 130 when
    interrupted.
    """
    options = _parser().parse_args(arguments)
    for number in _INTERRUPTS:
        signal.signal(number, _interrupt)
    command: Callable[[argparse.Namespace], None] = options.run
    try:
        command(options)
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever reads us (`| head`) has seen enough; Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("cluster: interrupted; a cluster that was not up yet is stopped again", file=sys.stderr)
        return 130
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End the command once; a second Ctrl-C must not cut the cleaning up short."""
    for each in _INTERRUPTS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cluster", description="A real local Kubernetes cluster without Docker: for tests, demos and CI."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--name", default="dtj", help="which cluster (default: dtj)")
        command.set_defaults(run=run)
        return command

    up = add("up", _up, "start it, or what is missing of it")
    up.add_argument("--nodes", type=int, default=2, help="real nodes, a kubelet and a containerd each (default: 2)")
    up.add_argument(
        "--fake-nodes", type=int, default=0, help="nodes that exist in the API only, for scale (default: 0)"
    )
    up.add_argument(
        "--control-plane-only", action="store_true", help="etcd, API server, controllers and scheduler; needs no root"
    )
    up.add_argument(
        "--gpus-per-node",
        type=int,
        default=0,
        help="how many nvidia.com/gpu each real node claims to have (default: 0)",
    )
    up.add_argument(
        "--client-qps", type=int, help="client limit of controllers and scheduler, for benchmarks (default: theirs)"
    )
    build = add("build", _build, "build all programs and images, so that nothing later waits for them")
    build.add_argument(
        "--control-plane-only",
        action="store_true",
        help="only the programs of a control plane with fake nodes, and helm",
    )
    down = add("down", _down, "stop it; images and the shared volume stay on disk")
    down.add_argument("--purge", action="store_true", help="remove images and the shared volume too")
    status = add("status", _status, "what runs")
    status.add_argument("-o", "--output", choices=["text", "json"], default="text")
    add(
        "kubeconfig",
        lambda options: print(_cluster(options).kubeconfig),
        "print the path of the administrator's kubeconfig",
    )
    add("env", _env, 'print what a shell needs to use it, kubectl included: eval "$(tools/cluster/cluster env)"')
    load = add(
        "load-image",
        lambda options: images.load(options.image, _cluster(options).nodes),
        "put an image into all real nodes",
    )
    load.add_argument("image", metavar="NAME")
    for name, run, text in (
        ("stop-node", Cluster.stop_node, "end a node's kubelet; its containers go on"),
        ("start-node", Cluster.start_node, "start what is not running of a node"),
        ("kill-node", Cluster.kill_node, "kill a node's kubelet and all its containers at once"),
    ):
        command = add(name, lambda options, run=run: run(_cluster(options), options.node), text)  # type: ignore[misc]
        command.add_argument("node", metavar="NAME")
    add(
        "metrics",
        lambda options: metrics_server.start(_cluster(options)),
        "start metrics-server, for `kubectl top` and HorizontalPodAutoscalers",
    )
    claim = add(
        "claim",
        lambda options: print(_cluster(options).claim(options.namespace, options.claim)),
        "make a ReadWriteMany claim on the shared volume; prints its folder",
    )
    claim.add_argument("claim", metavar="NAME")
    claim.add_argument("-n", "--namespace", default="default")
    return parser


def _cluster(options: argparse.Namespace) -> Cluster:
    return Cluster(options.name)


def _up(options: argparse.Namespace) -> None:
    cluster = Cluster(
        options.name, nodes=options.nodes, fake_nodes=options.fake_nodes, control_plane_only=options.control_plane_only,
        gpus_per_node=options.gpus_per_node, client_qps=options.client_qps,
    )  # fmt: skip
    cluster.up()
    print(f"export KUBECONFIG={cluster.kubeconfig}")


def _env(options: argparse.Namespace) -> None:
    programs = binaries.ensure("kubectl")["kubectl"].parent
    print(f"export KUBECONFIG={shlex.quote(str(_cluster(options).kubeconfig))}")
    print(f"export PATH={shlex.quote(str(programs))}:$PATH")


def _build(options: argparse.Namespace) -> None:
    if options.control_plane_only:
        _programs(*control_plane.PROGRAMS, "kwok", "helm")
        return
    # The compilers keep all cores busy, and the images' builds wait for the disk: side by side both are faster.
    programs = partial(_programs, *control_plane.PROGRAMS, *node.PROGRAMS, *EXTRA_PROGRAMS)
    together([programs, _images, partial(_image, "foreign")])


def _programs(*wanted: str) -> None:
    binaries.ensure(*wanted)


def _images() -> None:
    seed.ensure()


def _image(name: str) -> None:
    images.ensure(name)


def _down(options: argparse.Namespace) -> None:
    _cluster(options).down(purge=options.purge)


def _status(options: argparse.Namespace) -> None:
    status = Status.of(_cluster(options))
    print(json.dumps(status.as_json(), indent=1) if options.output == "json" else status.as_text())
