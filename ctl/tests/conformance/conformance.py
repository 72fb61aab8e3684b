#!/usr/bin/env python3
"""Drives every call of the protocol, and every error there is, against a running daemon.

    conformance.py --socket ctl.sock --read-only view.sock --proto ctl/proto \\
        --device memory:conf --small-message 1048576

It is one page of what the protocol promises, read by a client that was made in
another language than the daemon. It fails when the daemon has a call, or a code
of refusal, that nothing here has driven.

The daemon must have no objects, take messages of at most --small-message bytes,
and have a device of the name --device and none of the name DEVICE-none.
"""

import argparse
import importlib
import pathlib
import sys
import tempfile
import threading

import grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_tools import protoc

SERVICE = "vrouter.v1.Vrouter"
TIMEOUT = 20

driven = set()  # calls that were made and answered
codes = set()  # codes of refusals that were met
# What takes a disk that fails is met in ctl/tests/disk.rs.
ELSEWHERE = {"CODE_NOT_DURABLE"}
statuses = set()  # statuses that calls have ended with


def compile_protocol(proto):
    made = tempfile.mkdtemp(prefix="vrouter-stubs-")
    files = [str(path.relative_to(proto)) for path in proto.glob("vrouter/v1/*.proto")]
    include = pathlib.Path(protoc.__file__).parent / "_proto"
    arguments = ["", f"-I{proto}", f"-I{include}", f"--python_out={made}", f"--grpc_python_out={made}"]
    assert protoc.main(arguments + files) == 0
    sys.path.insert(0, made)
    names = [f"vrouter.v1.{pathlib.Path(file).stem}_pb2" for file in files]
    modules = [importlib.import_module(name) for name in names]
    stubs = importlib.import_module("vrouter.v1.vrouter_pb2_grpc")

    class Messages:
        """All messages and enum values of the package, whichever file they are in."""

        def __getattr__(self, name):
            for module in modules:
                if hasattr(module, name):
                    return getattr(module, name)
            raise AttributeError(name)

    return Messages(), stubs


class Node:
    """The daemon, seen through one of its sockets; notes what was driven."""

    def __init__(self, socket, stubs):
        options = [("grpc.default_authority", "localhost")]
        self.channel = grpc.insecure_channel(f"unix:{socket}", options)
        self.stub = stubs.VrouterStub(self.channel)

    def __getattr__(self, call):
        method = getattr(self.stub, call)

        def ask(request):
            try:
                answer = method(request, timeout=TIMEOUT)
                if not hasattr(answer, "initial_metadata"):
                    driven.add(call)
                    return answer
                messages = list(answer)
            except grpc.RpcError as error:
                statuses.add(error.code().name)
                raise
            driven.add(call)
            return messages

        return ask

    def refused(self, call, request, status, *words):
        """Asks for something that must end with this status, and words in its message."""
        try:
            getattr(self, call)(request)
        except grpc.RpcError as error:
            said = f"{error.code().name}: {error.details()}"
            assert error.code().name == status, f"{call}: wanted {status}, got {said}"
            for word in words:
                assert word in error.details(), f"{call}: `{word}` is not in: {said}"
            return
        raise AssertionError(f"{call}: wanted {status}, and it was answered")


