"""A headless browser, spoken to over a pipe: no driver, no port."""

import base64
import json
import os
import shutil
import subprocess
from contextlib import contextmanager

_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for path in map(shutil.which, _NAMES) if path), None)


class Browser:
    """One page."""

    def __init__(self, send, receive):
        self._send, self._receive, self._number, self._session = send, receive, 0, None
        self.events = []

    def call(self, method, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._send.write(json.dumps(message).encode() + b"\0")
        self._send.flush()
        while True:
            answer = json.loads(self._message())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _message(self):
        read = bytearray()
        while (byte := self._receive.read(1)) not in (b"\0", b""):
            read += byte
        return bytes(read)

    def open(self, address, ready="document.body && document.body.dataset.ready === 'yes'"):
        self._session, self.events = None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=address)
        self.wait(ready)

    def evaluate(self, expression):
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression):
        looking = f"const look = () => ({expression}) ? done(true) : setTimeout(look, 20); look();"
        assert self.evaluate(f"new Promise(done => {{ {looking} }})")

    def click(self, x, y, shift=False):
        self.drag((x, y), (x, y), shift)

    def drag(self, begin, end, shift=False):
        """Press at one point, release at another, by way of one near the first."""
        way = tuple(0.9 * a + 0.1 * b for a, b in zip(begin, end, strict=True))
        keys = {"modifiers": 8 * shift, "pointerType": "mouse"}
        for kind, (x, y), buttons in (
            ("mouseMoved", begin, 0),
            ("mousePressed", begin, 1),
            *((("mouseMoved", way, 1), ("mouseMoved", end, 1)) if begin != end else ()),
            ("mouseReleased", end, 0),
        ):
            button = "none" if kind == "mouseMoved" and not buttons else "left"
            event = {"type": kind, "x": x, "y": y, "button": button, "buttons": buttons}
            self.call("Input.dispatchMouseEvent", **event, **keys, clickCount=1)

    def wheel(self, x, y, turned):
        event = {"type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": turned}
        self.call("Input.dispatchMouseEvent", **event)

    def key(self, name, control=False):
        text = {"text": "\r" if name == "Enter" else name}
        if control or (len(name) > 1 and name != "Enter"):
            text = {}
        for kind in ("keyDown", "keyUp"):
            event = {"type": kind, "key": name, "modifiers": 2 * control}
            if name == "Enter":
                event["windowsVirtualKeyCode"] = 13
            self.call("Input.dispatchKeyEvent", **event, **(text if kind == "keyDown" else {}))

    def type(self, text):
        self.call("Input.insertText", text=text)

    def screenshot(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


@contextmanager
def browser(profile):
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()

    def wire():
        # Chromium reads descriptor 3 and writes 4.
        os.dup2(to_read, 13)
        os.dup2(from_write, 14)
        os.dup2(13, 3)
        os.dup2(14, 4)
        for descriptor in (3, 4):
            os.set_inheritable(descriptor, True)

    process = subprocess.Popen(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--window-size=1180,900",
            f"--user-data-dir={profile}",
            "--remote-debugging-pipe",
        ],
        preexec_fn=wire,
        close_fds=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(from_write)
    with os.fdopen(to_write, "wb") as send, os.fdopen(from_read, "rb") as receive:
        try:
            yield Browser(send, receive)
        finally:
            process.terminate()
            process.wait(20)
