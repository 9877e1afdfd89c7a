// Gives machine.js its sockets and its clock: WebSockets with the subprotocol dagor.v1, and timers. Decides nothing.

import { Machine } from "./machine.js";

const SUBPROTOCOL = "dagor.v1";

/** WebSocket close codes above this are reasons of the protocol. */
const FIRST_CLOSE_CODE = 4000;

/** The longest that a browser's timer takes, in milliseconds; an earlier look does no harm. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export class Client {
  #machine;
  #sockets = new Map();
  #timer;
  #onEvent;

  /**
   * Connects at once, and tells `onEvent` of { event, … }: connected, disconnected, settled, pushed, ended.
   * `config`: user, gateways (host:port), and what differs from the machine's defaults.
   */
  constructor(config, onEvent) {
    const [outbox] = crypto.getRandomValues(new BigUint64Array(1));
    this.#onEvent = onEvent;
    this.#machine = new Machine({ outbox, ...config }, performance.now());
    this.#turn(() => {});
  }

  /** Takes a text for a business into the outbox; returns its id, which a `settled` event will name once. */
  submit(business, text, options = {}) {
    return this.#turn((now) => this.#machine.submit(business, new TextEncoder().encode(text), options, now));
  }

  cancel(id) {
    this.#turn((now) => this.#machine.cancel(id, now));
  }

  /** Something goes into the machine; then everything comes out of it. */
  #turn(push) {
    const result = push(performance.now());
    const events = [];
    for (let output; (output = this.#machine.poll()) !== undefined; ) {
      if (output.dial) this.#dial(output.dial, output.address);
      else if (output.send) this.#sockets.get(output.send)?.send(output.bytes);
      else if (output.close) this.#close(output.close);
      else events.push(output);
    }
    clearTimeout(this.#timer);
    const wait = Math.max(this.#machine.nextTimeout() - performance.now(), 0);
    const fire = () => this.#turn((now) => this.#machine.timeout(now));
    this.#timer = setTimeout(fire, Math.min(wait, LONGEST_TIMER_MS));
    // Last, because an app may submit something when it hears of them.
    events.forEach(this.#onEvent);
    return result;
  }

  #dial(link, address) {
    const socket = new WebSocket(`ws://${address}/`, SUBPROTOCOL);
    socket.binaryType = "arraybuffer";
    this.#sockets.set(link, socket);
    socket.onopen = () => this.#turn((now) => this.#machine.connected(link, now));
    socket.onmessage = ({ data }) => this.#turn((now) => this.#machine.received(link, new Uint8Array(data), now));
    socket.onclose = ({ code }) => {
      this.#sockets.delete(link);
      const reason = code > FIRST_CLOSE_CODE ? code - FIRST_CLOSE_CODE : undefined;
      this.#turn((now) => this.#machine.closed(link, reason, now));
    };
  }

  #close(link) {
    const socket = this.#sockets.get(link);
    this.#sockets.delete(link);
    // Nothing that it still says is heard.
    if (socket) Object.assign(socket, { onopen: null, onmessage: null, onclose: null }).close();
  }
}
