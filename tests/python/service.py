"""A logic service that shares no code with the gateway: Python and grpcio.

    service.py

Answers each call with `python heard PAYLOAD`. A payload that starts with `push:` also pushes `python says …` to the
caller, through the gateway that the call came from. Prints the address that it listens on, then runs until its standard
input closes. `service_pb2` and `service_pb2_grpc` are generated from proto/service.proto.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import service_pb2 as pb
import service_pb2_grpc as rpc

# Each stream, one per worker of a gateway, takes a thread for as long as it lives.
MAX_STREAMS = 16
# How many calls a gateway's worker may have unanswered here.
GRANTS = 4
PUSH_TIMEOUT_SECONDS = 5
PREFIX = b"push:"


class Logic(rpc.LogicServicer):
    def Serve(self, batches, context):
        yield pb.Answers(grants=GRANTS)
        gateway = None
        for batch in batches:
            if batch.HasField("caller"):
                gateway = batch.caller
            yield pb.Answers(answers=[self.answer(call, gateway) for call in batch.calls], grants=GRANTS)

    def answer(self, call, gateway):
        payload = call.payload
        if payload.startswith(PREFIX):
            payload = payload.removeprefix(PREFIX)
            error = push(gateway.push_address, call.user, call.business_name, b"python says " + payload)
            if error:
                return pb.Answer(id=call.id, outcome=pb.ANSWER_OUTCOME_FAILED, detail=error)
        return pb.Answer(id=call.id, payload=b"python heard " + payload)


def push(address, user, business, payload):
    """Pushes to every device of the user; returns what went wrong."""
    message = pb.PushMessage(user=user, business=business, payload=payload)
    with grpc.insecure_channel(address) as channel:
        batches = iter([pb.Pushes(pushes=[message])])
        results = next(rpc.GatewayStub(channel).Push(batches, timeout=PUSH_TIMEOUT_SECONDS))
    outcome = results.results[0].outcome
    return None if outcome == pb.PUSH_OUTCOME_WRITTEN else pb.PushOutcome.Name(outcome)


def main():
    server = grpc.server(ThreadPoolExecutor(MAX_STREAMS))
    rpc.add_LogicServicer_to_server(Logic(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"127.0.0.1:{port}", flush=True)
    sys.stdin.read()
    server.stop(grace=None)


if __name__ == "__main__":
    main()
