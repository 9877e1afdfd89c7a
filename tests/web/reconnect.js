// When and where to connect next. A server's hint beats the formula; an address that was tried last comes last.

const FIRST_DELAY_MS = 1000;
const LONGEST_DELAY_MS = 60_000;

/** A connection that lasted this long makes up for the failures before it. */
const STABLE_MS = 10_000;

/** So many moves in a row are obeyed at once. */
const MOST_HASTY_MOVES = 3;

/** So many redirects are followed for one login; then the client's own list and the formula are in force again. */
const MOST_HOPS = 3;

/** The longest wait after so many that failed before. */
function doubled(failures) {
  return Math.min(FIRST_DELAY_MS * 2 ** failures, LONGEST_DELAY_MS);
}

export class Reconnect {
  /** The time of the next dial, Infinity if none is due. */
  at;
  /** Why the next `Hello` comes: a ConnectReason. */
  reason;
  #addresses;
  #target;
  #failures = 0;
  #spreadIsUsed = false;
  #hops = 0;
  #hastyMoves = 0;
  #tried = 0;
  #spreadMs = 0;
  #random;

  constructor(addresses, reason, now, random) {
    this.#addresses = [...addresses];
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
    const address = this.#target ?? this.#addresses[0];
    this.#target = undefined;
    this.at = Infinity;
    this.#moveToEnd(address);
    return address;
  }

  welcomed({ spread_ms }) {
    Object.assign(this, { reason: "CONNECT_REASON_NETWORK", at: Infinity });
    this.#spreadMs = spread_ms;
    this.#hops = this.#tried = 0;
  }

  heardSpread(spreadMs) {
    if (spreadMs > 0) this.#spreadMs = spreadMs;
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

  #moveToEnd(address) {
    const index = this.#addresses.indexOf(address);
    if (index >= 0) this.#addresses.push(...this.#addresses.splice(index, 1));
  }

  /** One of the alternatives, by weight. */
  #choose(alternatives) {
    const weights = alternatives.map(({ weight }) => Math.max(weight, 1));
    let draw = this.#random() * weights.reduce((sum, weight) => sum + weight, 0);
    const chosen = alternatives.find((_, index) => (draw -= weights[index]) < 0);
    return chosen?.addresses[0];
  }
}
