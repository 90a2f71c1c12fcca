"""The training loop: data -> step -> clip -> optimizer -> schedule -> report -> checkpoint -> evaluate.

What is learnt is `tasks/`, how ranks share the model is `parallel/`, how their gradients become one step is
`strategies/`; none of them shows here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import dtj
from dtj_trainer.data.stream import stream
from dtj_trainer.session import Session
from dtj_trainer.strategies.synchronous import Outcome
from dtj_trainer.tasks.task import Batch

MAX_SKIPPED = 20


class NonFiniteError(RuntimeError):
    """The loss or the gradient is not finite and the configuration, or the count, says to stop."""


def train(session: Session) -> None:
    """Train from where the session is until all epochs are done or early stopping decides."""
    state, world, task, config = session.state, session.world, session.task, session.config
    evaluator, checkpointer = session.evaluator, session.checkpointer

    def collate(samples: Sequence[int]) -> Batch:
        batch: Batch = task.collate([session.train[i] for i in samples], samples)
        return batch

    if evaluator.due():
        evaluator.evaluate()
    steps = stream(
        session.sampler,
        session.cursor,
        config.epochs,
        world.data_rank,
        world.data_size,
        config.micro_batch_size,
        collate,
    )
    clock = time.perf_counter()
    while not evaluator.finished:
        data = next(steps)
        waited = time.perf_counter() - clock
        session.seed_step()
        micros = [micro.to(world.device) for micro in data.micros]
        examples = [session.train[i] for i in data.samples]
        weight = sum(task.weight(example) for example in examples)
        outcome = session.strategy.step(state.step, micros, weight, session.loss)

        pieces = sum(task.size(example) for example in examples)
        state.step += 1
        state.epoch, state.consumed = data.cursor.epoch, data.cursor.consumed
        state.samples += len(examples)
        state.tokens += pieces
        now = time.perf_counter()
        state.seconds += now - clock
        dtj.report(
            step=state.step,
            loss=outcome.loss,
            epoch=state.epoch + state.consumed / len(session.train),
            total_steps=session.total_steps,
            tokens=pieces,
            samples=len(examples),
            lr=outcome.lr,
            grad_norm=outcome.grad_norm,
            data_wait_seconds=waited,
            step_seconds=now - clock,
        )
        guard(session, outcome, weight)
        if dtj.should_save():
            checkpointer.save(state)
        # Also of a step that is being saved: it counts before it has been written.
        checkpointer.keep_in_memory(state)
        if evaluator.due():
            evaluator.evaluate()
        clock = time.perf_counter()
    steps.close()
    checkpointer.save_last(state)


def guard(session: Session, outcome: Outcome, weight: int) -> None:
    """Record the step's loss, or count a step that was not finite. One of nothing to learn is neither.

    Raises:
        NonFiniteError: `nonFinite: stop`, or too many such steps in a row.
    """
    state = session.state
    if weight == 0:
        return
    if outcome.applied:
        state.skipped_in_a_row = 0
        state.curve.add(state.step, outcome.loss, weight)
        return
    state.skipped += 1
    state.skipped_in_a_row += 1
    stop = session.config.optimizer.non_finite == "stop"
    if stop or state.skipped_in_a_row >= MAX_SKIPPED:
        raise NonFiniteError(
            f"step {state.step}: loss {outcome.loss}, gradient norm {outcome.grad_norm}; "
            f"{state.skipped_in_a_row} such steps in a row. Lower optimizer.lr or raise optimizer.warmup"
        )
