"""Every metric's name. Docs and alerts are tested against this file, so that a renamed metric breaks a test and not a
dashboard. Standard library only (the launcher imports it inside foreign images).
"""

from __future__ import annotations

from enum import StrEnum


class TrainMetric(StrEnum):
    """Metrics of a worker pod, on port 9400. Counters end in `_total` on the page."""

    STEP = "dtj_train_step"
    EPOCH = "dtj_train_epoch"
    LOSS = "dtj_train_loss"
    LEARNING_RATE = "dtj_train_learning_rate"
    GRAD_NORM = "dtj_train_grad_norm"
    TOKENS = "dtj_train_tokens_total"
    SAMPLES = "dtj_train_samples_total"
    TOKENS_PER_SECOND = "dtj_train_tokens_per_second"
    SAMPLES_PER_SECOND = "dtj_train_samples_per_second"
    STEP_SECONDS = "dtj_train_step_seconds"
    OWN_STEP_SECONDS = "dtj_train_own_step_seconds"
    DATA_WAIT_SECONDS = "dtj_train_data_wait_seconds"
    WORLD_SIZE = "dtj_train_world_size"
    RESTARTS = "dtj_train_restarts_total"
    MEMORY_BYTES = "dtj_train_memory_bytes"
    CHECKPOINT_STEP = "dtj_train_checkpoint_step"
    CHECKPOINT_SECONDS = "dtj_train_checkpoint_seconds"
    CHECKPOINT_STALL_SECONDS = "dtj_train_checkpoint_stall_seconds"
    MEMORY_STEP = "dtj_train_memory_checkpoint_step"
    CHECKPOINTS_DAMAGED = "dtj_train_checkpoints_damaged_total"
    CHECKPOINTS_FAILED = "dtj_train_checkpoints_failed_total"
    VOLUME_SECONDS = "dtj_train_volume_seconds"


class JobMetric(StrEnum):
    """Metrics of the operator about jobs, on its own port."""

    INFO = "dtj_job_info"
    PHASE = "dtj_job_phase"
    WORKERS = "dtj_job_workers"
    STEP = "dtj_job_step"
    TOTAL_STEPS = "dtj_job_total_steps"
    EPOCH = "dtj_job_epoch"
    LOSS = "dtj_job_loss"
    TOKENS_PER_SECOND = "dtj_job_tokens_per_second"
    SAMPLES_PER_SECOND = "dtj_job_samples_per_second"
    INCARNATION = "dtj_job_incarnation"
    RESTARTS = "dtj_job_restarts_total"
    CHECKPOINT_STEP = "dtj_job_checkpoint_step"
    CHECKPOINTS_FAILED = "dtj_job_checkpoints_failed"
    CHECKPOINT_FAILING = "dtj_job_checkpoint_failing"
    RECOVERY_SECONDS = "dtj_job_recovery_seconds"
    RECOVERY_PHASE_SECONDS = "dtj_job_recovery_phase_seconds_total"
    STEPS_REDONE = "dtj_job_steps_redone_total"
    STRAGGLER_RATIO = "dtj_job_straggler_ratio"


class OperatorMetric(StrEnum):
    """Metrics of the operator about itself: controller-runtime's names where there is one. Counters end in `_total`."""

    RECONCILE = "controller_runtime_reconcile_total"
    RECONCILE_ERRORS = "controller_runtime_reconcile_errors_total"
    RECONCILE_TIME = "controller_runtime_reconcile_time_seconds"
    ACTIVE_WORKERS = "controller_runtime_active_workers"
    MAX_WORKERS = "controller_runtime_max_concurrent_reconciles"
    QUEUE_DEPTH = "workqueue_depth"
    QUEUE_ADDS = "workqueue_adds_total"
    QUEUE_WAIT = "workqueue_queue_duration_seconds"
    QUEUE_WORK = "workqueue_work_duration_seconds"
    QUEUE_RETRIES = "workqueue_retries_total"
    REST_REQUESTS = "rest_client_requests_total"
    LEADING = "leader_election_master_status"
    WATCH_RESTARTS = "dtj_operator_watch_restarts_total"
    WATCH_EVENTS = "dtj_operator_watch_events_total"
    LOOP_LAG = "dtj_operator_event_loop_lag_seconds"
    JOBS_OF_OTHERS = "dtj_operator_jobs_of_others"
    BUILD_INFO = "dtj_operator_build_info"
