// Protocol Buffers, as much of them as the frames need, driven by the table in schema.js. What is unknown is skipped,
// what is malformed throws, and a decoded message has all of its fields.
//
// In a message, `bytes` are Uint8Arrays, `fixed64` BigInts, the other numbers Numbers (ids stay below 2^53), and enums
// the names of their values; a value that is not known is left as its number.

import { ENUMS, MESSAGES } from "./schema.js";

const VARINT = 0;
const FIXED64 = 1;
const DELIMITED = 2;
const FIXED32 = 5;

const text = new TextDecoder("utf-8", { fatal: true });

export class Malformed extends Error {}

/** Encodes an object as the message `name`, without fields that it does not have or whose value is the default. */
export function encode(name, message) {
  const out = [];
  for (const [number, [field, type, label]] of Object.entries(MESSAGES[name])) {
    const value = message[field];
    if (value === undefined) continue;
    if (label !== "repeated") {
      if (!isDefault(type, value)) writeField(out, number, type, value);
    } else if (wireType(type) === DELIMITED) {
      value.forEach((item) => writeField(out, number, type, item));
    } else if (value.length > 0) {
      writeTag(out, number, DELIMITED);
      const packed = [];
      value.forEach((item) => writeValue(packed, type, item));
      writeBytes(out, packed);
    }
  }
  return Uint8Array.from(out);
}

/** Decodes the message `name`. */
export function decode(name, bytes) {
  const fields = MESSAGES[name];
  const message = {};
  for (const [field, type, label] of Object.values(fields)) message[field] = defaultOf(type, label);
  const input = new Reader(bytes);
  while (!input.isAtEnd()) {
    const tag = Number(input.varint());
    const [number, wire] = [Math.floor(tag / 8), tag % 8];
    const known = fields[number];
    if (known === undefined) {
      input.skip(wire);
      continue;
    }
    const [field, type, label] = known;
    if (label !== "repeated") {
      message[field] = input.value(type, wire);
    } else if (wire === DELIMITED && wireType(type) !== DELIMITED) {
      const packed = new Reader(input.delimited());
      while (!packed.isAtEnd()) message[field].push(packed.value(type, wireType(type)));
    } else {
      message[field].push(input.value(type, wire));
    }
  }
  return message;
}

function wireType(type) {
  if (type === "fixed64") return FIXED64;
  return type === "string" || type === "bytes" || type in MESSAGES ? DELIMITED : VARINT;
}

function defaultOf(type, label) {
  if (label === "repeated") return [];
  if (type in ENUMS) return ENUMS[type][0];
  if (type in MESSAGES) return undefined;
  return { string: "", bytes: new Uint8Array(), bool: false, fixed64: 0n }[type] ?? 0;
}

function isDefault(type, value) {
  return type === "bytes" ? value.length === 0 : value === defaultOf(type);
}

function writeField(out, number, type, value) {
  writeTag(out, number, wireType(type));
  writeValue(out, type, value);
}

function writeTag(out, number, wire) {
  writeVarint(out, Number(number) * 8 + wire);
}

function writeValue(out, type, value) {
  if (type in ENUMS) writeVarint(out, typeof value === "number" ? value : ENUMS[type].indexOf(value));
  else if (type in MESSAGES) writeBytes(out, encode(type, value));
  else if (type === "string") writeBytes(out, new TextEncoder().encode(value));
  else if (type === "bytes") writeBytes(out, value);
  else if (type === "fixed64") for (let at = 0n; at < 64n; at += 8n) out.push(Number((value >> at) & 255n));
  else writeVarint(out, Number(value));
}

function writeBytes(out, bytes) {
  writeVarint(out, bytes.length);
  for (const byte of bytes) out.push(byte);
}

function writeVarint(out, number) {
  while (number >= 128) {
    out.push((number % 128) + 128);
    number = Math.floor(number / 128);
  }
  out.push(number);
}

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  isAtEnd() {
    return this.at === this.bytes.length;
  }

  value(type, wire) {
    if (wire !== wireType(type)) throw new Malformed(`wire type ${wire} for a ${type}`);
    if (type in MESSAGES) return decode(type, this.delimited());
    if (type === "bytes") return this.delimited();
    if (type === "string") return decodeText(this.delimited());
    if (type === "fixed64") return this.fixed64();
    const number = Number(this.varint());
    if (type in ENUMS) return ENUMS[type][number] ?? number;
    return type === "bool" ? number !== 0 : number;
  }

  varint() {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.take(1)[0];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
    throw new Malformed("a varint of more than 10 bytes");
  }

  fixed64() {
    return this.take(8).reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
  }

  delimited() {
    return this.take(Number(this.varint()));
  }

  skip(wire) {
    if (wire === VARINT) this.varint();
    else if (wire === DELIMITED) this.delimited();
    else if (wire === FIXED64) this.take(8);
    else if (wire === FIXED32) this.take(4);
    else throw new Malformed(`wire type ${wire}`);
  }

  take(length) {
    if (length > this.bytes.length - this.at) throw new Malformed("a field that ends behind its message");
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }
}

function decodeText(bytes) {
  try {
    return text.decode(bytes);
  } catch {
    throw new Malformed("a string that is not UTF-8");
  }
}
