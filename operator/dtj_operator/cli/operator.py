"""`dtj-operator`: run the operator, replay what it recorded, or put the launcher into a foreign image's pod."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dtj_operator.config import Config


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the answer is the exit code. Mistakes of the user end in one line, never in a traceback."""
    options = _parser().parse_args(argv)
    if options.command == "replay":
        from dtj_operator.cli.replay import replay

        return replay(options.file)
    if options.command == "copy-launcher":
        from dtj_operator.cli.copy_launcher import copy_launcher

        return copy_launcher(options.folder)
    from dtj_operator.cli.run import run

    return run(_config(options))


def _config(options: argparse.Namespace) -> Config:
    return Config(
        namespaces=tuple(dict.fromkeys(options.namespace)),
        managed_by=options.managed_by,
        jobs_metrics_from=tuple(options.jobs_metrics_from),
        kubeconfig=options.kubeconfig,
        leader_election=not options.no_leader_election,
        lease_namespace=options.lease_namespace,
        lease_name=options.lease_name,
        metrics_host=options.metrics_host,
        metrics_port=options.metrics_port,
        metrics_auth=options.metrics_auth,
        metrics_cert=options.metrics_tls_cert,
        metrics_key=options.metrics_tls_key,
        probe_port=options.probe_port,
        workers=options.workers,
        qps=options.qps,
        burst=options.burst,
        resync_seconds=options.resync,
        record=options.record,
        launcher_image=options.launcher_image,
        launcher_pull_policy=options.launcher_pull_policy,
        log_format=options.log_format,
        log_level=options.log_level,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dtj-operator", description="Operator for DistributedTrainingJobs.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the operator", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    defaults = Config(identity="")
    run.add_argument(
        "--namespace", action="append", default=[], help="serve this namespace, and others that are given so; none: all"
    )
    run.add_argument("--managed-by", default=defaults.managed_by, help="spec.managedBy of the jobs to serve")
    run.add_argument(
        "--jobs-metrics-from",
        action="append",
        default=[],
        metavar="NAMESPACE",
        help="let jobs name this namespace in spec.metrics.from; given for each of them",
    )
    run.add_argument("--kubeconfig", help="without it: KUBECONFIG, the service account, or ~/.kube/config")
    run.add_argument("--no-leader-election", action="store_true", help="act without a lease; for a single process only")
    run.add_argument("--lease-namespace", help="namespace of the lease; with its name it is that of the release")
    run.add_argument("--lease-name", default=defaults.lease_name, help="one for each release")
    run.add_argument("--metrics-host", default=defaults.metrics_host, help="address of metrics and health")
    run.add_argument("--metrics-port", type=int, default=defaults.metrics_port, help="0: any free one")
    run.add_argument("--metrics-tls-cert", type=Path, metavar="FILE", help="serve the metrics by TLS; followed")
    run.add_argument("--metrics-tls-key", type=Path, metavar="FILE", help="the certificate's key")
    run.add_argument(
        "--metrics-auth", action="store_true", help="show metrics to those alone whom the API server lets get /metrics"
    )
    run.add_argument("--probe-port", type=int, default=defaults.probe_port, help="port of health; 0: any free one")
    run.add_argument("--workers", type=_positive, default=defaults.workers, help="jobs reconciled at once")
    run.add_argument("--qps", type=float, default=defaults.qps, help="requests a second to the API server, at most")
    run.add_argument("--burst", type=_positive, default=defaults.burst, help="requests that may be saved up")
    run.add_argument("--resync", type=float, default=defaults.resync_seconds, help="seconds between full looks")
    run.add_argument("--record", type=Path, metavar="DIR", help="write a record of each reconcile that did something")
    run.add_argument(
        "--launcher-image", default="", help="this operator's image: brings the launcher into images that lack it"
    )
    run.add_argument(
        "--launcher-pull-policy", choices=("Always", "IfNotPresent", "Never"), default=defaults.launcher_pull_policy
    )
    run.add_argument("--log-format", choices=("json", "text"), default=defaults.log_format)
    run.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default=defaults.log_level)
    replay = commands.add_parser("replay", help="plan again from a record, without a cluster")
    replay.add_argument("file", type=Path, metavar="FILE", help="a record written by `run --record`")
    copy = commands.add_parser("copy-launcher", help="put the launcher into a folder, for an image that lacks it")
    copy.add_argument("folder", type=Path, metavar="DIR")
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number from 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
