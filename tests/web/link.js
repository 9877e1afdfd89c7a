// One connection: from the dial over `Hello` and `Welcome` to its end, with its heartbeat. Only received frames count
// as life; what was sent proves nothing about the other side.

import { NO_REPLY_WANTED, RESENT, encodeFrame } from "./frames.js";

const DEFAULT_HEARTBEAT_MS = 30_000;
const DEFAULT_TOLERANCE_HEARTBEATS = 3;
const DEFAULT_TRY_MS = 10_000;
const DEFAULT_MAX_BODY_BYTES = 64 * 1024;
const DEFAULT_MAX_IN_FLIGHT = 1024;

/** A client that has much to say pings all the same after so many heartbeats: only a Pong tells the newest spread. */
const HEARTBEATS_BETWEEN_PINGS = 2;

/** What was unsettled when a connection opened starts with so many in flight, doubled by each round of replies. */
const FIRST_IN_FLIGHT = 8;

export class Link {
  /** dialing → greeting → open */
  state = "dialing";
  lastPush = 0;
  #acknowledged = 0;
  #welcome;
  #businesses;
  #window = FIRST_IN_FLIGHT;
  /** Ids up to here were unsettled when the connection opened. */
  #backlog = 0;
  #sent;
  #received;
  #pinged;
  #out;

  /** `out` takes the bytes to be sent. `deadline`: when there must be a Welcome. */
  constructor(number, address, deadline, out) {
    Object.assign(this, { number, address, deadline });
    this.#out = out;
  }

  send(kind, message, header, now) {
    this.#sent = now;
    this.#out(encodeFrame(kind, message, header));
  }

  open(welcome, lastId, now) {
    this.state = "open";
    this.openedAt = now;
    this.deadline = Infinity;
    this.#welcome = welcome;
    this.#businesses = new Map(welcome.businesses.map((business) => [business.name, business]));
    this.#backlog = lastId;
    this.#sent = this.#received = this.#pinged = now;
  }

  received(now) {
    this.#received = now;
  }

  /** One acknowledgement for all pushes of a round. */
  acknowledge(now) {
    if (this.lastPush === this.#acknowledged) return;
    this.#acknowledged = this.lastPush;
    this.send("PushAck", { push_id: this.lastPush }, {}, now);
  }

  /** When to ping: nothing was sent, or nothing received, for an interval, or no ping for two; pings are an interval apart. */
  pingAt() {
    if (this.state !== "open") return Infinity;
    const quiet = Math.max(Math.min(this.#sent, this.#received), this.#pinged) + this.#heartbeat();
    return Math.min(quiet, this.#pinged + HEARTBEATS_BETWEEN_PINGS * this.#heartbeat());
  }

  /** When to give it up. */
  lostAt() {
    if (this.state !== "open") return this.deadline;
    return this.#received + (this.#welcome.tolerance_ms || this.#heartbeat() * DEFAULT_TOLERANCE_HEARTBEATS);
  }

  ping(now) {
    this.#pinged = now;
    this.send("Ping", { last_push_id: this.lastPush, next_interval_ms: this.#heartbeat() }, {}, now);
  }

  #heartbeat() {
    return this.#welcome.heartbeat_ms || DEFAULT_HEARTBEAT_MS;
  }

  business(name) {
    return this.#businesses.get(name);
  }

  businessName(code) {
    return this.#welcome.businesses.find((business) => business.code === code)?.name;
  }

  maxBodyBytes() {
    return this.#welcome.limits?.max_body_bytes || DEFAULT_MAX_BODY_BYTES;
  }

  /** How many requests may be unanswered, while this id is the next to be sent. */
  maxInFlight(id) {
    const limit = this.#welcome.limits?.max_in_flight || DEFAULT_MAX_IN_FLIGHT;
    return id <= this.#backlog ? Math.min(this.#window, limit) : limit;
  }

  /** A reply came: one more may be in flight, which doubles the number with each round. */
  answered() {
    this.#window += 1;
  }

  /** Sends a message of the outbox; returns the try's timeout in milliseconds. */
  request(entry, outbox, now) {
    const business = this.business(entry.business);
    const message = {
      timeout_ms: entry.timeoutMs,
      oldest_unsettled: outbox.oldest(),
      oldest_unsettled_of_business: outbox.oldestOf(entry.business),
      after: outbox.before(entry),
      payload: entry.payload,
    };
    const flags = (entry.noReply ? NO_REPLY_WANTED : 0) | (entry.sent ? RESENT : 0);
    this.send("Request", message, { flags, business: business.code, id: entry.id }, now);
    return entry.timeoutMs || business.timeout_ms || DEFAULT_TRY_MS;
  }
}
