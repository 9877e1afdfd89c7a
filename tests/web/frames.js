// Bytes and frames: 16 bytes of header, then the body. A length is checked before anything is done with what follows.

import { Malformed, decode, encode } from "./protobuf.js";

export const HEADER_BYTES = 16;

/** Kinds from here on end the connection if they are not known; below it they are skipped. */
const FIRST_CRITICAL_KIND = 128;

export const KINDS = {
  Hello: 1, Welcome: 2, Refused: 3, Request: 4, Reply: 5, Push: 6, PushAck: 7,
  Ping: 8, Pong: 9, Goaway: 10, Kick: 11, Refusals: 12, Settled: 13,
};
const NAMES = Object.fromEntries(Object.entries(KINDS).map(([name, code]) => [code, name]));

export const NO_REPLY_WANTED = 1;
export const RESENT = 2;

/** A frame of the kind `name` with `message` as its body. */
export function encodeFrame(name, message, { flags = 0, business = 0, id = 0 } = {}) {
  const body = encode(name, message);
  const bytes = new Uint8Array(HEADER_BYTES + body.length);
  const header = new DataView(bytes.buffer);
  header.setUint32(0, body.length * 256 + KINDS[name]);
  header.setUint8(4, flags);
  header.setUint16(6, business);
  header.setBigUint64(8, BigInt(id));
  bytes.set(body, HEADER_BYTES);
  return bytes;
}

/**
 * The frames in `bytes`, which hold whole ones only, as { kind, flags, business, id, message }. A kind to be skipped is
 * undefined. A generator, because what comes before a fault still counts.
 */
export function* decodeFrames(bytes, maxBodyBytes) {
  for (let at = 0; at < bytes.length; ) {
    if (bytes.length - at < HEADER_BYTES) throw new Malformed("a message that ends within a header");
    const header = new DataView(bytes.buffer, bytes.byteOffset + at, HEADER_BYTES);
    const [bodyBytes, code] = [header.getUint32(0) >>> 8, header.getUint8(3)];
    if (bodyBytes > maxBodyBytes) throw new Malformed(`a body of ${bodyBytes} bytes`);
    if (bodyBytes > bytes.length - at - HEADER_BYTES) throw new Malformed("a message that ends within a frame");
    const kind = NAMES[code];
    if (kind === undefined && code >= FIRST_CRITICAL_KIND) throw new Malformed(`a frame of the unknown kind ${code}`);
    const begin = at + HEADER_BYTES;
    at = begin + bodyBytes;
    yield {
      kind,
      flags: header.getUint8(4),
      business: header.getUint16(6),
      id: Number(header.getBigUint64(8)),
      message: kind && decode(kind, bytes.subarray(begin, at)),
    };
  }
}
