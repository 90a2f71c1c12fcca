"""Whose fault an error is said to be, by its classes, its text, and what is left of a log."""

import pytest

from dtj_trainer.launch.ranks.errors import (
    blames_the_world,
    describe,
    is_user_error,
    printed_error,
    read_error,
)


@pytest.mark.parametrize(
    ("lines", "world"),
    [
        ("INFO: it ends", False),
        ("INFO: NCCL version 2.27\nINFO: it ends\n", False),
        ("INFO: connection refused\n\n", True),
        ("{inner}ConnectionResetError: gone\ngiving up", True),
        ("{inner}dtj.SaveError: no space\ngiving up", True),
        ("[rank1]: torch.distributed.DistNetworkError: x", False),
        ("{inner}torch.distributed.DistNetworkError: x\ngiving up", True),
        ("{frames}ValueError: x\ngiving up", False),
        ("{inner}FileNotFoundError: [Errno 2] x\ngiving up", False),
        ("{inner}torch.OutOfMemoryError: CUDA out of memory.\ngiving up", False),
        # Words that others say as well count in a traceback or at the end alone.
        ("INFO: timeout: 30\nINFO: backend: nccl, gloo for the CPU\nINFO: it ends\n", False),
        ("INFO: batch 503, error 0.503, code 500 of 1000 lines\nINFO: it ends\n", False),
        ("WARN: status=500 rows\nRuntimeError: error: 512 channels expected\nINFO: it ends\n", False),
        ("train.py: error: argument --backend: invalid choice: 'ncc' (choose from nccl, gloo)\n", False),
        ("train.py: error: unrecognized arguments: --ddp-timeout 1800\n", False),
        ("cp: error: '/data/x': Stale file handle\n", True),
        ("the barrier ran into its timeout", True),
        ("the barrier: time out", True),
    ],
)
def test_the_world_is_to_blame_where_a_log_ends_with_its_errors(lines, world):
    assert blames_the_world(lines.format(inner=INNER, frames=FRAMES)) is world


@pytest.mark.parametrize("after", ["", "\ntraining script aborted\nsee above"])
@pytest.mark.parametrize(
    "line",
    [
        "curl: (6) Could not resolve host: data.corp",
        "curl: (7) Failed to connect to data.corp port 443 after 3 ms: Couldn't connect to server",
        "curl: (22) The requested URL returned error: 503",
        "curl: (52) Empty reply from server",
        "fatal: unable to access 'https://github.com/a/b/': Could not resolve host: github.com",
        "fatal: the remote end hung up unexpectedly",
        "wget: unable to resolve host address 'data.corp'",
        "wget: bad address 'data.corp'",
        "2026-01-01 10:00:00 ERROR 502: Bad Gateway.",
        "ssh: connect to host data.corp port 22: No route to host",
        "connect: Network is unreachable",
        "connect: Host is unreachable",
        "ping: data.corp: Temporary failure in name resolution",
        "psql: could not translate host name: Name or service not known",
        "Error: getaddrinfo failed",
        "503 Service Unavailable",
        "HTTP/1.1 504 Gateway Time-out",
        "server replied: status code 500",
        "429 Too Many Requests",
        "urllib3: Max retries exceeded with url: /simple",
        "Could not connect to the endpoint URL: 's3'",
        "ls: cannot access '/data': Transport endpoint is not connected",
        "cp: error reading '/data/x': Stale file handle",
        "cat: /data/x: Remote I/O error",
        "cat: /data/x: Input/output error",
        "mount.nfs: Host is down",
        "cp: cannot create '/data/x': Read-only file system",
        "tee: /data/x: No space left on device",
        "tee: /data/x: Disk quota exceeded",
        "sh: fork: Resource temporarily unavailable",
        "sh: fork: Cannot allocate memory",
        "node-1:7:9 [0] NCCL WARN Connect to 10.0.0.1 failed : Connection refused",
        "node-1:7:9 [0] NCCL WARN Cuda failure 999 'unknown error'",
        "bind: Address already in use",
        "the connection timed out",
        "CUDA unknown error - this may be due to an incorrectly set up environment",
        "Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized",
        "Failed to initialize NVML: Driver/library version mismatch",
    ],
)
def test_what_programs_say_of_network_volume_and_device_is_the_worlds_wherever_it_stands(line, after):
    assert blames_the_world(f"downloading\n{line}{after}\n")


