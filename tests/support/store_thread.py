"""A rendezvous store in a thread of the test, and links to it."""

import asyncio
import threading

from dtj_trainer.launch.store.link import StoreLink
from dtj_trainer.launch.store.server import StoreServer

HOST = "127.0.0.1"
KEY = b"the job's key"


class StoreThread:
    """Serves from `with` to its end."""

    def __init__(self, host=HOST):
        self.host = host

    def __enter__(self):
        self.key = KEY
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.server = StoreServer(lambda: self.key)
        self.port = self.call(self.server.start(self.host, 0))
        return self

    def __exit__(self, *_):
        self.call(self.server.close(0.0))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def call(self, work):
        """Run a coroutine where the store runs."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def link(self, incarnation=1, **options) -> StoreLink:
        """A client, in an incarnation."""
        return StoreLink(self.host, self.port, incarnation, options.pop("key", KEY), **options)
