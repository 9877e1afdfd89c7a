// The kit's cases against machine.js; the page conformance.html posts what comes of it.

import { Machine } from "./machine.js";
import { runCase } from "./kit.js";

/** A machine as the cases describe a client, with its events as the cases name them. */
export function create({ user, device, outbox, gateways, login_ms: loginMs, keep_for_ms: keepForMs }, now, random) {
  const machine = new Machine({ user, device, outbox: BigInt(outbox), gateways, loginMs, keepForMs }, now, random);
  const poll = machine.poll.bind(machine);
  machine.poll = () => {
    const output = poll();
    if (output?.mayHaveRun === undefined) return output;
    const { mayHaveRun: may_have_run, ...rest } = output;
    return { ...rest, may_have_run };
  };
  return machine;
}

/** A client that dials once and never says a word: it must not pass anything. */
export function mute(settings, now, random) {
  const client = create(settings, now, random);
  const poll = client.poll;
  const next = () => {
    const output = poll();
    return output?.send || output?.dial > 1 ? next() : output;
  };
  client.poll = next;
  return client;
}

/** { name: "passed" or the failure } for each case; `read` takes a path within the kit's folder and returns its JSON. */
export async function runAll(read, make) {
  const results = {};
  for (const name of await read("index.json")) {
    results[name] = runCase(await read(`cases/${name}.json`), make) ?? "passed";
  }
  return results;
}
