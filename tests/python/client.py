"""A client of the gateway that shares no code with it: Python's own sockets, `websockets`, and protobuf.

    client.py tcp|ws HOST:PORT USER BUSINESS PAYLOAD...

Logs in, sends each PAYLOAD as a request of BUSINESS, all at once, and waits for every reply and one push. Prints what it
got as one JSON object. The protocol is described in docs/protocol.md; `client_pb2` is generated from proto/client.proto.
"""

import asyncio
import json
import secrets
import struct
import sys

import client_pb2 as pb
from websockets.asyncio.client import connect

HELLO, WELCOME, REFUSED, REQUEST, REPLY, PUSH, PUSH_ACK, PING, PONG = range(1, 10)
MAGIC = b"DGR1"
SUBPROTOCOL = "dagor.v1"
# Body length (high byte, low half), kind, flags, reserved, business code, message id.
HEADER = struct.Struct(">BHBBBHQ")
TIMEOUT_SECONDS = 20


class TcpLink:
    """Frames as they are, after four magic bytes."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(MAGIC)
        return cls(reader, writer)

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self):
        data = await self.reader.read(65536)
        if not data:
            raise ConnectionError("the gateway closed the connection")
        return data

    async def close(self):
        self.writer.close()


class WebSocketLink:
    """Frames in binary messages."""

    def __init__(self, socket):
        self.socket = socket

    @classmethod
    async def open(cls, host, port):
        socket = await connect(f"ws://{host}:{port}/", subprotocols=[SUBPROTOCOL], compression=None, proxy=None)
        if socket.subprotocol != SUBPROTOCOL:
            raise ConnectionError(f"the gateway did not confirm the subprotocol: {socket.subprotocol}")
        return cls(socket)

    async def send(self, data):
        await self.socket.send(data)

    async def receive(self):
        data = await self.socket.recv()
        if isinstance(data, str):
            raise ConnectionError("a text message")
        return data

    async def close(self):
        await self.socket.close()


LINKS = {"tcp": TcpLink, "ws": WebSocketLink}


class Client:
    """One logged-in connection."""

    def __init__(self, link):
        self.link = link
        self.received = bytearray()

    async def send(self, kind, message, business=0, message_id=0):
        body = message.SerializeToString()
        header = HEADER.pack(len(body) >> 16, len(body) & 0xFFFF, kind, 0, 0, business, message_id)
        await self.link.send(header + body)

    async def frame(self):
        """The next frame: its kind, business code, message id and body."""
        while True:
            if len(self.received) >= HEADER.size:
                high, low, kind, _flags, _reserved, business, message_id = HEADER.unpack_from(self.received)
                end = HEADER.size + (high << 16 | low)
                if len(self.received) >= end:
                    body = bytes(self.received[HEADER.size : end])
                    del self.received[:end]
                    return kind, business, message_id, body
            self.received += await self.link.receive()

    async def login(self, user):
        await self.send(HELLO, pb.Hello(versions=[1], user=user, device="python", outbox=secrets.randbits(64)))
        kind, _, _, body = await self.frame()
        if kind == REFUSED:
            raise ConnectionError(f"refused: {pb.Refused.FromString(body)}")
        if kind != WELCOME:
            raise ConnectionError(f"frame kind {kind} in place of Welcome")
        return pb.Welcome.FromString(body)

    async def conversation(self, business, payloads):
        """Sends every payload, then listens until each has its reply and one push has come."""
        for message_id, payload in enumerate(payloads, start=1):
            await self.send(REQUEST, pb.Request(timeout_ms=5000, payload=payload.encode()), business, message_id)
        replies, push = {}, None
        while len(replies) < len(payloads) or push is None:
            kind, of, frame_id, body = await self.frame()
            if kind == REPLY:
                reply = pb.Reply.FromString(body)
                outcome = pb.Outcome.Name(reply.outcome)
                replies[frame_id] = {"outcome": outcome, "reason": reply.reason, "payload": reply.payload.decode()}
            elif kind == PUSH:
                push = {"id": frame_id, "business": of, "payload": pb.Push.FromString(body).payload.decode()}
                await self.send(PUSH_ACK, pb.PushAck(push_id=frame_id))
            elif kind == PING:
                await self.send(PONG, pb.Pong())
            elif kind != PONG:
                raise ConnectionError(f"unexpected frame kind {kind}")
        return replies, push

    async def heartbeat(self):
        """A ping is answered: the gateway has read everything that was sent before."""
        await self.send(PING, pb.Ping())
        while (await self.frame())[0] != PONG:
            pass


async def main(transport, address, user, business, *payloads):
    host, port = address.rsplit(":", 1)
    link = await LINKS[transport].open(host, int(port))
    client = Client(link)
    welcome = await client.login(user)
    codes = {row.name: row.code for row in welcome.businesses}
    replies, push = await client.conversation(codes[business], payloads)
    await client.heartbeat()
    await link.close()
    result = {"gateway": welcome.gateway, "businesses": codes, "replies": replies, "push": push}
    print(json.dumps(result))


async def bounded():
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await main(*sys.argv[1:])


if __name__ == "__main__":
    asyncio.run(bounded())
