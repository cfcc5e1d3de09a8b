"""What a server reads in a client's frames (RFC 6455, section 5), out of all of them at once."""

from dataclasses import dataclass, field

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
CONTINUATION = 0
OPCODES = {CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG}
MESSAGE_MAX = 65536
FRAME_MAX = 1 << 20
NEVER_SENT = {1004, 1005, 1006, 1015}
PROTOCOL_ERROR, TOO_BIG, NORMAL = 1002, 1009, 1000


class ViolationError(Exception):
    """No client may send this; what comes behind it means nothing."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class Frame:
    opcode: int
    final: bool
    octets: int
    payload: bytes | None  # None when it is too long to be looked at


@dataclass
class Reading:
    """Everything that follows from what came.

    Attributes:
        texts: the text messages in order; None for each message that is refused.
        replies: opcode and payload of the frames that are sent back.
        violation: the code for which the peer is hung up on.
        closed: whether the peer has said goodbye.
    """

    texts: list[bytes | None] = field(default_factory=list)
    replies: list[tuple[int, bytes]] = field(default_factory=list)
    violation: int | None = None
    closed: bool = False
    _partial: bytes | None = None
    _skipping: bool = False

    def take(self, frame: Frame) -> None:
        payload = frame.payload
        if payload is not None and frame.opcode >= CLOSE:
            self._take_control(frame.opcode, payload)
        elif frame.opcode == CONTINUATION and self._skipping:
            self._skipping = not frame.final
        else:
            self._take_data(frame)

    def _take_control(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            self.replies.append((CLOSE, answer_to(payload).to_bytes(2, "big")))
            self.closed = True
        elif opcode == PING:
            self.replies.append((PONG, payload))

    def _take_data(self, frame: Frame) -> None:
        message = self._message_with(frame)
        self._partial = None
        self._skipping = message is None and not frame.final
        if message is None or frame.final:
            self.texts.append(message)
        else:
            self._partial = message

    def _message_with(self, frame: Frame) -> bytes | None:
        """The message so far; None when the frame spoils it."""
        begins = frame.opcode == TEXT and self._partial is None
        goes_on = frame.opcode == CONTINUATION and self._partial is not None
        if frame.payload is None or not (begins or goes_on):
            return None
        message = (self._partial or b"") + frame.payload
        return message if len(message) <= MESSAGE_MAX else None


def read(octets: bytes) -> Reading:
    """Read what came behind the upgrade."""
    reading = Reading()
    at = 0
    try:
        while not reading.closed and (frame := frame_of(octets[at : at + FRAME_MAX + 14])):
            reading.take(frame)
            at += frame.octets
    except ViolationError as error:
        reading.violation = error.code
    return reading


def frame_of(octets: bytes) -> Frame | None:
    """The frame that begins here; None when it has not come whole."""
    if len(octets) < 2:
        return None
    opcode, final, length = octets[0] % 16, octets[0] >= 128, octets[1] % 128
    reserved, masked = octets[0] // 16 % 8, octets[1] >= 128
    if reserved or not masked or opcode not in OPCODES:
        raise ViolationError(PROTOCOL_ERROR)
    if opcode >= CLOSE and (not final or length > 125):
        raise ViolationError(PROTOCOL_ERROR)
    width = {126: 2, 127: 8}.get(length, 0)
    head = 2 + width + 4
    if len(octets) < head:
        return None
    if width:
        length = int.from_bytes(octets[2 : 2 + width], "big")
    if length >= 1 << 63:
        raise ViolationError(PROTOCOL_ERROR)
    if length > FRAME_MAX:
        raise ViolationError(TOO_BIG)
    if length > MESSAGE_MAX:
        return Frame(opcode, final, head + length, None)
    if len(octets) < head + length:
        return None
    key, payload = octets[head - 4 : head], octets[head : head + length]
    unmasked = bytes(octet ^ key[i % 4] for i, octet in enumerate(payload))
    return Frame(opcode, final, head + length, unmasked)


def answer_to(payload: bytes) -> int:
    """The code that a close frame is answered with: RFC 6455, sections 5.5.1 and 7.4."""
    if not payload:
        return NORMAL
    code = int.from_bytes(payload[:2], "big") if len(payload) > 1 else 0
    return code if 1000 <= code < 5000 and code not in NEVER_SENT else PROTOCOL_ERROR
