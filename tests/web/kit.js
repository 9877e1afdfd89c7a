// Runs the cases of the conformance kit (docs/conformance.md) against a client, in virtual time: every byte, event,
// dial and close of the client must be what the next steps say, at the time that they say.
//
// A client here is what machine.js is: `create(config, now, random)` makes one.

import { NO_REPLY_WANTED, RESENT, decodeFrames } from "./frames.js";

/** Delays are random, so every case is run with several seeds. */
const SEEDS = 32;

/** What an app must be able to rely on; what else a client tells is its own affair. */
const EVENTS = ["connected", "pushed", "settled", "ended"];

/** More timers than any case needs: beyond it a timer stands still. */
const MOST_TIMERS = 100_000;

/** For sums of fractions, in milliseconds. */
const ROUNDING = 1e-6;

/** Runs one case with all seeds; returns undefined, or { step, message, seed } for the first that fails. */
export function runCase(testCase, create) {
  const delays = new Map();
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const failure = new Run(testCase, seed, create, delays).all();
    if (failure) return failure;
  }
  for (const [step, seen] of delays) {
    const message = spreadFault(testCase.steps[step].over_seeds, seen);
    if (message) return { step: step + 1, message, seed: 0 };
  }
  return undefined;
}

function spreadFault({ some_below_ms: below, some_above_ms: above }, seen) {
  const [least, most] = [Math.min(...seen), Math.max(...seen)];
  if (least < below && most > above) return undefined;
  return `of ${seen.length} seeds, expected some below ${below} ms and some above ${above} ms, got ${least} to ${most} ms`;
}

class Run {
  #steps;
  #client;
  #seed;
  #delays;
  #now = 0;
  /** When the last step took place, and those that have a name. */
  #last = 0;
  #named = new Map();
  #timers = 0;
  #links = 0;
  /** The addresses, in order. */
  #dialled = [];
  /** Links to whose end the gateway has had the last word: whether the client closes its side is its own affair. */
  #over = new Set();
  /** What the client did and no step has claimed yet: { what, link, at, value }. */
  #pending = [];

  constructor({ client, steps }, seed, create, delays) {
    this.#steps = steps;
    this.#seed = seed;
    this.#delays = delays;
    this.#client = create(client, 0, generator(seed));
    this.#collect();
  }

  all() {
    for (const [index, step] of this.#steps.entries()) {
      try {
        this.#step(step, index);
      } catch (error) {
        const message = error instanceof Fault ? error.message : String(error.stack);
        return { step: index + 1, message: `${JSON.stringify(step)}: ${message}`, seed: this.#seed };
      }
    }
    const [left] = this.#pending;
    return left && { step: this.#steps.length, message: `expected no more, got ${show(left)}`, seed: this.#seed };
  }

  #step(step, index) {
    const since = step.since === undefined ? this.#last : this.#named.get(step.since);
    const expect = (what, expected, { link, fits = (got) => matches(expected, got) } = {}) =>
      this.#expect({ what, link, expected, fits, since, step, index });
    const link = step.on ?? this.#links;
    if ("client_dials" in step) {
      expect("dial", step.client_dials, { fits: (got) => this.#isAddress(step.client_dials, got) });
    } else if ("client_closes" in step) expect("close", {}, { link: step.client_closes });
    else if ("client_sends" in step) each(step.client_sends).forEach((frame) => expect("frame", frame, { link }));
    else if ("app_sees" in step) each(step.app_sees).forEach((event) => expect("event", event));
    else this.#input(step, link);
    if (step.as) this.#named.set(step.as, this.#last);
  }

  #isAddress(expected, address) {
    const { unlike_last: last } = expected;
    const fits = last ? !this.#dialled.slice(-last).includes(address) : matches(expected, address);
    this.#dialled.push(address);
    return fits;
  }

  /** Something happens to the client, which must have been silent since the last step. */
  #input(step, link) {
    this.#nothingPending();
    this.#advance(this.#now + (step.pause_ms ?? 0));
    this.#nothingPending();
    this.#last = this.#now;
    const now = this.#now;
    if (step.gateway_accepts !== undefined) this.#client.connected(step.gateway_accepts, now);
    else if (step.gateway_closes !== undefined) {
      this.#over.add(step.gateway_closes);
      this.#client.closed(step.gateway_closes, step.reason, now);
    } else if (step.gateway_sends !== undefined) {
      if (step.gateway_sends.some(({ Refused, Kick }) => Refused || Kick)) this.#over.add(link);
      this.#client.received(link, fromHex(step.hex), now);
    } else if (step.app_submits !== undefined) this.#submit(step.app_submits);
    else if (step.app_cancels !== undefined) this.#client.cancel(step.app_cancels, now);
    else if (step.pause_ms === undefined) throw new Fault("a step that this runner does not know");
    this.#collect();
  }

  #submit({ business, payload, no_reply, timeout_ms, keep_for_ms, times = 1 }) {
    const options = { noReply: no_reply, timeoutMs: timeout_ms, keepForMs: keep_for_ms };
    for (let time = 0; time < times; time += 1) {
      this.#client.submit(business, new TextEncoder().encode(payload), options, this.#now);
    }
  }

