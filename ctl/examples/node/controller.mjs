#!/usr/bin/env node
// A small controller: a service's backends on one node, kept as they should be.
//
//     npm install && node controller.mjs --socket /run/vrouter/ctl.sock
//
// It says hello, makes the node have exactly the objects below, and watches.
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const OWNER = "example-node";

const { values: args } = parseArgs({
  options: {
    socket: { type: "string", default: "/run/vrouter/ctl.sock" },
    proto: { type: "string", default: protoDir() },
    events: { type: "string", default: "-1" },
  },
});

// In this repository the protocol is three directories up; elsewhere, say where it is.
function protoDir() {
  const here = dirname(fileURLToPath(import.meta.url));
  const near = join(here, "../../proto");
  return existsSync(near) ? near : "proto";
}

// The client is made from the protocol as it runs; nothing is generated.
const definition = loader.loadSync("vrouter/v1/vrouter.proto", {
  includeDirs: [args.proto],
  keepCase: true, // names as in the YAML files
  longs: Number, // generations and counters stay below 2^53
  enums: String,
  oneofs: true,
});
const { Vrouter } = grpc.loadPackageDefinition(definition).vrouter.v1;
const node = new Vrouter(`unix:${args.socket}`, grpc.credentials.createInsecure(), {
  "grpc.default_authority": "localhost",
});

// A call with one answer, as a promise.
const ask = (call, request) =>
  new Promise((resolve, reject) =>
    node[call](request, (error, answer) => (error ? reject(error) : resolve(answer))),
  );

// Everything this controller wants.
const network = [
  { vrf: { name: "shop", gateways: ["10.8.0.1/24"] } },
  { nexthop: { name: "shop-node2", tunnel: { encap: "ENCAP_VXLAN", remote: "192.0.2.2", vni: 8008 } } },
  { route: { vrf: "shop", prefix: "10.8.0.64/26", nexthop: "shop-node2" } },
  { vni: { vni: 8008, vrf: "shop" } },
  {
    service: {
      name: "shop-cache",
      vrf: "shop",
      address: "10.8.200.1",
      protocol: "tcp",
      port: 6379,
      backends: [{ address: "10.8.0.70" }, { address: "10.8.0.71" }],
    },
  },
];

async function resync() {
  const changes = network.map((upsert) => ({ upsert }));
  const answer = await ask("Apply", { owner: OWNER, mode: "MODE_REPLACE", changes });
  if (answer.outcome === "OUTCOME_REFUSED") {
    for (const { field, code, reason } of answer.refusals) console.log(`refused: ${field}: ${code}: ${reason}`);
    process.exit(1);
  }
  console.log(`generation ${answer.generation}: ${answer.created} created, ${answer.unchanged} unchanged`);
  return answer.generation;
}

let left = Number(args.events);
let generation; // the last one we have seen

function watch() {
  return new Promise((resolve, reject) => {
    const events = node.Watch({ from_generation: generation });
    events.on("error", reject);
    events.on("data", (event) => {
      generation = event.generation;
      if (event.event === "commit") console.log(`commit ${generation} by ${event.commit.owner}: ${event.commit.objects.length} objects`);
      else if (event.event === "synced") console.log("synced");
      else console.log(`${event.event}: ${JSON.stringify(event[event.event])}`);
      if (--left === 0) {
        events.on("error", () => {}); // our own cancellation
        events.cancel();
        resolve();
      }
    });
  });
}

while (left !== 0) {
  try {
    const hello = await ask("Hello", { client: "example-node 1" });
    console.log(`vrouter ${hello.version} at generation ${hello.generation}`);
    generation ??= await resync();
    await watch();
  } catch (error) {
    console.log(`${grpc.status[error.code]}: ${error.details}`);
    if (error.code === grpc.status.OUT_OF_RANGE) generation = undefined; // begin anew
    else if (error.code === grpc.status.PERMISSION_DENIED) process.exit(1);
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}
node.close();
