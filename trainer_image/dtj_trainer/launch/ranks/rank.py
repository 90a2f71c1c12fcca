"""What happens inside a rank between the fork and the user's first line, and after an error of theirs.

A forked rank must look to the user's code as if the interpreter had been started for it: `__main__`, `sys.argv`,
`sys.path[0]`, exit codes, tracebacks without our frames, and seeds that differ between processes where they would.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import gc
import importlib.machinery
import importlib.util
import io
import json
import os
import signal
import sys
import threading
import time
import types
from pathlib import Path
from typing import Never

from dtj.pace import pace
from dtj_trainer.launch.ranks import first_connect, stacks, zygote
from dtj_trainer.launch.ranks.command import RunAs
from dtj_trainer.launch.ranks.errors import describe
from dtj_trainer.launch.ranks.zygote import Start

ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
"""torchrun's own variable: a script that uses torch's `record` writes there too."""


def run_rank(start: Start) -> Never:
    """Become the rank. Ends the process as the interpreter would."""
    os.environ.update(start.env)
    if start.run_as == RunAs.SUBPROCESS:
        # Python ignores it, and what is executed would inherit that: `yes | head` would not end.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        try:
            os.execv(start.argv[0], start.argv)
        except OSError as error:
            print(f"{start.argv[0]}: cannot be run: {error.strerror}", file=sys.stderr)
            sys.exit(126)
    _refresh_seeds()
    if path := os.environ.get(stacks.FILE):
        stacks.write_on_signal(path)
    pace.watch()
    if world_size := start.env.get("WORLD_SIZE"):
        first_connect.look_often(int(world_size))
    # Its output is a pipe, where lines would wait in a buffer, and be lost when the rank is killed.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    try:
        _run(start)
    except SystemExit as error:
        _finish(_exit_code(error))
    except BaseException as error:
        _drop_our_frames(error)
        _record(error)
        sys.excepthook(type(error), error, error.__traceback__)
        _finish(1)
    _finish(0)


def _exit_code(error: SystemExit) -> int:
    """As the interpreter reads it: text is printed, and means 1."""
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    print(error.code, file=sys.stderr)
    return 1


def _finish(code: int) -> Never:
    """End as the interpreter does, but for taking torch apart module by module, which takes more than a second.

    That would also close the files that the script left open, so what they hold is written out here.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    gc.collect()
    for left in gc.get_objects():
        if isinstance(left, io.BufferedIOBase | io.TextIOBase):
            # Closed, or a pipe whose reader has gone.
            with contextlib.suppress(OSError, ValueError):
                left.flush()
    os._exit(code)


def _run(start: Start) -> None:
    main = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = builtins
    if start.module:
        sys.path[0] = os.getcwd()
        code, main.__spec__ = _find_module(start.module)
        main.__file__ = main.__spec__.origin
        main.__package__ = main.__spec__.parent
        main.__loader__ = main.__spec__.loader
        sys.argv = [main.__file__ or start.module, *start.argv]
    else:
        # Absolute, as the interpreter has it: a script may change its directory.
        path = os.path.abspath(start.script)
        code = compile(Path(path).read_bytes(), path, "exec", dont_inherit=True)
        main.__file__ = path
        main.__loader__ = importlib.machinery.SourceFileLoader("__main__", path)
        sys.path[0] = os.path.dirname(os.path.realpath(path))
        sys.argv = [start.script, *start.argv]
    sys.modules["__main__"] = main
    exec(code, main.__dict__)


def _find_module(name: str) -> tuple[types.CodeType, importlib.machinery.ModuleSpec]:
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = importlib.util.find_spec(f"{name}.__main__")
    get_code = getattr(spec.loader, "get_code", None) if spec else None
    code = get_code(spec.name) if get_code and spec else None
    if spec is None or code is None:
        raise ImportError(f"No module named {name}, or it cannot be run")
    return code, spec


def _refresh_seeds() -> None:
    """Forks would share the state that numpy seeded from the system; Python reseeds its own, torch's is constant."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def _drop_our_frames(error: BaseException) -> None:
    """The traceback begins where the user's code does."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    error.__traceback__ = trace


def _record(error: BaseException) -> None:
    """Write the error where the launcher looks, in torch's own format, with our verdict beside it."""
    path = os.environ.get(ERROR_FILE)
    if not path:
        return
    message, trace, user_error = describe(error)
    if zygote.failed_imports:
        # The first cause comes first: a module that is half there fails in another way.
        message = f"{message}; before that, {'; '.join(zygote.failed_imports)}"
    extra = {"py_callstack": trace, "timestamp": str(int(time.time()))}
    record = {"message": {"message": message, "extraInfo": extra}, "user_error": user_error, "at": time.time()}
    try:
        Path(path).write_text(json.dumps(record))
    except OSError as failed:
        print(f"dtj: {path} could not be written: {failed.strerror}", file=sys.stderr)