class Conformance:
    def __init__(self, args, p, stubs):
        self.args, self.p = args, p
        self.node = Node(args.socket, stubs)
        self.viewer = Node(args.read_only, stubs)

    # -- helpers ---------------------------------------------------------------------------

    def vrf(self, name, **fields):
        return self.p.Object(vrf=self.p.Vrf(name=name, **fields))

    def vif(self, name, device, vrf="conf", **fields):
        vif = self.p.Vif(name=name, role=self.p.ROLE_TENANT, device=device, vrf=vrf, **fields)
        return self.p.Object(vif=vif)

    def discard(self, name):
        return self.p.Object(nexthop=self.p.Nexthop(name=name, discard=self.p.Nexthop.Discard()))

    def route(self, vrf, prefix, nexthop):
        return self.p.Object(route=self.p.Route(vrf=vrf, prefix=prefix, nexthop=nexthop))

    def apply(self, *upserts, delete=(), owner="conformance", **fields):
        request = self.p.ApplyRequest(owner=owner, **fields)
        for upsert in upserts:
            request.changes.add(upsert=upsert)
        for key in delete:
            request.changes.add(delete=key)
        answer = self.node.Apply(request)
        for refusal in answer.refusals:
            codes.add(self.p.Refusal.Code.Name(refusal.code))
            assert refusal.reason, "a refusal says why"
        refused = answer.outcome == self.p.OUTCOME_REFUSED
        assert refused == bool(answer.refusals), answer
        return answer

    def committed(self, *upserts, **fields):
        answer = self.apply(*upserts, **fields)
        assert answer.outcome == self.p.OUTCOME_COMMITTED, answer
        return answer

    def refusal(self, code, field, *upserts, **fields):
        """A request that is refused for one reason; nothing is changed by it."""
        before = self.generation()
        answer = self.apply(*upserts, **fields)
        found = [(self.p.Refusal.Code.Name(it.code), it.field) for it in answer.refusals]
        assert (code, field) in found, f"wanted {code} of `{field}`, got {answer}"
        assert answer.generation == before == self.generation()
        return answer.refusals[found.index((code, field))]

    def generation(self):
        return self.node.Hello(self.p.HelloRequest()).generation

    # -- one check a call, or a promise ----------------------------------------------------

    def check_hello(self):
        hello = self.node.Hello(self.p.HelloRequest(client="conformance 1"))
        assert hello.version and hello.protocols == ["vrouter.v1"]
        assert hello.access == self.p.ACCESS_READ_WRITE
        assert hello.limits.message_bytes == self.args.small_message
        assert hello.instance and "pid" in hello.caller
        assert set(hello.kinds) == {it.name for it in self.p.Object.DESCRIPTOR.fields}
        view = self.viewer.Hello(self.p.HelloRequest())
        assert view.access == self.p.ACCESS_READ_ONLY and view.instance == hello.instance
        return hello

    def check_apply(self):
        network = [
            self.vrf("conf", gateways=["10.6.0.1/24"]),
            self.vif("conf-1", self.args.device, mac="02:00:00:00:06:01", addresses=["10.6.0.5"]),
            self.discard("nowhere"),
            self.route("conf", "10.66.0.0/16", "nowhere"),
            self.p.Object(vni=self.p.Vni(vni=6006, vrf="conf")),
        ]
        dry = self.apply(*network, dry_run=True)
        assert dry.outcome == self.p.OUTCOME_CHECKED and len(dry.plan.create) == 5
        first = self.committed(*network)
        assert (first.generation, first.created) == (dry.generation, 5)
        again = self.apply(*network)
        assert again.outcome == self.p.OUTCOME_UNCHANGED and again.unchanged == 5
        assert again.generation == first.generation
        current = self.committed(self.vrf("second"), if_generation=again.generation)
        gone = self.committed(delete=[self.p.Key(vrf="second")])
        assert gone.deleted == 1 and gone.generation == current.generation + 1

    def check_owners(self):
        """One owner's replace does not touch another's objects."""
        self.committed(self.vrf("theirs"), owner="other")
        self.committed(self.vrf("mine"), owner="third")
        swept = self.committed(owner="third", mode=self.p.MODE_REPLACE)
        assert swept.deleted == 1
        listed = self.listed(owner="other")
        assert [it.object.vrf.name for it in listed] == ["theirs"]
        refusal = self.refusal("CODE_OTHER_OWNER", "", self.vrf("theirs"), owner="third")
        assert refusal.conflict.vrf == "theirs" and "`other`" in refusal.reason
        self.committed(owner="other", mode=self.p.MODE_REPLACE)

    def check_refusals(self):
        """Every code there is, at the object, field and change that it is about."""
        p = self.p
        refusal = self.refusal("CODE_INVALID", "mac", self.vrf("bad", mac="02:00"))
        assert refusal.change == 0 and refusal.object.vrf == "bad"
        self.refusal("CODE_INVALID", "owner", owner="no spaces")
        self.refusal("CODE_INVALID", "mode", mode=77)
        self.refusal("CODE_MISSING", "name", self.vrf(""))
        self.refusal("CODE_MISSING", "", p.Object())
        self.refusal("CODE_STALE_GENERATION", "if_generation", if_generation=1 << 40)
        self.refusal("CODE_UNRESOLVED", "nexthop", self.route("conf", "10.67.0.0/16", "absent"))
        refusal = self.refusal("CODE_IN_USE", "", delete=[p.Key(nexthop="nowhere")])
        assert refusal.conflict.route.prefix == "10.66.0.0/16"
        self.refusal("CODE_NOT_FOUND", "", delete=[p.Key(vrf="absent")])
        self.refusal("CODE_DUPLICATE", "", self.vrf("twice"), self.vrf("twice"))
        taken = self.vif("conf-2", self.args.device, mac="02:00:00:00:06:02")
        refusal = self.refusal("CODE_TAKEN", "device", taken)
        assert refusal.conflict.vif == "conf-1"
        self.refusal("CODE_CONFLICT", "vrf", self.vif("bad", "memory:x", vrf="underlay", mac="02:00:00:00:06:03"))
        broken = self.vif("bad", f"{self.args.device}-none", mac="02:00:00:00:06:03")
        self.refusal("CODE_DEVICE", "device", broken)
        limit = self.node.Hello(p.HelloRequest()).limits.changes_per_apply
        many = [self.vrf(f"v{number}") for number in range(limit + 1)]
        refusal = self.refusal("CODE_LIMIT", "changes", *many)
        assert "limits.changes_per_apply" in refusal.reason
        # Everything that is wrong is said at once.
        answer = self.apply(self.vrf("bad", mac="x"), self.route("conf", "10.1.0.0/16", "absent"))
        assert len(answer.refusals) == 2, answer

    def check_get(self):
        p = self.p
        got = self.node.Get(p.GetRequest(key=p.Key(vif="conf-1")))
        assert got.object.owner == "conformance" and got.object.object.vif.mac == "02:00:00:00:06:01"
        assert got.generation == self.generation()
        self.node.refused("Get", p.GetRequest(key=p.Key(vif="absent")), "NOT_FOUND", "absent")
        self.node.refused("Get", p.GetRequest(), "INVALID_ARGUMENT")
        self.node.refused("Get", p.GetRequest(key=p.Key(vni=1 << 24)), "INVALID_ARGUMENT", "16777215")

    def listed(self, **fields):
        answers = self.node.List(self.p.ListRequest(**fields))
        assert answers and len({it.generation for it in answers}) == 1
        return [stored for answer in answers for stored in answer.objects]

    def check_list(self):
        assert len(self.listed()) == 5
        assert len(self.listed(kinds=[self.p.KIND_VIF, self.p.KIND_VRF])) == 2
        assert self.listed(owner="nobody") == []
        bad = self.p.ListRequest(kinds=[self.p.KIND_UNSPECIFIED])
        self.node.refused("List", bad, "INVALID_ARGUMENT", "kinds")

    def check_watch(self):
        p = self.p
        # A link is noticed within half a second of its vif.
        stream = self.node.stub.Watch(p.WatchRequest(kinds=[p.EVENT_KIND_LINK]))
        assert next(event for event in stream if event.HasField("link")).link.vif == "conf-1"
        stream.cancel()
        hello = self.node.Hello(p.HelloRequest())
        stream = self.node.stub.Watch(p.WatchRequest(from_generation=hello.watch_from_generation))
        told, initial = [], []
        for event in stream:
            if event.HasField("synced"):
                break
            (initial if event.initial else told).append(event)
        generations = [event.generation for event in told if event.HasField("commit")]
        assert generations == list(range(hello.watch_from_generation + 1, hello.generation + 1))
        assert told[0].commit.owner == "conformance" and "pid" in told[0].commit.caller
        links = {event.link.vif: event.link.up for event in initial if event.HasField("link")}
        assert links == {"conf-1": True}, links
        made = self.committed(self.vrf("watched"))
        news = next(stream)
        assert news.generation == made.generation and news.time_ms
        assert news.commit.objects[0].key.vrf == "watched"
        assert news.commit.objects[0].change == p.CHANGE_KIND_CREATED
        self.committed(delete=[p.Key(vrf="watched")])
        assert next(stream).commit.objects[0].change == p.CHANGE_KIND_DELETED
        stream.cancel()
        driven.add("Watch")
        future = p.WatchRequest(from_generation=1 << 40)
        self.node.refused("Watch", future, "OUT_OF_RANGE", "List")
        self.node.refused("Watch", p.WatchRequest(kinds=[99]), "INVALID_ARGUMENT", "kinds")

    def check_flows(self):
        assert self.node.Flows(self.p.FlowsRequest()) == []
        bad = self.p.FlowsRequest(vrf="absent")
        self.node.refused("Flows", bad, "INVALID_ARGUMENT", "absent")

    def check_clear_flows(self):
        p = self.p
        assert self.node.ClearFlows(p.FlowsRequest(vrf="conf")).cleared == 0
        self.node.refused("ClearFlows", p.FlowsRequest(), "INVALID_ARGUMENT")
        self.viewer.refused("ClearFlows", p.FlowsRequest(vrf="conf"), "PERMISSION_DENIED", "ClearFlows")

    def check_explain(self):
        p = self.p
        tuple_ = p.TuplePacket(vif="conf-1", src_addr="10.6.0.5", dst_addr="10.66.0.1", protocol="udp")
        told = self.node.Explain(p.ExplainRequest(tuple=tuple_))
        assert told.generation == self.generation() and len(told.packets) == 1
        self.node.refused("Explain", p.ExplainRequest(), "INVALID_ARGUMENT")
        old = p.ExplainRequest(tuple=tuple_, generation=1 << 40)
        self.node.refused("Explain", old, "NOT_FOUND")
        absent = p.TuplePacket(vif="absent", dst_addr="10.66.0.1")
        self.node.refused("Explain", p.ExplainRequest(tuple=absent), "INVALID_ARGUMENT", "absent")

    def check_capture(self):
        p = self.p
        stream = self.node.stub.Capture(p.CaptureRequest(vifs=["conf-1"]))
        first = next(stream)
        assert not first.packets, "the first answer has none"
        stream.cancel()
        driven.add("Capture")
        for bad, word in [
            (p.CaptureRequest(vifs=["absent"]), "absent"),
            (p.CaptureRequest(max_rate=0), "max_rate"),
            (p.CaptureRequest(snap_len=13), "snap_len"),
            (p.CaptureRequest(filter=[p.BpfInstruction(code=256)]), "filter"),
        ]:
            self.node.refused("Capture", bad, "INVALID_ARGUMENT", word)
        self.viewer.refused("Capture", p.CaptureRequest(), "PERMISSION_DENIED", "Capture")

    def check_dropped_packets(self):
        p = self.p
        assert self.node.DroppedPackets(p.DroppedPacketsRequest()) == []
        assert self.viewer.DroppedPackets(p.DroppedPacketsRequest(vifs=["conf-1"])) == []
        # Packets outlive their vif, so any name may be asked for.
        assert self.node.DroppedPackets(p.DroppedPacketsRequest(vifs=["absent"])) == []
        for reason in [p.DROP_REASON_UNSPECIFIED, 9999]:
            bad = p.DroppedPacketsRequest(reasons=[reason])
            self.node.refused("DroppedPackets", bad, "INVALID_ARGUMENT", "reasons")

    def check_learned_macs(self):
        assert self.node.LearnedMacs(self.p.LearnedMacsRequest()) == []
        bad = self.p.LearnedMacsRequest(vrf="absent")
        self.node.refused("LearnedMacs", bad, "INVALID_ARGUMENT", "absent")

    def check_stats(self):
        stats = self.node.Stats(self.p.StatsRequest(rules=True))
        assert stats.generation == self.generation() and stats.workers
        vif = next(it for it in stats.vifs if it.name == "conf-1")
        drops = sum(drop.packets for drop in vif.drops)
        assert vif.rx_packets + vif.originated == vif.tx_packets + vif.consumed + drops

    def check_read_only(self):
        request = self.p.ApplyRequest(owner="viewer")
        self.viewer.refused("Apply", request, "PERMISSION_DENIED", "may only read", "Apply")
        assert self.viewer.List(self.p.ListRequest())

    def check_limits(self):
        long = self.p.ApplyRequest(owner="x" * (self.args.small_message + 1))
        self.node.refused("Apply", long, "RESOURCE_EXHAUSTED", "limits.message_bytes")
        calls = self.node.Hello(self.p.HelloRequest()).limits.calls
        held = [self.node.stub.Watch(self.p.WatchRequest()) for _ in range(calls)]
        for stream in held:
            next(stream)
        self.node.refused("Hello", self.p.HelloRequest(), "RESOURCE_EXHAUSTED", "limits.calls")
        for stream in held:
            stream.cancel()

    def check_unknown_call(self):
        unknown = self.node.channel.unary_unary(
            f"/{SERVICE}/NoSuchCall",
            request_serializer=lambda it: it,
            response_deserializer=lambda it: it,
        )
        try:
            unknown(b"", timeout=TIMEOUT)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
            statuses.add(error.code().name)
        else:
            raise AssertionError("a call that does not exist was answered")

    def check_stop(self):
        """Whoever is called when the daemon stops hears UNAVAILABLE."""
        stream = self.node.stub.Watch(self.p.WatchRequest())
        next(stream)
        print("STOP ME", flush=True)
        try:
            for _ in stream:
                pass
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE, error
            statuses.add(error.code().name)

    # -- that nothing is left out ----------------------------------------------------------

    def reflected(self):
        database = ProtoReflectionDescriptorDatabase(self.node.channel)
        assert SERVICE in database.get_services()
        from google.protobuf.descriptor_pool import DescriptorPool

        service = DescriptorPool(database).FindServiceByName(SERVICE)
        return {method.name for method in service.methods}

    def run(self):
        calls = self.reflected()
        assert set(self.check_hello().calls) == calls
        order = [
            "hello", "apply", "owners", "refusals", "get", "list", "watch", "flows",
            "learned_macs", "stats", "read_only", "unknown_call", "limits",
        ]  # fmt: skip
        checks = [name for name in dir(self) if name.startswith("check_")]
        # What others have added goes before what disturbs the rest.
        last = ["limits", "stop"]
        order = [name for name in order if name not in last]
        order += [name[6:] for name in checks if name[6:] not in order + last]
        order.append("limits")
        if self.args.stop:
            order.append("stop")
        for name in order:
            getattr(self, f"check_{name}")()
            print(f"ok {name}", flush=True)
        every = {it.name for it in self.p.Refusal.Code.DESCRIPTOR.values if it.number}
        wanted = {
            "NOT_FOUND", "INVALID_ARGUMENT", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
            "OUT_OF_RANGE", "UNIMPLEMENTED",
        } | ({"UNAVAILABLE"} if self.args.stop else set())  # fmt: skip
        for what, missing in [
            ("calls", calls - driven),
            ("codes of refusals", every - codes - ELSEWHERE),
            ("statuses", wanted - statuses),
        ]:
            assert not missing, f"{what} that nothing here has driven: {sorted(missing)}"
        print(f"{len(calls)} calls, {len(every)} codes, {len(wanted)} statuses", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--socket", required=True)
    parser.add_argument("--read-only", required=True)
    parser.add_argument("--proto", type=pathlib.Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--small-message", type=int, required=True)
    parser.add_argument("--stop", action="store_true", help="wait to be stopped at the end")
    args = parser.parse_args()
    p, stubs = compile_protocol(args.proto)
    # A stuck daemon must not stick the tests.
    watchdog = threading.Timer(240, lambda: sys.exit("no end after four minutes"))
    watchdog.daemon = True
    watchdog.start()
    Conformance(args, p, stubs).run()


if __name__ == "__main__":
    main()
