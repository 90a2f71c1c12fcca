"""The environment of a launcher, read once and refused as a whole when it cannot be right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dtj_api.names import CONTROL_PORT, METRICS_PORT, Env
from dtj_trainer.launch.progress.stall import Timeout

TERMINATION_LOG = "/dev/termination-log"


class BadConfigError(Exception):
    """The environment or the command cannot be run; the text names what was found and what is allowed."""


@dataclass(frozen=True)
class Settings:
    """What the operator (or local mode) tells a launcher. Times are seconds."""

    job: str
    job_uid: str
    index: int
    pod_name: str
    pod_uid: str
    pod_ip: str
    processes: int | None
    """None: as many as the GPUs that are seen, else 1."""
    work_dir: Path | None
    key: bytes
    metrics_port: int
    control_port: int
    bind: str | None
    termination_log: Path
    join_timeout: float
    heartbeat: float
    heartbeat_misses: int
    last_call: float
    step_timeout: Timeout
    backoff_initial: float
    backoff_max: float
    grace: float
    preload: bool
    """Whether ranks may be forks of a process that has imported torch."""
    restarts: bool
    """False: the ranks of a later round are started only if the operator lets them."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Read the environment.

        Raises:
            BadConfigError: a variable is missing or has a value that is not allowed; the key cannot be read.
        """
        processes = env.get(Env.PROCESSES) or "auto"
        work_dir = env.get(Env.WORK_DIR, "")
        return cls(
            job=required(env, Env.JOB_NAME),
            job_uid=required(env, Env.JOB_UID),
            index=_whole(env, Env.INDEX, 0, least=0),
            pod_name=required(env, Env.POD_NAME),
            pod_uid=required(env, Env.POD_UID),
            pod_ip=required(env, Env.POD_IP),
            processes=None if processes == "auto" else _whole(env, Env.PROCESSES, 1, least=1),
            work_dir=Path(work_dir) if work_dir else None,
            key=read_key(required(env, Env.KEY_FILE)),
            metrics_port=_whole(env, Env.METRICS_PORT, METRICS_PORT, least=1),
            control_port=_whole(env, Env.CONTROL_PORT, CONTROL_PORT, least=1),
            bind=env.get(Env.BIND_ADDRESS) or None,
            termination_log=Path(env.get(Env.TERMINATION_LOG) or TERMINATION_LOG),
            join_timeout=seconds(env, Env.JOIN_TIMEOUT, 600.0),
            heartbeat=seconds(env, Env.HEARTBEAT, 2.0),
            heartbeat_misses=_whole(env, Env.HEARTBEAT_MISSES, 5, least=1),
            last_call=seconds(env, Env.LAST_CALL, 1.0, least=0.0),
            step_timeout=_timeout(env),
            backoff_initial=seconds(env, Env.BACKOFF_INITIAL, 1.0, least=0.0),
            backoff_max=seconds(env, Env.BACKOFF_MAX, 300.0, least=0.0),
            grace=seconds(env, Env.GRACE_SECONDS, 120.0),
            preload=_flag(env, Env.LAUNCHER_PRELOAD, True),
            restarts=_whole(env, Env.MAX_RESTARTS, 1, least=0) > 0,
        )


def required(env: Mapping[str, str], name: str) -> str:
    """What a variable says.

    Raises:
        BadConfigError: it is not set, or empty.
    """
    value = env.get(name, "")
    if not value:
        raise BadConfigError(f"{name} is not set: the launcher is started by the operator or by `dtj run`")
    return value


def _whole(env: Mapping[str, str], name: str, default: int, *, least: int) -> int:
    text = env.get(name) or str(default)
    if not text.isdecimal() or int(text) < least:
        raise BadConfigError(f"{name}: found {text!r}, allowed is a whole number of at least {least}")
    return int(text)


def seconds(env: Mapping[str, str], name: str, default: float, least: float = 0.001) -> float:
    """A number of seconds out of a variable.

    Raises:
        BadConfigError: it is none, or less than the least.
    """
    text = env.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not least <= value < float("inf"):
        raise BadConfigError(f"{name}: found {text!r}, allowed is a number of seconds, at least {least:g}")
    return value


def _flag(env: Mapping[str, str], name: str, default: bool) -> bool:
    text = env.get(name) or str(default).lower()
    if text not in ("true", "false"):
        raise BadConfigError(f"{name}: found {text!r}, allowed are true and false")
    return text == "true"


def _timeout(env: Mapping[str, str]) -> Timeout:
    text = env.get(Env.STEP_TIMEOUT) or "auto"
    if text in ("auto", "none"):
        return Timeout(watch=text == "auto")
    return Timeout(seconds(env, Env.STEP_TIMEOUT, 0.0))


def read_key(path: str) -> bytes:
    """The job's key out of a file.

    Raises:
        BadConfigError: it cannot be read, or is empty.
    """
    try:
        key = Path(path).read_bytes().strip()
    except OSError as error:
        raise BadConfigError(f"{Env.KEY_FILE}: {path} cannot be read: {error.strerror}") from error
    if not key:
        raise BadConfigError(f"{Env.KEY_FILE}: {path} is empty; it must hold the job's key")
    return key
