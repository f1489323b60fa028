"""A web server that receives what a program posts to it."""

import contextlib
import http.server
import json
import threading


class Webhook:
    """Messages that a web server has received, and the status that it answers with."""

    def __init__(self, port):
        self.port = port
        self.messages = []
        """Bodies of the requests, as JSON values."""
        self.status = 200
        """Status of the next answers."""


@contextlib.contextmanager
def webhook():
    """Run a web server on this machine, and yield a ``Webhook``."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            hook.messages.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(hook.status)
            self.end_headers()

        def log_message(self, *_):
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook = Webhook(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hook
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
