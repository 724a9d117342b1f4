// Find a node by what it can do, and run a job on it: node client.mjs CARRIER BOOTSTRAP CLASS MODULE < stdin
//
// CARRIER is tcp or quic; `--at-bootstrap` for CLASS asks the bootstrap node itself. Printed is one JSON object; why it failed, on standard error, with exit status 1.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

// Node 20 lacks what libp2p's 2.x line takes from newer ones.
Promise.withResolvers ??= () => {
  let settle;
  const promise = new Promise((resolve, reject) => (settle = { resolve, reject }));
  return { promise, ...settle };
};

const { createLibp2p } = await import("libp2p");
const { noise } = await import("@chainsafe/libp2p-noise");
const { quic } = await import("@chainsafe/libp2p-quic");
const { yamux } = await import("@chainsafe/libp2p-yamux");
const { identify } = await import("@libp2p/identify");
const { kadDHT, passthroughMapper } = await import("@libp2p/kad-dht");
const { ping } = await import("@libp2p/ping");
const { tcp } = await import("@libp2p/tcp");
const { peerIdFromString } = await import("@libp2p/peer-id");
const { multiaddr } = await import("@multiformats/multiaddr");
const { CID } = await import("multiformats/cid");
const { create: multihashOf } = await import("multiformats/hashes/digest");
const { PROTOCOL, ask, jobOf, run, tokenFor } = await import("./job.mjs");
const { open } = await import("./envelope.mjs");

const DEADLINE_MS = 60_000;
const SHARDS = 16;
const [RAW, SHA2_256] = [0x55, 0x12];

// docs/network.md, "Discovery".
function shardKey(capability, shard) {
  const digest = createHash("sha256").update(`phase/cap/v1/${capability}/${shard}`).digest();
  return CID.createV1(RAW, multihashOf(SHA2_256, digest));
}

function shuffled(count) {
  const numbers = [...Array(count).keys()];
  return numbers.map((number) => [Math.random(), number]).sort().map(([, number]) => number);
}

async function all(source) {
  const chunks = [];
  for await (const chunk of source) chunks.push(chunk.subarray());
  return Buffer.concat(chunks);
}

// Nodes are listed in some shards only, and list themselves in their own time.
async function find(dht, capability, signal) {
  for (;;) {
    for (const shard of shuffled(SHARDS)) {
      for await (const event of dht.findProviders(shardKey(capability, shard), { signal })) {
        if (event.name === "PROVIDER" && event.providers.length > 0) return event.providers[0];
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
    signal.throwIfAborted();
  }
}

// docs/network.md, "Capabilities": u32 big-endian, and as many bytes of JSON.
async function capabilitiesOf(node, addresses, peer, multihash) {
  const stream = await node.dialProtocol(addresses, "/phase/capabilities/1.0.0");
  const told = await all(stream.source);
  await stream.close();
  if (told.readUInt32BE(0) !== told.length - 4) throw new Error("the capability record is not as long as it says");
  const record = open(told.subarray(4).toString("utf8"), "application/vnd.phase.capabilities+json", multihash);
  const [issued, expires] = [Date.parse(record.issued_at), Date.parse(record.expires_at)];
  if (record.peer !== peer.toString()) throw new Error("the capability record is another peer's");
  if (!(issued - 300_000 <= Date.now() && Date.now() <= expires + 300_000)) throw new Error("the capability record is not of this time");
  return record;
}

async function main(carrier, bootstrap, capability, modulePath) {
  const signal = AbortSignal.timeout(DEADLINE_MS);
  const node = await createLibp2p({
    transports: [{ tcp, quic }[carrier]()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionGater: { denyDialMultiaddr: () => false }, // the nodes are on the loopback interface
    services: {
      identify: identify(),
      ping: ping(),
      dht: kadDHT({ protocol: "/phase/kad/1.0.0", clientMode: true, peerInfoMapper: passthroughMapper, initialQuerySelfInterval: 100 }),
    },
  });
  try {
    await node.dial(multiaddr(bootstrap), { signal });
    const known = { id: peerIdFromString(bootstrap.split("/p2p/")[1]), multiaddrs: [multiaddr(bootstrap.split("/p2p/")[0])] };
    const found = capability === "--at-bootstrap" ? known : await find(node.services.dht, capability, signal);
    const peer = found.id;
    const multihash = Buffer.from(peer.toMultihash().bytes);
    const addresses = found.multiaddrs.map((address) => address.encapsulate(`/p2p/${peer}`));
    const record = await capabilitiesOf(node, addresses, peer, multihash);
    const [module, stdin] = [readFileSync(modulePath), await all(process.stdin)];
    const dial = () => node.dialProtocol(addresses, PROTOCOL, { signal });
    const first = await run(await dial(), jobOf(module, stdin), peer, multihash);
    const again = jobOf(module, stdin);
    const second = await run(await dial(), again, peer, multihash, { prove: true });
    const released = await ask(await dial(), { type: "release", job_id: again.id, token: tokenFor(again, multihash) }, peer);
    const connection = node.getConnections(peer)[0];
    return {
      peer: peer.toString(),
      carrier: connection.remoteAddr.toString(),
      engines: record.engines.map(({ name }) => name),
      states: first.states,
      outcome: first.receipt.predicate.result.outcome,
      stdout_hex: first.stdout.toString("hex"),
      module_was_known: [first.known, second.known],
      same_output: first.stdout.equals(second.stdout),
      released: released.status.state,
    };
  } finally {
    await node.stop();
  }
}

try {
  const told = JSON.stringify(await main(...process.argv.slice(2)));
  process.stdout.write(`${told}\n`, () => process.exit(0));
} catch (error) {
  console.error(error);
  process.exit(1);
}
