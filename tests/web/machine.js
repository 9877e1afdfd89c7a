// A client without sockets and clocks: bytes and time go in, bytes and events come out. Every message that was
// submitted ends in exactly one `settled` event, however many connections and tries that takes.
//
//   in:   submit, connected, received, closed, timeout (at nextTimeout), each with the time in milliseconds
//   out:  poll() → { dial, address } | { send, bytes } | { close } | { event, … } | undefined
//
// Links are numbered from 1 in the order of their dials. Two live at a time where a gateway asked to move: the old one
// serves until the new one is welcome. What an older one says after that is not heard.

import { decodeFrames } from "./frames.js";
import { Link } from "./link.js";
import { Outbox, RetryBudget } from "./outbox.js";
import { Malformed } from "./protobuf.js";
import { Reconnect } from "./reconnect.js";

const VERSION = 1;
const DEFAULTS = {
  device: "", token: new Uint8Array(), heartbeatMs: 0, keepForMs: 300_000, loginMs: 10_000, maxBodyBytes: 256 * 1024,
};

/** So many keys of pushes are remembered. */
const REMEMBERED_PUSHES = 1024;

const TOO_LARGE = 2;
const REPLACED = 6;
const UNKNOWN_BUSINESS = 20;
const BEHIND = 119;

/** For so long after a login that was left without an answer, being replaced may be that login's doing. */
const ABANDONED_MS = 60_000;

/** What the range of a reason says. */
function advice(reason) {
  if (reason < 100) return "stop";
  if (reason >= 200 && reason < 300) return "reconnect";
  return reason >= 300 && reason < 400 ? "go elsewhere" : "back off";
}

export class Machine {
  #config;
  #random;
  #outputs = [];
  #outbox = new Outbox();
  #budget;
  #reconnect;
  #lastLink = 0;
  /** The link that is open, and the one that is to become it. */
  #serving;
  #next;
  #ticket = new Uint8Array();
  #keepForLimit = Infinity;
  #seenPushes = new Set();
  /** When a login was left without an answer. */
  #abandonedAt = -Infinity;
  /** When a retry becomes due that was not when something was sent last. */
  #retryAt = Infinity;

  /** `config`: user, outbox (a random BigInt), gateways (addresses), and what differs from DEFAULTS. */
  constructor(config, now, random = Math.random) {
    this.#config = { ...DEFAULTS, ...config };
    this.#random = random;
    this.#budget = new RetryBudget(now);
    this.#reconnect = new Reconnect(config.gateways, "CONNECT_REASON_NEW", now, random);
  }

