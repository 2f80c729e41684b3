"""The parser: bytes of one HTTP/1.1 answer after another, each within its bounds. No I/O, no clock.

httptools (llhttp, strict) refuses what is ambiguous: both Content-Length and Transfer-Encoding, repeated or
signed lengths, folded headers. The bounds, and the decision when enough is enough, are ours.
"""

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from bridge.exchange import Answer, Limits
from bridge.model import Timing


class Malformed(Exception):
    """The bytes are no HTTP answer that we accept. The message is short and for people."""


class AnswerParser:
    """Reads one answer at a time: `begin`, then `feed` until it is `complete` or `cut`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._parser = HttpResponseParser(self)
        self.begin("GET")

    def begin(self, method: str) -> None:
        """Expect the answer to a request of this method."""
        self._bodiless = method == "HEAD"
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()  # one buffer: a list of one-byte chunks would take forty times their size
        self._size = self._wire = self._informational = self._counted = 0
        self._objection = ""
        self.status = 0
        self.touched = False
        """Any byte at all arrived."""
        self.answered = False
        """Status and headers of the final answer are here: there is an answer now, whatever follows."""
        self.complete = False
        self.reusable = False
        """Complete, nothing came after it, and both sides agree to go on."""
        self.cut = False
        """The body ended before it was complete; no more of it is wanted."""

    def feed(self, data: bytes) -> None:
        """Take what was received. Raises Malformed while there is no answer yet; afterwards it is `cut`."""
        self.touched = True
        self._wire += len(data)
        if not self.answered and self._wire > self._limits.header_bytes:
            within = len(data) - (self._wire - self._limits.header_bytes)
            self._execute(data[:within])
            if not self.answered:
                raise Malformed(f"the head of the answer exceeds {self._limits.header_bytes} bytes")
            data = data[within:]
        self._execute(data)
        if self._wire > self._limits.wire_bytes and not self.complete:
            self.cut = True

    def end(self) -> None:
        """The stream ended in good order: that completes a body without length, and cuts any other."""
        framed = any(
            name.lower() == b"content-length"
            or (name.lower() == b"transfer-encoding" and value.lower().rstrip().endswith(b"chunked"))
            for name, value in self._headers
        )
        self.complete, self.cut = not framed, framed

    def answer(self, timing: Timing) -> Answer:
        """The answer as far as it was read."""
        return Answer(
            status=self.status,
            headers=tuple([(n.decode("latin-1").lower(), v.strip().decode("latin-1")) for n, v in self._headers]),
            body=bytes(self._body),
            truncated=not self.complete,
            timing=timing,
        )

    def _execute(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self.reusable = False
            if self.answered:
                self.cut = not self.complete
            else:
                raise Malformed(self._objection or str(error)) from None

    def _object(self, objection: str) -> None:
        """Stop the parser, from inside one of its callbacks."""
        self._objection = objection
        raise Malformed(objection)

    # Called by httptools.

    def on_message_begin(self) -> None:
        if self.complete:
            self._object("bytes after a complete answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.answered:  # else it is a trailer
            self._counted += 1
            if self._counted > self._limits.headers:
                self._object(f"more than {self._limits.headers} headers")
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status == 101:
            self._object("the server switched protocols unasked")
        if status < 100:
            self._object("the status is no HTTP status")
        if status < 200:
            self._informational += 1
            self._headers.clear()
            if self._informational > self._limits.informational:
                self._object(f"more than {self._limits.informational} informational answers")
            return
        self.status = status
        self.answered = True
        # httptools cannot be told that an answer to HEAD has no body: the connection ends with it.
        self.complete = self._bodiless

    def on_body(self, data: bytes) -> None:
        if self.complete:
            self._object("a body after the answer to HEAD")
        room = self._limits.body_bytes - self._size
        self._size += len(data)
        if len(data) > room:
            self._body += data[:room]
            self._object("enough")
        self._body += data

    def on_message_complete(self) -> None:
        if self.answered:
            self.complete = True
            self.reusable = not self._bodiless and self._parser.should_keep_alive()
