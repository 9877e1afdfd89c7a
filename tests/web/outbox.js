// What the app has submitted and the gateways have not settled, in the order of its ids. Ids are consecutive from 1 and
// never used again.

/** Nothing is sent that is further than this above the oldest unsettled id: services remember no more. */
const WINDOW = 1023;

/** How long after its timeout a try waits for the gateway's own word on it, in milliseconds. */
const GRACE_MS = 500;

/** More that are not settled are not taken. */
const MOST_MESSAGES = 1024;

const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 60_000;

/** May be sent at once; this is no retry. `deadline` is when to stop waiting for a reply. */
const READY = { state: "waiting", due: 0, isRetry: false, deadline: Infinity };

export class OutboxFull extends Error {}

export class Outbox {
  #entries = new Map();
  #lastId = 0;

  /** Takes a message { business, payload, noReply, timeoutMs } that is kept until `keepUntil`; returns its id. */
  add(message, keepUntil) {
    if (this.#entries.size >= MOST_MESSAGES) throw new OutboxFull(`${MOST_MESSAGES} messages are not settled`);
    const id = ++this.#lastId;
    const fresh = { sent: false, tries: 0, mayHaveRun: false, ...READY };
    this.#entries.set(id, { id, ...message, ...fresh, keepUntil });
    return id;
  }

  get(id) {
    return this.#entries.get(id);
  }

  /** Takes an entry out; undefined if it was settled before. */
  remove(id) {
    const entry = this.#entries.get(id);
    this.#entries.delete(id);
    return entry;
  }

  /** All entries, the oldest first. */
  entries() {
    return [...this.#entries.values()];
  }

  /** The lowest unsettled id, 0 if there is none. */
  oldest() {
    return this.#entries.keys().next().value ?? 0;
  }

  oldestOf(business) {
    for (const entry of this.#entries.values()) if (entry.business === business) return entry.id;
    return 0;
  }

  /** The unsettled message before this one of the same business, 0 if there is none. */
  before({ id, business }) {
    let before = 0;
    for (const entry of this.#entries.values()) {
      if (entry.id >= id) break;
      if (entry.business === business) before = entry.id;
    }
    return before;
  }

  inFlight() {
    return this.entries().filter(({ state }) => state === "sent").length;
  }

  /** May be sent now, as far as it alone is concerned. */
  isReady(entry, now) {
    if (entry.id > this.oldest() + WINDOW) return false;
    if (entry.state === "behind") return this.before(entry) === 0;
    return entry.state === "waiting" && entry.due <= now;
  }

  markSent(entry, timeoutMs, now) {
    entry.state = "sent";
    entry.sent = true;
    entry.after = this.before(entry);
    entry.deadline = entry.noReply ? Infinity : now + timeoutMs + GRACE_MS;
    entry.tries += 1;
  }

  /** The try ended without an answer that settles. It comes again after the gateway's hint, or else a growing time. */
  retryLater(entry, hintMs, now, random) {
    const formula = Math.min(FIRST_RETRY_MS * 2 ** (entry.tries - 1), LONGEST_RETRY_MS);
    const base = hintMs > 0 ? hintMs : formula / 2;
    Object.assign(entry, { state: "waiting", due: now + base * (1 + random() / 2), isRetry: true, deadline: Infinity });
  }

  /** It is sent again as soon as what it was sent behind is settled. */
  waitForPredecessor(entry) {
    Object.assign(entry, { state: "behind", deadline: Infinity });
  }

  /** The connection is another one: everything is sent again, and that is no retry. */
  sendAllAgain() {
    for (const entry of this.#entries.values()) {
      if (entry.state === "sent") entry.mayHaveRun = true;
      Object.assign(entry, READY);
    }
  }
}

/** How many retries are allowed: a tenth of the fresh sends and one in 10 s, at most three at once. */
export class RetryBudget {
  #tokens = 3;
  #counted;

  constructor(now) {
    this.#counted = now;
  }

  freshSend(now) {
    this.#add(0.1, now);
  }

  take(now) {
    this.#add(0, now);
    if (this.#tokens < 1 - 1e-9) return false;
    this.#tokens -= 1;
    return true;
  }

  /** When the next retry is allowed. */
  nextAt() {
    return this.#counted + Math.max(0, 1 - this.#tokens) * 10_000;
  }

  #add(tokens, now) {
    this.#tokens = Math.min(3, this.#tokens + tokens + (now - this.#counted) / 10_000);
    this.#counted = now;
  }
}