FRAMES = """Traceback (most recent call last):
  File "train.py", line 7, in <module>
    main()
    ~~~~^^
"""
INNER = FRAMES.replace("<module>", "emit")
"""Of what is caught, or is raised in a thread, a task or a handler."""


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        (f"{FRAMES}ValueError: bad label", "ValueError: bad label"),
        (f"{FRAMES}ValueError: bad label\nof two lines\n", "ValueError: bad label"),
        (f"{FRAMES}AssertionError\n", "AssertionError"),
        (f"{FRAMES}torch.distributed.DistNetworkError: x", "torch.distributed.DistNetworkError: x"),
        (f"{FRAMES}KeyError: 1\n\nDuring handling of it:\n\n{FRAMES}ValueError: x\n", "ValueError: x"),
        (f"{FRAMES.partition('last):')[2]}ValueError: the head is lost", "ValueError: the head is lost"),
        (
            '  File "train.py", line 3\n    x = = 1\n        ^\nSyntaxError: invalid syntax',
            "SyntaxError: invalid syntax",
        ),
        # As torch prints it once there is a process group.
        ("[rank0]: " + FRAMES.replace("\n", "\n[rank0]: ") + "ValueError: x", "ValueError: x"),
        # What the interpreter goes on after, in a thread or while it ends, is not why.
        (
            f"{FRAMES}OSError: gone\nException ignored in: <function A.__del__ at 0x7f>\n{FRAMES}TypeError: x",
            "OSError: gone",
        ),
        (f"{FRAMES}OSError: gone\nException ignored in atexit callback <f>:\n{FRAMES}TypeError: x", "OSError: gone"),
        (f"Exception in thread Thread-1 (pin):\n{FRAMES}ValueError: x\nthe disk is away\n", ""),
        (f"Exception in thread Thread-1:\n{FRAMES}KeyError: 1\n\nDuring handling of it:\n\n{FRAMES}ValueError: x", ""),
        (
            f"{FRAMES}OSError: gone\n--- Logging error ---\n{INNER}ValueError: closed\nCall stack:\n"
            "  File \"w.py\", line 5, in f\n    log()\nMessage: 'bye %s'\n",
            "OSError: gone",
        ),
        (
            f"{FRAMES}OSError: gone\nTask exception was never retrieved\nfuture: <Task>\n{INNER}ValueError: x\n",
            "OSError: gone",
        ),
        (f"not uploaded\n{INNER}ValueError: x\ngoing on\n", ""),
        (f"{INNER}KeyError: 1\n\nDuring handling of it:\n\n{FRAMES}ValueError: x\n", "ValueError: x"),
        (FRAMES, ""),
        (f"{FRAMES}the rest was lost", ""),
        ("INFO: it ends", ""),
        ("", ""),
    ],
)
def test_a_traceback_at_the_end_of_a_log_ends_with_the_error(tail, message):
    error = printed_error(tail)
    assert (error.message if error else "") == message


@pytest.mark.parametrize(
    "raised",
    [
        "urllib.error.URLError: <urlopen error [Errno -3] Temporary failure in name resolution>",
        "urllib.error.HTTPError: HTTP Error 503: Service Unavailable",
        "socket.gaierror: [Errno -2] Name or service not known",
        "ssl.SSLEOFError: EOF occurred in violation of protocol (_ssl.c:1006)",
        "http.client.RemoteDisconnected: Remote end closed connection without response",
        "requests.exceptions.ReadTimeout: HTTPSConnectionPool(host='hub', port=443): Read timed out.",
        "botocore.exceptions.EndpointConnectionError: Could not connect to the endpoint URL: 's3'",
        "huggingface_hub.errors.HfHubHTTPError: 504 Server Error",
        "zmq.error.ZMQError: Address already in use",
        "torch.OutOfMemoryError: CUDA out of memory.",
    ],
)
def test_an_error_of_the_network_is_nobodys_mistake_where_its_name_is_all_there_is(raised):
    """Whose bases are not recorded, as the OSError that most of these are."""
    error = printed_error(FRAMES + raised)
    assert error is not None
    assert (error.message, error.user_error) == (raised, False)


@pytest.mark.parametrize(
    "raised",
    [
        "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for Config",
        "omegaconf.errors.ConfigAttributeError: Key 'x' is not in struct",
        "ModuleNotFoundError: No module named 'requests'",
        "torch._dynamo.exc.Unsupported: generator",
        "ValueError: url is empty",
    ],
)
def test_any_other_error_is_the_users(raised):
    error = printed_error(FRAMES + raised)
    assert error is not None
    assert (error.message, error.user_error) == (raised, True)


class DistBackendError(RuntimeError):
    pass


class AcceleratorError(RuntimeError):
    pass


@pytest.mark.parametrize(
    ("error", "user"),
    [
        (ValueError("x"), True),
        (KeyError("x"), True),
        (AssertionError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), True),
        (RuntimeError("error: 512 channels expected, status 512"), True),
        (NotImplementedError("gloo"), True),
        (OSError(28, "No space left on device"), False),
        (TimeoutError(), False),
        (BrokenPipeError(), False),
        (MemoryError(), False),
        (DistBackendError("NCCL error"), False),
        (AcceleratorError("CUDA error: an illegal memory access"), False),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"), False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), False),
        (RuntimeError("CUDA unknown error - this may be due to an incorrectly set up environment"), False),
        (RuntimeError("Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized"), False),
        (RuntimeError("Expected all tensors to be on the same device, but found cuda:0 and cpu!"), True),
        (RuntimeError("expected scalar type Half but found torch.cuda.FloatTensor"), True),
        (RuntimeError("Cannot re-initialize CUDA in forked subprocess"), True),
        (RuntimeError("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer"), False),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed"), False),
    ],
)
def test_whose_fault(error, user):
    assert is_user_error([kind.__name__ for kind in type(error).__mro__], str(error)) is user
    assert describe(error)[2] is user


@pytest.mark.parametrize(
    ("text", "message", "user"),
    [
        ('{"message": {"message": "TypeError: x", "extraInfo": {"py_callstack": "t"}}}', "TypeError: x", True),
        ('{"message": {"message": "ConnectionError: x"}}', "ConnectionError: x", False),
        ('{"message": "torch.distributed.DistNetworkError: x"}', "torch.distributed.DistNetworkError: x", False),
        ('{"message": {"message": "SaveError: x"}}', "SaveError: x", False),
        ('{"message": {"message": "RestoreError: x"}}', "RestoreError: x", False),
    ],
)
def test_what_torchs_record_wrote_is_read(tmp_path, text, message, user):
    (tmp_path / "error.json").write_text(text)
    error = read_error(tmp_path / "error.json")
    assert (error.message, error.user_error) == (message, user)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"message": 3}', '{"message": {"message": 3}}'])
def test_an_error_file_that_is_none_is_ignored(tmp_path, text):
    (tmp_path / "error.json").write_text(text)
    assert read_error(tmp_path / "error.json") is None
    assert read_error(tmp_path / "none.json") is None
