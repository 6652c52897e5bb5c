// What handlers see of a request.

import { HostSection, Pair, RawRequest, textOf } from "./abi";

/** One authenticated, authorized request. */
export class Request {
  constructor(public raw: RawRequest) {}

  private get host(): HostSection { return this.raw.host!; }

  get method(): string { return this.raw.method; }
  /** Without the query. */
  get path(): string {
    const at = this.raw.url.indexOf("?");
    return at < 0 ? this.raw.url : this.raw.url.substring(0, at);
  }
  /** As it was sent, without the question mark. */
  get rawQuery(): string {
    const at = this.raw.url.indexOf("?");
    return at < 0 ? "" : this.raw.url.substring(at + 1);
  }
  get body(): Uint8Array { return this.raw.body; }
  get text(): string { return textOf(this.raw.body); }
  /** The user's id; never empty. */
  get user(): string { return this.host.user; }
  get name(): string { return this.host.name; }
  get roles(): string[] { return this.host.roles; }
  get teams(): string[] { return this.host.teams; }
  get route(): string { return this.host.route; }
  get action(): string { return this.host.action; }
  get requestId(): string { return this.host.requestId; }
  /** The namespaces that the answer may show; empty: no restriction. */
  get namespaces(): string[] { return this.host.namespaces; }
  get resourceGroups(): string[] { return this.host.groups; }
  get redact(): string[] { return this.host.redact; }
  /** Milliseconds that were left until the deadline when the request came. */
  get timeoutMs(): i64 { return this.host.timeoutMs; }

  /** The first value of a query parameter, decoded; empty if there is none. */
  query(name: string): string {
    const all = this.queryAll(name);
    return all.length ? all[0] : "";
  }

  /** All values of a query parameter. Parts that are malformed are left out. */
  queryAll(name: string): string[] {
    const out = new Array<string>();
    const parts = this.rawQuery.split("&");
    for (let i = 0; i < parts.length; i++) {
      const part = parts[i];
      if (!part.length || part.includes(";")) continue;
      const at = part.indexOf("=");
      const key = unescape(at < 0 ? part : part.substring(0, at));
      if (key === null || key != name) continue;
      const value = unescape(at < 0 ? "" : part.substring(at + 1));
      if (value !== null) out.push(value);
    }
    return out;
  }

  /** The first value of a header, compared without case; empty if there is none. */
  header(name: string): string {
    return find(this.raw.header, name.toLowerCase(), true);
  }

  /** A parameter of the route's path; empty if it has no such. */
  param(name: string): string {
    return find(this.host.params, name, false);
  }
}

function find(list: Pair[], name: string, fold: bool): string {
  for (let i = 0; i < list.length; i++) {
    if ((fold ? list[i].name.toLowerCase() : list[i].name) == name) return list[i].value;
  }
  return "";
}

function hex(c: i32): i32 {
  if (c >= 48 && c <= 57) return c - 48;
  c |= 32;
  return c >= 97 && c <= 102 ? c - 87 : -1;
}

function unescape(s: string): string | null {
  const from = Uint8Array.wrap(String.UTF8.encode(s));
  const to = new Uint8Array(from.length);
  let n = 0;
  for (let i = 0; i < from.length; i++) {
    let c: i32 = from[i];
    if (c == 43) c = 32; // +
    else if (c == 37) { // %
      const high = i + 2 < from.length ? hex(from[i + 1]) : -1;
      const low = i + 2 < from.length ? hex(from[i + 2]) : -1;
      if (high < 0 || low < 0) return null;
      c = high << 4 | low;
      i += 2;
    }
    to[n++] = u8(c);
  }
  return String.UTF8.decodeUnsafe(to.dataStart, n);
}

const HEX = "0123456789ABCDEF";

/** Escapes text from a request so that it is one segment of a path or one value of a query. */
export function escape(s: string): string {
  const from = Uint8Array.wrap(String.UTF8.encode(s));
  let out = "";
  for (let i = 0; i < from.length; i++) {
    const c: i32 = from[i];
    const letter = (c | 32) >= 97 && (c | 32) <= 122 && c < 128;
    if (letter || (c >= 48 && c <= 57) || c == 45 || c == 46 || c == 95 || c == 126) {
      out += String.fromCharCode(c);
    } else {
      out += "%" + HEX.charAt(c >> 4) + HEX.charAt(c & 15);
    }
  }
  return out;
}
