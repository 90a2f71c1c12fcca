"""`dtj-operator run`: check what can be checked before the first watch, then run."""

from __future__ import annotations

import asyncio
import logging
import sys

from prometheus_client import CollectorRegistry

from dtj_api import names, open_files
from dtj_operator.app import Operator
from dtj_operator.cli.rights import missing, needed
from dtj_operator.config import Config
from dtj_operator.kube import errors
from dtj_operator.kube.client import HttpKubeClient, KubeClient
from dtj_operator.kube.credentials import Credentials, CredentialsError, load
from dtj_operator.kube.resources import JOBS
from dtj_operator.telemetry import logs
from dtj_operator.telemetry.certificate import CertificateError
from dtj_operator.telemetry.record import RecordError
from dtj_operator.telemetry.runtime import RuntimeMetrics
from dtj_operator.watches import PartEnded

logger = logging.getLogger(__name__)

OPEN_FILES = 8192
"""Launchers are asked for reports and told messages by 512 connections each, beside those of API server and probes."""


class StartError(Exception):
    """The operator cannot start; the text says why and what to do."""


def run(config: Config) -> int:
    """Run the operator; the answer is the exit code."""
    logs.configure(config.log_format, config.log_level)
    open_files.raise_limit(OPEN_FILES)
    try:
        asyncio.run(_run(config))
    except (StartError, CredentialsError, RecordError, CertificateError) as error:
        print(f"dtj-operator: {error}", file=sys.stderr)
        return 1
    except PartEnded as error:
        logger.critical("%s", error)
        return 1
    return 0


async def _run(config: Config) -> None:
    check_page(config)
    credentials = await load(config.kubeconfig)
    check_place(config, credentials)
    registry = CollectorRegistry()
    metrics = RuntimeMetrics(registry)
    metrics.serve(credentials.server, config.workers)
    client = HttpKubeClient(credentials, observer=metrics.request, qps=config.qps, burst=config.burst)
    try:
        operator = Operator(
            config,
            credentials,
            client,
            registry,
            metrics,
            check=lambda: check(client, credentials, config),
        )
        await operator.run()
    except OSError as error:
        where = f"{config.metrics_host}:{config.metrics_port} and :{config.probe_port}"
        raise StartError(
            f"--metrics-port, --probe-port: cannot listen on {where}: {error.strerror or error}"
        ) from error
    finally:
        await client.close()


def check_page(config: Config) -> None:
    """See that what protects the metrics belongs together.

    Raises:
        StartError: it does not.
    """
    if (config.metrics_cert is None) != (config.metrics_key is None):
        raise StartError("--metrics-tls-cert and --metrics-tls-key: one is missing; give both")
    if config.metrics_auth and config.metrics_cert is None:
        raise StartError(
            "--metrics-auth: tokens would be sent in the clear; give --metrics-tls-cert and --metrics-tls-key as well"
        )


def check_place(config: Config, credentials: Credentials) -> None:
    """See that the jobs' network policies can let this operator in and nobody else; outside a cluster, say that not.

    Raises:
        StartError: it runs in a pod and does not know its namespace.
    """
    if config.pod_namespace is not None:
        return
    if credentials.in_cluster:
        raise StartError(
            "POD_NAMESPACE is not set: it is the namespace from which each job's NetworkPolicy lets the operator in; "
            "set it in the operator's pod as the chart does (valueFrom: {fieldRef: {fieldPath: metadata.namespace}})"
        )
    logger.warning(
        "runs outside the cluster, where no NetworkPolicy can name it: ports %d and %d of all workers are open to "
        "everybody who reaches them",
        names.METRICS_PORT,
        names.CONTROL_PORT,
    )


async def check(client: KubeClient, credentials: Credentials, config: Config) -> None:
    """See that the API server answers, knows us and the resource, and lets us do what jobs need.

    Raises:
        StartError: it refuses; the text says what to do.
        KubeError: it does not answer, which may pass.
    """
    server, source = credentials.server, credentials.source
    try:
        for namespace in config.namespaces or (None,):
            await client.list_page(JOBS, namespace, limit=1)
    except errors.Unauthorized as error:
        raise StartError(
            f"{server} does not accept the credentials of {source}: renew them ({error.message})"
        ) from error
    except errors.Forbidden as error:
        raise StartError(
            f"{source} may not list {names.PLURAL}.{names.GROUP}: bind the chart's role to it ({error.message})"
        ) from error
    except errors.NotFound as error:
        raise StartError(
            f"{server} does not know {names.PLURAL}.{names.GROUP}: install the CRD "
            "(`kubectl apply --server-side -f crds/`, or the chart does it)"
        ) from error
    lease_namespace = config.lease_namespace or next(iter(config.namespaces), credentials.namespace)
    if lacks := await missing(client, needed(config, lease_namespace)):
        raise StartError(
            f"{source} may not {', '.join(map(str, lacks))}: bind the chart's role to it, jobs need all of it"
        )
