"""Install the operator as any user would: with helm, from the chart in this repository."""

from __future__ import annotations

from pathlib import Path

from dtj_api.names import GROUP, PLURAL
from dtj_cluster.errors import ClusterError
from dtj_demo.commands import run
from dtj_demo.place import Place

CHART = Path(__file__).resolve().parents[3] / "charts" / "dtj-operator"
RELEASE = "dtj"
NAMESPACE = "dtj-system"
DEPLOYMENT = "dtj-operator"
VERSION_ANNOTATION = r"podAnnotations.dtj\.dev/image-version"
WAIT_SECONDS = 180


def install(place: Place, *more: str, chart: Path = CHART) -> None:
    """Install or upgrade the chart, with more arguments for helm; wait until the operator is ready.

    Raises:
        ClusterError: it is not in time; the text has what it said.
    """
    argv: list[str | Path] = [
        place.helm, "upgrade", "--install", RELEASE, chart, "--namespace", NAMESPACE, "--create-namespace",
        "--wait", "--timeout", f"{WAIT_SECONDS}s", *values(place), *more,
    ]  # fmt: skip
    try:
        run(argv, environment=place.kubectl.environment, timeout=WAIT_SECONDS + 60)
    except ClusterError as error:
        raise ClusterError(f"{error}\n{_what_it_said(place)}") from None
    place.kubectl("wait", "--for=condition=Established", f"crd/{PLURAL}.{GROUP}", "--timeout", "30s")


def values(place: Place) -> list[str]:
    """The chart's values that the demo sets."""
    wanted = {"fullnameOverride": DEPLOYMENT, **_image(place.operator.reference)}
    if place.operator.version:
        # The reference is the same after a rebuild: without a change of the pod template nothing would be rolled out.
        wanted[VERSION_ANNOTATION] = place.operator.version
    return [word for name, value in wanted.items() for word in ("--set-string", f"{name}={value}")]


def _image(reference: str) -> dict[str, str]:
    """Repository, tag and digest of an image reference, as the chart wants them."""
    rest, _, digest = reference.partition("@")
    # A colon before the last slash belongs to the registry's port.
    folder, slash, last = rest.rpartition("/")
    name, _, tag = last.partition(":")
    parts = {"image.repository": f"{folder}{slash}{name}", "image.tag": tag, "image.digest": digest}
    return {key: value for key, value in parts.items() if value}


def _what_it_said(place: Place) -> str:
    try:
        pods = place.kubectl("get", "pods", "--namespace", NAMESPACE, "--output", "wide")
        logs = place.kubectl("logs", "--namespace", NAMESPACE, f"deployment/{DEPLOYMENT}", "--tail", "20")
    except ClusterError as error:
        return f"(its pods and logs cannot be read: {error})"
    return f"{pods}\n{logs}"
