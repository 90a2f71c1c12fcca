"""In namespaces of its own: a name server that never answers, and a store that is connected to. Prints what was asked.

`counts_queries.py FOLDER quiet|loud`: with or without the launcher's setting.
"""

import fcntl
import pathlib
import socket
import struct
import subprocess
import sys
import threading
import time

UP, GET, SET = 1, 0x8913, 0x8914
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
    flags = struct.unpack("16sh", fcntl.ioctl(control, GET, struct.pack("16sh", b"lo", 0)))[1]
    fcntl.ioctl(control, SET, struct.pack("16sh", b"lo", flags | UP))
resolv = pathlib.Path(sys.argv[1], "resolv.conf")
resolv.write_text("nameserver 127.0.0.1\n")
hosts = pathlib.Path(sys.argv[1], "hosts")
hosts.write_text("127.0.0.1 localhost\n")
for ours, theirs in ((resolv, "/etc/resolv.conf"), (hosts, "/etc/hosts")):
    subprocess.run(["mount", "--bind", str(ours), theirs], check=True)

asked: list[bytes] = []
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))


def note() -> None:
    while True:
        asked.append(server.recv(512))


threading.Thread(target=note, daemon=True).start()

from torch.distributed import TCPStore  # noqa: E402

from dtj_trainer.launch.resolver import ask_no_name_server  # noqa: E402
from dtj_trainer.launch.store_link import StoreLink, StoreLostError  # noqa: E402

if sys.argv[2] == "quiet":
    assert ask_no_name_server()
began = time.monotonic()
store = TCPStore("127.0.0.2", 0, is_master=True, wait_for_workers=False)
try:
    StoreLink("127.0.0.2", store.port, "x").set("a", "b")
    said = "connected"
except StoreLostError:
    said = "lost"
print(said, f"after {time.monotonic() - began:.0f} s;", "asked" if asked else "asked nobody", flush=True)
