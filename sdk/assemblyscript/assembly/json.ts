// As much JSON as a small plugin needs (RFC 8259).

import { textOf } from "./abi";

/** A value. What is not there is empty: no text, no items. */
export class Value {
  /** The text of a string, or of a number, true or false as written. */
  text: string = "";
  items: Value[] = [];
  keys: string[] = []; // of an object; its values are items

  get(key: string): Value {
    for (let i = 0; i < this.keys.length; i++) {
      if (this.keys[i] == key) return this.items[i];
    }
    return NOTHING;
  }
}

const NOTHING = new Value();

class Parser {
  at: i32 = 0;
  bad: bool = false;
  constructor(public s: string) {}

  peek(): i32 {
    return this.at < this.s.length ? this.s.charCodeAt(this.at) : 0;
  }

  space(): void {
    for (let c = this.peek(); c == 32 || c == 10 || c == 13 || c == 9; c = this.peek()) this.at++;
  }

  eat(c: i32): bool {
    const ok = this.peek() == c;
    if (ok) this.at++;
    return ok;
  }

  // The next value; what is malformed makes bad true.
  value(depth: i32): Value {
    const v = new Value();
    this.space();
    const c = this.peek();
    if (depth > 100) this.bad = true;
    else if (c == 0x7b || c == 0x5b) { // { [
      const end = c == 0x7b ? 0x7d : 0x5d;
      this.at++;
      this.space();
      while (!this.bad && !this.eat(end)) {
        if (v.items.length && !this.eat(0x2c)) this.bad = true;
        if (c == 0x7b) {
          this.space();
          v.keys.push(this.string());
          this.space();
          if (!this.eat(0x3a)) this.bad = true;
        }
        if (!this.bad) v.items.push(this.value(depth + 1));
        this.space();
      }
    } else if (c == 0x22) v.text = this.string();
    else {
      const from = this.at;
      for (let w = this.peek(); w > 32 && w != 0x2c && w != 0x5d && w != 0x7d && w != 0x22 && w != 0x3a; w = this.peek()) this.at++;
      v.text = this.s.substring(from, this.at);
      if (!v.text.length) this.bad = true;
      if (v.text == "null") v.text = "";
    }
    return v;
  }

  string(): string {
    if (!this.eat(0x22)) this.bad = true;
    let out = "";
    while (!this.bad) {
      const from = this.at;
      let c = this.peek();
      while (c >= 32 && c != 0x22 && c != 0x5c) {
        this.at++;
        c = this.peek();
      }
      out += this.s.substring(from, this.at);
      this.at++;
      if (c == 0x22) return out;
      if (c != 0x5c) this.bad = true;
      else out += this.escaped();
    }
    return "";
  }

  escaped(): string {
    const c = this.peek();
    this.at++;
    switch (c) {
      case 0x62: return "\b";
      case 0x66: return "\f";
      case 0x6e: return "\n";
      case 0x72: return "\r";
      case 0x74: return "\t";
      case 0x22: return "\"";
      case 0x5c: return "\\";
      case 0x2f: return "/";
      case 0x75: {
        let v = 0;
        for (let i = 0; i < 4; i++, this.at++) {
          let d = this.peek();
          d = d >= 48 && d <= 57 ? d - 48 : (d | 32) >= 97 && (d | 32) <= 102 ? (d | 32) - 87 : -1;
          if (d < 0) this.bad = true;
          v = v << 4 | d;
        }
        return String.fromCharCode(v); // a pair is two of them
      }
    }
    this.bad = true;
    return "";
  }
}

export namespace JSON {
  /** Reads one value; what is malformed is empty. */
  export function parse(text: Uint8Array): Value {
    const p = new Parser(textOf(text));
    const v = p.value(0);
    p.space();
    return p.bad || p.at < p.s.length ? NOTHING : v;
  }

  /** A text as a JSON string. */
  export function quote(s: string): string {
    let out = "\"";
    let from = 0;
    for (let i = 0; i < s.length; i++) {
      const c = s.charCodeAt(i);
      if (c >= 32 && c != 0x22 && c != 0x5c) continue;
      out += s.substring(from, i);
      from = i + 1;
      if (c >= 32) out += "\\" + String.fromCharCode(c);
      else out += "\\u00" + (c < 16 ? "0" : "1") + "0123456789abcdef".charAt(c & 15);
    }
    return out + s.substring(from) + "\"";
  }
}
