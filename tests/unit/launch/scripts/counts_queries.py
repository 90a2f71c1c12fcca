"""In namespaces of its own: a name server that never answers, and a store that is connected to. Prints what was asked.

`counts_queries.py FOLDER dtj|torch`: the launchers' store, or torch's.
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

began = time.monotonic()
if sys.argv[2] == "dtj":
    from store_thread import StoreThread

    with StoreThread() as store:
        link = store.link()
        link.set("a", "b")
        link.close()
else:
    from datetime import timedelta

    from torch.distributed import TCPStore

    torchs = TCPStore("127.0.0.2", 0, is_master=True, wait_for_workers=False)
    TCPStore("127.0.0.2", torchs.port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=60))
print(f"connected after {time.monotonic() - began:.0f} s;", "asked" if asked else "asked nobody", flush=True)
