"""A small HTTP server with range requests, which can stall, or drop every n-th request."""

import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Server(ThreadingHTTPServer):
    """Serves the files of a folder.

    Attributes:
        requests: Method and path of each request, with its range.
        drop_every: Close the connection of every n-th request without an answer; 0 for none.
        stall: Part of a path: such requests get headers, and then nothing.
        stalls: How many do; all by default.
        answer: Maps a path with query to JSON text that is no file.
    """

    daemon_threads = True

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = Path(folder)
        self.requests = []
        self.drop_every = 0
        self.stall, self.stalls = None, float("inf")
        self.answer = {}
        self.closing = threading.Event()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        """Say nothing of clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._serve(body=False)

    def do_GET(self):
        self._serve(body=True)

    def _serve(self, body):
        server = self.server
        server.requests.append((self.command, self.path, self.headers.get("Range")))
        if server.drop_every and len(server.requests) % server.drop_every == 0:
            self.close_connection = True
            self.connection.close()
            return
        content = server.answer.get(self.path)
        if content is None:
            path = server.folder / unquote(urlsplit(self.path).path).lstrip("/")
            if not path.is_file():
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = path.read_bytes()
        else:
            content = content.encode()
        total, first = len(content), 0
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if found:
            first = int(found[1])
            content = content[first : int(found[2]) + 1 if found[2] else None]
        self.send_response(206 if found else 200)
        if found:
            self.send_header("Content-Range", f"bytes {first}-{first + len(content) - 1}/{total}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if server.stall and server.stall in self.path and body and server.stalls > 0:
            server.stalls -= 1
            server.closing.wait(60)
            self.close_connection = True
            return
        if body:
            self.wfile.write(content)


@contextmanager
def serving(folder):
    """Serve a folder on a port of this machine."""
    server = Server(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serving_apart(folder, drop_every=0):
    """Serve a folder from a process of its own; give its address.

    rasterio holds the interpreter's lock while GDAL reads the headers of overviews and masks: of
    files in which these do not lie at the start, a server in the same process would never send
    them.
    """
    words = [sys.executable, __file__, str(folder), str(drop_every)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


if __name__ == "__main__":
    apart = Server(sys.argv[1])
    apart.drop_every = int(sys.argv[2])
    print(apart.address, flush=True)
    apart.serve_forever()