  /** The client does something, within a time from the last step or a named one. */
  #expect({ what, link, expected, fits, since, step, index }) {
    const [from, to] = (step.within_ms ?? [0, 0]).map((millis) => since + millis);
    const wanted = `${what} ${JSON.stringify(expected)}`;
    const isWanted = (done) => done.what === what && (link === undefined || done.link === link);
    while (!this.#pending.some(isWanted)) {
      if (!this.#fireNext(to)) throw new Fault(`expected ${wanted} by ${to} ms, got ${show(this.#pending[0])}`);
    }
    const [done] = this.#pending.splice(this.#pending.findIndex(isWanted), 1);
    if (!fits(done.value)) throw new Fault(`expected ${wanted}, got ${show(done)}`);
    if (done.at < from - ROUNDING || done.at > to + ROUNDING) {
      throw new Fault(`expected ${wanted} from ${from} to ${to} ms, got it at ${done.at} ms`);
    }
    if (step.over_seeds) this.#delays.set(index, [...(this.#delays.get(index) ?? []), done.at - since]);
    this.#last = done.at;
  }

  #nothingPending() {
    if (this.#pending.length === 0) return;
    throw new Fault(`expected nothing more before it, got ${show(this.#pending[0])}`);
  }

  #advance(to) {
    while (this.#fireNext(to)) this.#nothingPending();
    this.#now = to;
  }

  /** Lets the client's next timer go off, if that is by `to`. */
  #fireNext(to) {
    const due = this.#client.nextTimeout();
    if (due > to + ROUNDING) return false;
    this.#timers += 1;
    if (this.#timers > MOST_TIMERS) throw new Fault(`a timer that stands still at ${due} ms`);
    this.#now = Math.max(this.#now, due);
    this.#client.timeout(this.#now);
    this.#collect();
    return true;
  }

  #collect() {
    const done = (what, link, value) => this.#pending.push({ what, link, at: this.#now, value });
    for (let output; (output = this.#client.poll()) !== undefined; ) {
      if (output.dial) {
        this.#links = output.dial;
        done("dial", output.dial, output.address);
      } else if (output.send) {
        for (const frame of decodeFrames(output.bytes, Infinity)) done("frame", output.send, readable(frame));
      } else if (output.close) {
        if (!this.#over.has(output.close)) done("close", output.close, {});
      } else if (EVENTS.includes(output.event)) done("event", undefined, plain(output));
    }
  }
}

class Fault extends Error {}

/** A frame of the client as the cases write it. */
function readable({ kind, flags, business, id, message }) {
  const names = [];
  if (flags & NO_REPLY_WANTED) names.push("no_reply_wanted");
  if (flags & RESENT) names.push("resent");
  return { [kind]: plain(message), id, business, flags: names };
}

/** Bytes become text and large numbers plain ones, as in the cases. */
function plain(value) {
  if (typeof value === "bigint") return Number(value);
  if (value instanceof Uint8Array) return new TextDecoder().decode(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}

/** Whether everything that is expected is there; what is not mentioned is free. */
function matches(expected, got) {
  if (typeof expected !== "object") return expected === got;
  if (expected.any_of) return expected.any_of.some((item) => matches(item, got));
  if (typeof got !== "object" || (Array.isArray(expected) && expected.length !== got.length)) return false;
  return Object.entries(expected).every(([key, value]) => matches(value, got[key]));
}

/** A frame or an event with `ids` stands for one with each of them. */
function each({ ids, ...frame }) {
  if (ids === undefined) return [frame];
  return Array.from({ length: ids[1] - ids[0] + 1 }, (_, index) => ({ ...frame, id: ids[0] + index }));
}

function fromHex(hex) {
  return Uint8Array.from(hex.match(/[0-9a-f]{2}/g) ?? [], (byte) => parseInt(byte, 16));
}

function show(done) {
  return done === undefined ? "nothing" : JSON.stringify(done);
}

/** Numbers from 0 to below 1 that follow from the seed (mulberry32). */
function generator(seed) {
  let state = seed * 0x9e3779b9;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
