//! As much JSON as a small plugin needs (RFC 8259). For more there is serde.

use std::ops::Index;

/// A JSON value. Indexing what is not there gives `Null`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    /// As it is written.
    Number(String),
    String(String),
    Array(Vec<Value>),
    Object(Vec<(String, Value)>),
}

const NULL: Value = Value::Null;
const MAX_DEPTH: usize = 100;

impl Value {
    /// The text of a string, empty for anything else.
    pub fn str(&self) -> &str {
        match self {
            Value::String(s) => s,
            _ => "",
        }
    }

    /// The elements of an array, none for anything else.
    pub fn items(&self) -> &[Value] {
        match self {
            Value::Array(list) => list,
            _ => &[],
        }
    }

    pub fn is_null(&self) -> bool {
        *self == Value::Null
    }

    /// A number as an integer, None for anything else.
    pub fn int(&self) -> Option<i64> {
        match self {
            Value::Number(n) => n.parse().ok(),
            _ => None,
        }
    }
}

impl Index<&str> for Value {
    type Output = Value;
    fn index(&self, key: &str) -> &Value {
        match self {
            Value::Object(pairs) => pairs.iter().find(|(k, _)| k == key).map_or(&NULL, |(_, v)| v),
            _ => &NULL,
        }
    }
}

/// Appends s as a JSON string.
pub fn quote(out: &mut String, s: &str) {
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                out.push_str("\\u00");
                for d in [c as u32 >> 4, c as u32 & 15] {
                    out.push(char::from_digit(d, 16).unwrap_or('0'));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Reads exactly one value.
pub fn parse(text: &[u8]) -> Result<Value, &'static str> {
    let mut p = Parser { text: std::str::from_utf8(text).map_err(|_| "is not UTF-8")?.as_bytes(), at: 0 };
    let v = p.value(0)?;
    p.space();
    if p.at < p.text.len() {
        return Err("something follows the value");
    }
    Ok(v)
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    /// The next byte, 0 at the end.
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    fn eat(&mut self, c: u8) -> bool {
        let ok = self.peek() == c;
        self.at += ok as usize;
        ok
    }

    fn word(&mut self, word: &str, v: Value) -> Result<Value, &'static str> {
        if !self.text[self.at..].starts_with(word.as_bytes()) {
            return Err("has an unknown word");
        }
        self.at += word.len();
        Ok(v)
    }

    fn value(&mut self, depth: usize) -> Result<Value, &'static str> {
        if depth > MAX_DEPTH {
            return Err("is nested too deeply");
        }
        self.space();
        match self.peek() {
            b'{' => {
                self.at += 1;
                let mut pairs = Vec::new();
                self.space();
                while !self.eat(b'}') {
                    if !pairs.is_empty() && !self.eat(b',') {
                        return Err("lacks a comma");
                    }
                    self.space();
                    let key = self.string()?;
                    self.space();
                    if !self.eat(b':') {
                        return Err("lacks a colon");
                    }
                    pairs.push((key, self.value(depth + 1)?));
                    self.space();
                }
                Ok(Value::Object(pairs))
            }
            b'[' => {
                self.at += 1;
                let mut list = Vec::new();
                self.space();
                while !self.eat(b']') {
                    if !list.is_empty() && !self.eat(b',') {
                        return Err("lacks a comma");
                    }
                    list.push(self.value(depth + 1)?);
                    self.space();
                }
                Ok(Value::Array(list))
            }
            b'"' => Ok(Value::String(self.string()?)),
            b't' => self.word("true", Value::Bool(true)),
            b'f' => self.word("false", Value::Bool(false)),
            b'n' => self.word("null", Value::Null),
            b'-' | b'0'..=b'9' => {
                let from = self.at;
                while matches!(self.peek(), b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9') {
                    self.at += 1;
                }
                Ok(Value::Number(self.slice(from)))
            }
            0 => Err("ends too early"),
            _ => Err("has an unexpected character"),
        }
    }

    /// The text from an ASCII character up to here.
    fn slice(&self, from: usize) -> String {
        String::from_utf8_lossy(&self.text[from..self.at]).into_owned()
    }

    fn string(&mut self) -> Result<String, &'static str> {
        if !self.eat(b'"') {
            return Err("lacks a string");
        }
        let mut out = String::new();
        loop {
            let from = self.at;
            while !matches!(self.peek(), b'"' | b'\\' | 0..=0x1f) {
                self.at += 1;
            }
            out.push_str(&self.slice(from));
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Ok(out);
                }
                b'\\' => {
                    self.at += 1;
                    out.push(self.escaped()?);
                }
                _ => return Err("has a string without an end"),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, &'static str> {
        let c = self.peek();
        self.at += 1;
        Ok(match c {
            b'"' | b'\\' | b'/' => c as char,
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let mut v = self.hex()?;
                if (0xd800..0xdc00).contains(&v) && self.eat(b'\\') {
                    if !self.eat(b'u') {
                        return Err("has half of a surrogate pair");
                    }
                    let low = self.hex()?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return Err("has half of a surrogate pair");
                    }
                    v = 0x10000 + ((v - 0xd800) << 10) + (low - 0xdc00);
                }
                char::from_u32(v).unwrap_or('\u{fffd}')
            }
            _ => return Err("has an unknown escape"),
        })
    }

    fn hex(&mut self) -> Result<u32, &'static str> {
        let mut v = 0;
        for _ in 0..4 {
            v = v << 4 | (self.peek() as char).to_digit(16).ok_or("has a bad \\u")?;
            self.at += 1;
        }
        Ok(v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        let v = parse(br#" {"items": [{"a": "x\u00fc\ud83d\ude00\n"}, -1.5e3, true, null], "n": 7} "#).unwrap();
        assert_eq!(v["items"].items()[0]["a"].str(), "x\u{fc}\u{1f600}\n");
        assert_eq!(v["items"].items()[1], Value::Number("-1.5e3".into()));
        assert_eq!(v["n"].int(), Some(7));
        assert!(v["absent"]["deeper"].is_null());
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for text in ["", "{", "[1 2]", "\"", "\"\\x\"", "tru", "1 2", "{\"a\" 1}", "\"\\ud800\\n\"", "\"a\nb\""] {
            assert!(parse(text.as_bytes()).is_err(), "{}", text);
        }
        assert!(parse("[".repeat(1000).as_bytes()).is_err());
    }

    #[test]
    fn what_is_quoted_is_read_back() {
        let mut out = String::new();
        let text = "a\"\\\n\u{1}ü";
        quote(&mut out, text);
        assert_eq!(parse(out.as_bytes()).unwrap().str(), text);
    }
}
