#!/usr/bin/env python3
"""A small controller: two machines' network on one node, kept as it should be.

    python3 -m venv env && env/bin/pip install -r requirements.txt
    env/bin/python controller.py --socket /run/vrouter/ctl.sock

It says hello, makes the node have exactly the network below, and watches. When
somebody changes what belongs to it, it puts things right. When the daemon
restarts, or the connection breaks, it goes on where it was.
"""

import argparse
import importlib
import pathlib
import sys
import tempfile
import time

import grpc
from grpc_tools import protoc

OWNER = "example-python"
PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"


def stubs():
    """Generates the client from the protocol; a real project does so when it is built."""
    made = tempfile.mkdtemp(prefix="vrouter-stubs-")
    files = [str(path.relative_to(PROTO)) for path in PROTO.glob("vrouter/v1/*.proto")]
    include = pathlib.Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{PROTO}", f"-I{include}", f"--python_out={made}", f"--grpc_python_out={made}"]
    if protoc.main(arguments + files) != 0:
        sys.exit("the protocol cannot be compiled")
    sys.path.insert(0, made)
    return {
        name: importlib.import_module(f"vrouter.v1.{name}")
        for name in ("hello_pb2", "objects_pb2", "vrouter_pb2", "vrouter_pb2_grpc", "watch_pb2")
    }


pb = stubs()
hello, objects, vrouter, watch = (
    pb[name] for name in ("hello_pb2", "objects_pb2", "vrouter_pb2", "watch_pb2")
)


def network(vifs):
    """Everything this controller wants: a tenant with its machines here and on another node."""
    yield objects.Object(vrf=objects.Vrf(name="demo", gateways=["10.7.0.1/24"]))
    for number, device in enumerate(vifs, start=1):
        yield objects.Object(
            vif=objects.Vif(
                name=f"demo-{number}",
                role=objects.ROLE_TENANT,
                device=device,
                vrf="demo",
                mac=f"02:00:00:00:07:{number:02x}",
                addresses=[f"10.7.0.{10 + number}"],
            )
        )
    tunnel = objects.Tunnel(encap=objects.ENCAP_VXLAN, remote="192.0.2.2", vni=7007)
    yield objects.Object(nexthop=objects.Nexthop(name="demo-node2", tunnel=tunnel))
    for host in range(100, 110):
        route = objects.Route(vrf="demo", prefix=f"10.7.0.{host}/32", nexthop="demo-node2")
        yield objects.Object(route=route)
    yield objects.Object(vni=objects.Vni(vni=7007, vrf="demo"))


def show_key(key):
    kind = key.WhichOneof("key")
    value = getattr(key, kind)
    if kind == "route":
        return f"route {value.vrf} {value.prefix}"
    if kind == "mac":
        return f"mac {value.vrf} {value.mac}"
    return f"{kind} {value}"


class Controller:
    def __init__(self, channel, vifs):
        self.node = pb["vrouter_pb2_grpc"].VrouterStub(channel)
        self.vifs = vifs
        self.generation = None  # the last one we have seen

    def resync(self):
        """Makes the node have what we want; says what that changed. Traffic never stops."""
        request = vrouter.ApplyRequest(owner=OWNER, mode=vrouter.MODE_REPLACE)
        for wanted in network(self.vifs):
            request.changes.add(upsert=wanted)
        answer = self.node.Apply(request)
        if answer.outcome == vrouter.OUTCOME_REFUSED:
            for refusal in answer.refusals:
                code = vrouter.Refusal.Code.Name(refusal.code)
                where = show_key(refusal.object) if refusal.HasField("object") else "request"
                print(f"refused: {where}: {refusal.field}: {code}: {refusal.reason}")
            sys.exit(1)
        print(
            f"generation {answer.generation}: {answer.created} created, {answer.updated} updated, "
            f"{answer.deleted} deleted, {answer.unchanged} unchanged",
            flush=True,
        )
        return answer.generation

    def watch(self):
        """Tells what happens until the stream breaks; puts right what others change."""
        if self.generation is None:
            self.generation = self.resync()
        for event in self.node.Watch(watch.WatchRequest(from_generation=self.generation)):
            kind = event.WhichOneof("event")
            if kind == "commit":
                changed = ", ".join(
                    f"{show_key(it.key)} {watch.ChangeKind.Name(it.change).split('_')[-1].lower()}"
                    for it in event.commit.objects[:3]
                )
                print(f"commit {event.generation} by {event.commit.owner}: {changed}", flush=True)
                if event.commit.owner == OWNER and event.commit.caller != self.me:
                    self.resync()
            elif kind == "link":
                state = "up" if event.link.up else "down"
                print(f"link {event.link.vif} is {state}", flush=True)
            elif kind == "synced":
                print("synced", flush=True)
            else:
                print(f"{kind}: {getattr(event, kind)}".replace("\n", " "), flush=True)
            self.generation = event.generation
            yield

    def run(self, events):
        """Watches for ever, or for so many events."""
        while True:
            try:
                answer = self.node.Hello(hello.HelloRequest(client="example-python 1"))
                self.me = answer.caller
                print(f"vrouter {answer.version} at generation {answer.generation}", flush=True)
                for _ in self.watch():
                    events -= 1
                    if events == 0:
                        return
            except grpc.RpcError as error:
                print(f"{error.code().name}: {error.details()}", flush=True)
                if error.code() == grpc.StatusCode.OUT_OF_RANGE:
                    self.generation = None  # begin anew
                elif error.code() == grpc.StatusCode.PERMISSION_DENIED:
                    sys.exit(1)
                time.sleep(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--socket", default="/run/vrouter/ctl.sock")
    parser.add_argument("--vif", action="append", default=[], help="a device for a machine")
    parser.add_argument("--events", type=int, default=-1, help="stop after so many")
    parser.add_argument("--withdraw", action="store_true", help="delete what is ours, and stop")
    args = parser.parse_args()
    # The socket has no host name, and HTTP/2 wants one.
    options = [("grpc.default_authority", "localhost")]
    with grpc.insecure_channel(f"unix:{args.socket}", options) as channel:
        controller = Controller(channel, args.vif)
        if args.withdraw:
            nothing = vrouter.ApplyRequest(owner=OWNER, mode=vrouter.MODE_REPLACE)
            print(f"{controller.node.Apply(nothing).deleted} deleted")
        else:
            controller.run(args.events)


if __name__ == "__main__":
    main()
