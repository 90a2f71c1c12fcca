"""`dtj-operator run`: check what can be checked before the first watch, then run."""

from __future__ import annotations

import asyncio
import logging
import sys

from prometheus_client import CollectorRegistry

from dtj_api import names
from dtj_operator.app import Operator, PartEnded
from dtj_operator.config import Config
from dtj_operator.kube import errors
from dtj_operator.kube.client import HttpKubeClient, KubeClient
from dtj_operator.kube.credentials import Credentials, CredentialsError, load
from dtj_operator.kube.resources import JOBS
from dtj_operator.telemetry import logs
from dtj_operator.telemetry.record import RecordError
from dtj_operator.telemetry.runtime import RuntimeMetrics

logger = logging.getLogger(__name__)


class StartError(Exception):
    """The operator cannot start; the text says why and what to do."""


def run(config: Config) -> int:
    """Run the operator; the answer is the exit code."""
    logs.configure(config.log_format, config.log_level)
    try:
        asyncio.run(_run(config))
    except (StartError, CredentialsError, RecordError) as error:
        print(f"dtj-operator: {error}", file=sys.stderr)
        return 1
    except PartEnded as error:
        logger.critical("%s", error)
        return 1
    return 0


async def _run(config: Config) -> None:
    credentials = await load(config.kubeconfig)
    check_place(config, credentials)
    registry = CollectorRegistry()
    metrics = RuntimeMetrics(registry)
    metrics.serve(credentials.server, config.workers)
    client = HttpKubeClient(credentials, observer=metrics.request, qps=config.qps, burst=config.burst)
    try:
        await check(client, credentials, config.namespace)
        operator = Operator(config, credentials, client, registry, metrics)
        await operator.run()
    except OSError as error:
        where = f"{config.metrics_host}:{config.metrics_port}"
        raise StartError(f"--metrics-port: cannot listen on {where}: {error.strerror or error}") from error
    finally:
        await client.close()


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


async def check(client: KubeClient, credentials: Credentials, namespace: str | None) -> None:
    """See that the API server answers, knows us and knows the resource.

    Raises:
        StartError: it does not; the text says what to do.
    """
    server, source = credentials.server, credentials.source
    try:
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
    except errors.KubeError as error:
        raise StartError(f"{server}, from {source}, cannot be reached: {error.message}") from error
