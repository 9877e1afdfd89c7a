// When and where to connect next. A server's hint beats the formula. The next address is drawn by weight from those that
// were not tried since the last login; when all were, the one that was tried the longest ago is next.

const FIRST_DELAY_MS = 1000;
const LONGEST_DELAY_MS = 60_000;

/** A connection that lasted this long makes up for the failures before it. */
const STABLE_MS = 10_000;

/** So many moves in a row are obeyed at once. */
const MOST_HASTY_MOVES = 3;

/** So many redirects are followed for one login; then the client's own list and the formula are in force again. */
const MOST_HOPS = 3;

/** So many addresses that were dialled in vain are remembered. */
const REMEMBERED_DIALS = 64;

/** The longest wait after so many that failed before. */
function doubled(failures) {
  return Math.min(FIRST_DELAY_MS * 2 ** failures, LONGEST_DELAY_MS);
}

export class Reconnect {
  /** The time of the next dial, Infinity if none is due. */
  at;
  /** Why the next `Hello` comes: a ConnectReason. */
  reason;
  /** Addresses and their weights: the app's own, and those that were named last. */
  #configured;
  #learned = new Map();
  /** Addresses dialled since the last login, that one's included; the last one is at the end. */
  #dialled = [];
  #target;
  #failures = 0;
  #spreadIsUsed = false;
  #hops = 0;
  #hastyMoves = 0;
  #tried = 0;
  #spreadMs = 0;
  #random;

  constructor(addresses, reason, now, random) {
    this.#configured = new Map(addresses.map((address) => [address, 1]));
    this.#random = random;
    this.reason = reason;
    this.at = now;
  }

  /** How many gateways were tried before, for this login. */
  get tried() {
    return this.#tried;
  }

  /** The address to dial now. */
  dial() {
    const address = this.#target ?? this.#nextAddress();
    this.#target = undefined;
    this.at = Infinity;
    this.#dialled = [...this.#dialled.filter((dialled) => dialled !== address), address].slice(-REMEMBERED_DIALS);
    return address;
  }

  welcomed(welcome) {
    Object.assign(this, { reason: "CONNECT_REASON_NETWORK", at: Infinity });
    this.#spreadMs = 0;
    this.#hops = this.#tried = 0;
    // What failed before may be well again.
    this.#dialled = this.#dialled.slice(-1);
    this.heard(welcome);
  }

  /** A Welcome or a Pong; what it leaves out stays as it was. */
  heard({ spread_ms, alternatives }) {
    if (spread_ms > 0) this.#spreadMs = spread_ms;
    if (alternatives.length === 0) return;
    this.#learned = new Map(alternatives.flatMap(({ addresses, weight }) => addresses.map((address) => [address, weight])));
  }

  /** A connection that was open for `lasted` ended: the gateways said how many come with this client. */
  lost(lasted, now) {
    if (lasted >= STABLE_MS) [this.#failures, this.#spreadIsUsed] = [0, false];
    if (this.#spreadIsUsed) return this.failed(0, now);
    this.#spreadIsUsed = true;
    return this.#wait(this.#random() * this.#spreadMs, now);
  }

  /** A dial or a login failed. */
  failed(hintMs, now) {
    const formula = doubled(this.#failures);
    this.#failures += 1;
    this.#tried += 1;
    this.#wait(hintMs > 0 ? this.#jittered(hintMs) : this.#random() * formula, now);
  }

  /** Told to go to another gateway; false if there were too many hops, or none was named. */
  redirected(alternatives, hintMs, now) {
    const address = this.#choose(alternatives);
    if (address === undefined || this.#hops === MOST_HOPS) return false;
    this.#hops += 1;
    this.#tried += 1;
    this.#goTo(address, hintMs > 0 ? this.#jittered(hintMs) : 0, now);
    return true;
  }

  /** Asked to move after `lasted`: the old connection serves until the new one is welcome. */
  move(alternatives, afterMs, lasted, now) {
    this.#hastyMoves = lasted >= STABLE_MS ? 0 : this.#hastyMoves + 1;
    const tooMany = this.#hastyMoves - MOST_HASTY_MOVES;
    const pause = tooMany > 0 ? this.#random() * doubled(tooMany - 1) : 0;
    this.#goTo(this.#choose(alternatives), afterMs + pause, now);
  }

  #goTo(address, delay, now) {
    this.#target = address;
    this.reason = "CONNECT_REASON_REDIRECTED";
    this.#wait(delay, now);
  }

  #wait(delay, now) {
    this.at = now + delay;
  }

  /** Longer by up to a half, so that those who were told the same do not come together. */
  #jittered(hintMs) {
    return hintMs * (1 + this.#random() / 2);
  }

  #nextAddress() {
    const known = new Map([...this.#configured, ...this.#learned]);
    const fresh = [...known].filter(([address]) => !this.#dialled.includes(address));
    const chosen = this.#choose(fresh.map(([address, weight]) => ({ addresses: [address], weight })));
    return chosen ?? this.#dialled.find((address) => known.has(address));
  }

  /** One of the alternatives, by weight. */
  #choose(alternatives) {
    const weights = alternatives.map(({ weight }) => Math.max(weight, 1));
    let draw = this.#random() * weights.reduce((sum, weight) => sum + weight, 0);
    const chosen = alternatives.find((_, index) => (draw -= weights[index]) < 0);
    return chosen?.addresses[0];
  }
}