  /** Takes a message into the outbox; returns its id. Throws OutboxFull. */
  submit(business, payload, { noReply = false, timeoutMs = 0, keepForMs = this.#config.keepForMs } = {}, now) {
    const message = { business, payload, noReply, timeoutMs, submitted: now };
    const id = this.#outbox.add(message, now + Math.min(keepForMs, this.#keepForLimit));
    this.#flush(now);
    return id;
  }

  /** Gives a message up; nothing happens if it was settled before. */
  cancel(id, now) {
    this.#giveUp(id);
    this.#flush(now);
  }

  connected(number, now) {
    const link = this.#link(number);
    if (!link) return;
    link.state = "greeting";
    const { user, device, token, outbox, heartbeatMs: heartbeat_ms } = this.#config;
    const { tried: gateways_tried, reason } = this.#reconnect;
    const standing = { ticket: this.#ticket, oldest_unsettled: this.#outbox.oldest(), gateways_tried, reason };
    const hello = { versions: [VERSION], user, device, token, outbox, heartbeat_ms, ...standing, reads_refusals: true };
    link.send("Hello", hello, {}, now);
  }

  received(number, bytes, now) {
    const link = this.#link(number);
    if (!link) return;
    try {
      for (const frame of decodeFrames(bytes, this.#config.maxBodyBytes)) {
        // A frame may have been the link's last.
        if (!this.#link(number)) return;
        link.received(now);
        if (frame.kind) this.#handle(link, frame, now);
      }
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      this.#close(link);
      this.#lost(link, now);
    }
    if (link === this.#serving) link.acknowledge(now);
    this.#flush(now);
  }

  /** The connection ended, or was never made. `reason` as in a `Refused`, if known: a WebSocket's close code − 4000. */
  closed(number, reason, now) {
    const link = this.#link(number);
    if (!link) return;
    if (reason === undefined) this.#lost(link, now);
    else this.#refused(link, { reason, retry_after_ms: 0, alternatives: [] }, now);
  }

  nextTimeout() {
    const times = [this.#next ? Infinity : this.#reconnect.at, this.#retryAt];
    for (const link of this.#links()) times.push(link.lostAt(), link.pingAt());
    for (const { keepUntil, deadline } of this.#outbox.entries()) times.push(keepUntil, deadline);
    return Math.min(...times);
  }

  timeout(now) {
    for (const link of this.#links()) {
      if (link.lostAt() <= now) {
        this.#close(link);
        this.#lost(link, now);
      } else if (link.pingAt() <= now) link.ping(now);
    }
    for (const entry of this.#outbox.entries()) {
      if (entry.keepUntil <= now) this.#giveUp(entry.id);
      else if (entry.deadline <= now) this.#unknown(entry, 0, now);
    }
    if (!this.#next && this.#reconnect.at <= now) this.#dial(now);
    this.#flush(now);
  }

  poll() {
    return this.#outputs.shift();
  }

  #links() {
    return [this.#serving, this.#next].filter(Boolean);
  }

  #link(number) {
    return this.#links().find((link) => link.number === number);
  }

  #event(event, rest) {
    this.#outputs.push({ event, ...rest });
  }

  #dial(now) {
    const number = ++this.#lastLink;
    const address = this.#reconnect.dial();
    const out = (bytes) => this.#outputs.push({ send: number, bytes });
    this.#next = new Link(number, address, now + this.#config.loginMs, out);
    this.#outputs.push({ dial: number, address });
  }

  #close(link) {
    this.#outputs.push({ close: link.number });
  }

  #forget(link) {
    if (link === this.#next) this.#next = undefined;
    if (link !== this.#serving) return;
    this.#serving = undefined;
    this.#outbox.sendAllAgain();
    this.#event("disconnected", {});
  }

  /** A link ended without a word on what to do. */
  #lost(link, now) {
    if (link.state === "greeting") this.#abandonedAt = now;
    this.#forget(link);
    if (this.#next) return;
    if (link.state === "open") this.#reconnect.lost(now - link.openedAt, now);
    else this.#reconnect.failed(0, now);
  }

  /** Nothing is sent or dialled any more. What is unsettled stays until its time is over. */
  #end(reason) {
    for (const link of this.#links()) {
      this.#close(link);
      this.#forget(link);
    }
    this.#reconnect.at = Infinity;
    this.#event("ended", { reason });
  }

  #refused(link, { reason, retry_after_ms, alternatives }, now) {
    const todo = advice(reason);
    this.#close(link);
    this.#forget(link);
    if (this.#next) return undefined;
    // While an older connection serves, that gateway's word counts.
    const isOwnDoing = reason === REPLACED && now - this.#abandonedAt < ABANDONED_MS;
    if (todo === "stop" && !this.#serving && !isOwnDoing) return this.#end(reason);
    if (todo === "go elsewhere" && this.#reconnect.redirected(alternatives, retry_after_ms, now)) return undefined;
    const isOrderly = todo === "reconnect" && link.state === "open" && retry_after_ms === 0;
    return isOrderly ? this.#reconnect.lost(now - link.openedAt, now) : this.#reconnect.failed(retry_after_ms, now);
  }

  #handle(link, { kind, business, id, message }, now) {
    if (kind === "Refused") this.#refused(link, message, now);
    else if (kind === "Kick") this.#end(message.reason);
    else if (kind === "Welcome" && link.state === "greeting") this.#welcomed(link, message, now);
    else if (link.state !== "open") throw new Malformed(`${kind} before the Welcome`);
    else if (kind === "Reply") this.#reply(link, id, message, now);
    else if (kind === "Refusals") message.refused.forEach((refusal) => this.#refuse(refusal.message_id, refusal, now));
    else if (kind === "Settled") this.#settledThrough(message.settled_through);
    else if (kind === "Push") this.#push(link, id, business, message);
    else if (kind === "Ping") link.send("Pong", {}, {}, now);
    else if (kind === "Pong") this.#reconnect.heard(message);
    else if (kind === "Goaway") this.#goaway(link, message, now);
    else throw new Malformed(`${kind} from a gateway`);
  }

  #welcomed(link, welcome, now) {
    if (welcome.version !== VERSION) throw new Malformed(`version ${welcome.version}`);
    if (this.#serving) {
      this.#close(this.#serving);
      this.#outbox.sendAllAgain();
    }
    const entries = this.#outbox.entries();
    link.open(welcome, entries.at(-1)?.id ?? 0, now);
    [this.#serving, this.#next] = [link, undefined];
    this.#reconnect.welcomed(welcome);
    this.#ticket = welcome.ticket;
    this.#keepForLimit = welcome.limits?.keep_for_ms || Infinity;
    for (const entry of entries) entry.keepUntil = Math.min(entry.keepUntil, entry.submitted + this.#keepForLimit);
    this.#event("connected", { gateway: welcome.gateway });
  }

  #reply(link, id, reply, now) {
    if (reply.ticket.length > 0) this.#ticket = reply.ticket;
    const entry = this.#outbox.get(id);
    if (entry) {
      if (entry.state === "sent") link.answered();
      const { reason, payload } = reply;
      if (reply.outcome === "OUTCOME_REPLIED") this.#settle(id, { how: "replied", reason, payload });
      else if (reply.outcome === "OUTCOME_REFUSED") this.#refuse(id, reply, now);
      else if (reason > 0 && advice(reason) === "stop") this.#settle(id, { how: "rejected", reason });
      else this.#unknown(entry, reply.retry_after_ms, now);
    }
    this.#settledThrough(reply.settled_through);
  }

  /** One try was certainly not run. */
  #refuse(id, { reason, retry_after_ms }, now) {
    const entry = this.#outbox.get(id);
    if (!entry) return;
    if (advice(reason) === "stop") this.#settle(id, { how: "rejected", reason });
    else if (reason === BEHIND && entry.after > 0) this.#outbox.waitForPredecessor(entry);
    else this.#outbox.retryLater(entry, retry_after_ms, now, this.#random);
  }

  #unknown(entry, hintMs, now) {
    entry.mayHaveRun = true;
    this.#outbox.retryLater(entry, hintMs, now, this.#random);
  }

  #settle(id, how) {
    if (this.#outbox.remove(id)) this.#event("settled", { id, ...how });
  }

  #giveUp(id) {
    const entry = this.#outbox.get(id);
    if (entry) this.#settle(id, { how: "given up", mayHaveRun: entry.mayHaveRun || entry.state === "sent" });
  }

  /** What wanted no reply is settled by this alone; the replies of the others came before it. */
  #settledThrough(through) {
    for (const { id, noReply, state } of this.#outbox.entries()) {
      if (id > through) break;
      if (noReply && state === "sent") this.#settle(id, { how: "replied", reason: 0, payload: new Uint8Array() });
    }
  }

  #push(link, id, business, { dedupe_key, payload }) {
    link.lastPush = Math.max(link.lastPush, id);
    if (this.#isNew(dedupe_key)) this.#event("pushed", { business: link.businessName(business), payload });
  }

  /** Equal keys are the same push, also on another connection; one without a key is always new. */
  #isNew(dedupeKey) {
    if (dedupeKey.length === 0) return true;
    const key = dedupeKey.join();
    if (this.#seenPushes.has(key)) return false;
    this.#seenPushes.add(key);
    if (this.#seenPushes.size > REMEMBERED_PUSHES) this.#seenPushes.delete(this.#seenPushes.values().next().value);
    return true;
  }

  #goaway(link, { alternatives, move_after_ms, settled_through }, now) {
    this.#settledThrough(settled_through);
    const isMoving = this.#next || this.#reconnect.at < Infinity;
    if (!isMoving) this.#reconnect.move(alternatives, move_after_ms, now - link.openedAt, now);
  }

  /** Sends what may be sent, in the order of the ids. */
  #flush(now) {
    this.#retryAt = Infinity;
    const link = this.#serving;
    if (!link) return;
    let inFlight = this.#outbox.inFlight();
    for (const entry of this.#outbox.entries()) {
      if (inFlight >= link.maxInFlight(entry.id)) break;
      if (!this.#outbox.isReady(entry, now)) {
        if (entry.state === "waiting" && entry.due > now) this.#retryAt = Math.min(this.#retryAt, entry.due);
      } else if (!link.business(entry.business)) {
        this.#settle(entry.id, { how: "rejected", reason: UNKNOWN_BUSINESS });
      } else if (entry.payload.length > link.maxBodyBytes()) {
        this.#settle(entry.id, { how: "rejected", reason: TOO_LARGE });
      } else if (!entry.isRetry || this.#budget.take(now)) {
        if (!entry.sent) this.#budget.freshSend(now);
        this.#outbox.markSent(entry, link.request(entry, this.#outbox, now), now);
        inFlight += 1;
      } else {
        this.#retryAt = Math.min(this.#retryAt, this.#budget.nextAt());
      }
    }
  }
}
