//! Frames of the ABI, version 1, as sdk/abi/ABI.md describes them. Plugins use the types
//! of the crate's root; this module is for tools and for what the rest leaves out.

use std::borrow::Cow;

/// The first byte of every frame.
pub const VERSION: u8 = 1;

/// Limits of every frame, in bytes and counts.
pub const MAX_FRAME: usize = 16 << 20;
pub const MAX_BODY: usize = 8 << 20;
pub const MAX_STRING: usize = 64 << 10;
pub const MAX_HEADERS: usize = 256;
pub const MAX_LIST: usize = 4096;

pub const KIND_REQUEST: u8 = 1;
pub const KIND_RESPONSE: u8 = 2;
pub const KIND_ERROR: u8 = 3;
pub const KIND_START: u8 = 4;
pub const KIND_MESSAGE: u8 = 5;

/// The header of an `open`'s answer that names the stream.
pub const HEADER_STREAM: &str = "Bulkhead-Stream";

const HEADER_SIZE: usize = 8;

/// What is wrong with a frame. `field` is its name in ABI.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameError {
    pub field: &'static str,
    pub what: &'static str,
}

impl FrameError {
    pub(crate) fn text(&self) -> String {
        ["abi frame: ", self.field, ": ", self.what].concat()
    }
}

/// A header or parameter: name and value. Header names compare without case.
pub type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// A request frame. Its parts are of the frame's own bytes.
#[derive(Clone, Debug, Default)]
pub struct Request<'a> {
    pub method: Cow<'a, str>,
    pub url: Cow<'a, str>,
    pub header: Vec<Pair<'a>>,
    pub body: Cow<'a, [u8]>,
    /// Present on every inbound frame, refused on an outbound one.
    pub host: Option<HostSection<'a>>,
}

/// The part of an inbound request that only the host writes.
#[derive(Clone, Debug, Default)]
pub struct HostSection<'a> {
    pub request_id: Cow<'a, str>,
    pub user: Cow<'a, str>,
    pub name: Cow<'a, str>,
    pub roles: Vec<Cow<'a, str>>,
    pub teams: Vec<Cow<'a, str>>,
    pub route: Cow<'a, str>,
    pub action: Cow<'a, str>,
    pub params: Vec<Pair<'a>>,
    pub timeout_ms: i64,
    pub namespaces: Vec<Cow<'a, str>>,
    pub groups: Vec<Cow<'a, str>>,
    pub redact: Vec<Cow<'a, str>>,
}

/// Answers a request. `status` is an HTTP status, 200 to 599.
#[derive(Clone, Debug, Default)]
pub struct Response {
    pub status: u32,
    pub header: Vec<Pair<'static>>,
    pub body: Vec<u8>,
}

/// Who refused or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Plugin = 0,
    Policy = 1,
    Grant = 2,
    Host = 3,
    Upstream = 4,
}

/// A refusal or failure, of this plugin or of a capability. `status` is the HTTP status
/// that the client gets if a handler returns it: 400 to 599, anything else becomes 500.
/// An empty `code` is filled in from it.
#[derive(Clone, Debug)]
pub struct Error {
    pub code: Cow<'static, str>,
    pub origin: Origin,
    pub status: u32,
    pub retryable: bool,
    pub message: Cow<'static, str>,
    pub detail: Cow<'static, str>,
}

/// What the host says once, before the first request.
#[derive(Clone, Debug, Default)]
pub struct Start<'a> {
    pub abi: u32,
    /// The plugin's name in the operator's configuration.
    pub instance: Cow<'a, str>,
    /// The operator's config for the plugin, JSON.
    pub config: Cow<'a, [u8]>,
    /// Optional capabilities that were not granted.
    pub denied: Vec<Cow<'a, str>>,
}

/// One message of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    Text = 1,
    Binary = 2,
    Close = 3,
    Idle = 4,
    /// To an event stream: a line with its name, a line with its id, and its text.
    Event = 5,
}

/// The code that goes with a status when nothing more particular is known.
pub fn code_of(status: u32) -> &'static str {
    match status {
        401 => "unauthenticated",
        403 => "forbidden",
        404 => "not_found",
        409 => "conflict",
        413 => "too_large",
        422 => "unprocessable",
        429 => "limited",
        502 => "upstream",
        503 => "unavailable",
        504 => "timeout",
        400..=499 => "invalid",
        _ => "internal",
    }
}

/// The kind of a frame, after a look at its header.
pub fn kind_of(frame: &[u8]) -> Result<u8, FrameError> {
    let bad = |field, what| Err(FrameError { field, what });
    if frame.len() < HEADER_SIZE {
        return bad("header", "is shorter than 8 bytes");
    }
    if frame.len() > MAX_FRAME {
        return bad("header", "is of a frame over 16 MiB");
    }
    if frame[0] != VERSION {
        return bad("version", "is not 1");
    }
    if frame[2] != 0 || frame[3] != 0 {
        return bad("reserved", "is not zero");
    }
    if u32_at(frame, 4) as usize != frame.len() {
        return bad("length", "differs from the frame's own");
    }
    Ok(frame[1])
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

/// Reads fields. The first error sticks; reads after it return nothing.
struct Decoder<'a> {
    b: &'a [u8],
    at: usize,
    error: Option<FrameError>,
}

impl<'a> Decoder<'a> {
    fn open(frame: &'a [u8], want: u8) -> Result<Decoder<'a>, FrameError> {
        if kind_of(frame)? != want {
            return Err(FrameError { field: "kind", what: "is another than the expected one" });
        }
        Ok(Decoder { b: frame, at: HEADER_SIZE, error: None })
    }

    #[cold]
    fn fail(&mut self, field: &'static str, what: &'static str) {
        if self.error.is_none() {
            self.error = Some(FrameError { field, what });
        }
    }

    fn take(&mut self, field: &'static str, n: usize) -> &'a [u8] {
        if n > self.b.len() - self.at {
            self.fail(field, "runs past the end of the frame");
        }
        if self.error.is_some() {
            return &[];
        }
        let from = self.at;
        self.at += n;
        &self.b[from..self.at]
    }

    fn u8(&mut self, field: &'static str) -> u8 {
        self.take(field, 1).first().copied().unwrap_or(0)
    }

    fn bool(&mut self, field: &'static str) -> bool {
        let v = self.u8(field);
        if v > 1 {
            self.fail(field, "is neither 0 nor 1");
        }
        v == 1
    }

    fn u32(&mut self, field: &'static str) -> u32 {
        match self.take(field, 4) {
            [] => 0,
            b => u32_at(b, 0),
        }
    }

    fn i64(&mut self, field: &'static str) -> i64 {
        match self.take(field, 8) {
            [] => 0,
            b => (u32_at(b, 0) as u64 | (u32_at(b, 4) as u64) << 32) as i64,
        }
    }

    fn size(&mut self, field: &'static str, limit: usize) -> usize {
        let n = self.u32(field) as usize;
        if n > limit {
            self.fail(field, "is over the limit");
            return 0;
        }
        n
    }

    fn str(&mut self, field: &'static str) -> Cow<'a, str> {
        let n = self.size(field, MAX_STRING);
        String::from_utf8_lossy(self.take(field, n))
    }

    fn raw(&mut self, field: &'static str) -> Cow<'a, [u8]> {
        let n = self.size(field, MAX_BODY);
        Cow::Borrowed(self.take(field, n))
    }

    /// A list's length, which so many elements of at least `least` bytes can follow.
    fn count(&mut self, field: &'static str, limit: usize, least: usize) -> usize {
        let n = self.size(field, limit);
        if n * least > self.b.len() - self.at {
            self.fail(field, "counts more elements than the frame holds");
            return 0;
        }
        n
    }

    fn strs(&mut self, field: &'static str) -> Vec<Cow<'a, str>> {
        let n = self.count(field, MAX_LIST, 4);
        let mut list = Vec::with_capacity(n);
        for _ in 0..n {
            list.push(self.str(field));
        }
        list
    }

    fn pairs(&mut self, field: &'static str, limit: usize) -> Vec<Pair<'a>> {
        let n = self.count(field, limit, 8);
        let mut list = Vec::with_capacity(n);
        for _ in 0..n {
            list.push((self.str(field), self.str(field)));
        }
        list
    }

    fn status(&mut self) -> u32 {
        let n = self.u32("status");
        if self.error.is_none() && !(100..=599).contains(&n) {
            self.fail("status", "is not within 100 to 599");
        }
        n
    }

    fn done<T>(mut self, v: T) -> Result<T, FrameError> {
        if self.at != self.b.len() {
            self.fail("length", "is more than that of the fields");
        }
        match self.error {
            Some(e) => Err(e),
            None => Ok(v),
        }
    }
}

impl<'a> Request<'a> {
    pub fn decode(frame: &'a [u8]) -> Result<Request<'a>, FrameError> {
        let mut d = Decoder::open(frame, KIND_REQUEST)?;
        let mut r = Request {
            method: d.str("method"),
            url: d.str("url"),
            header: d.pairs("header", MAX_HEADERS),
            body: d.raw("body"),
            host: None,
        };
        if d.bool("host section") {
            r.host = Some(HostSection {
                request_id: d.str("request id"),
                user: d.str("user"),
                name: d.str("name"),
                roles: d.strs("roles"),
                teams: d.strs("teams"),
                route: d.str("route"),
                action: d.str("action"),
                params: d.pairs("params", MAX_LIST),
                timeout_ms: d.i64("timeout"),
                namespaces: d.strs("namespaces"),
                groups: d.strs("groups"),
                redact: d.strs("redact"),
            });
        }
        d.done(r)
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = begin(out, KIND_REQUEST);
        put(out, self.method.as_bytes());
        put(out, self.url.as_bytes());
        put_pairs(out, &self.header);
        put(out, &self.body);
        out.push(self.host.is_some() as u8);
        if let Some(h) = &self.host {
            for s in [&h.request_id, &h.user, &h.name] {
                put(out, s.as_bytes());
            }
            put_strs(out, &h.roles);
            put_strs(out, &h.teams);
            put(out, h.route.as_bytes());
            put(out, h.action.as_bytes());
            put_pairs(out, &h.params);
            out.extend_from_slice(&h.timeout_ms.to_le_bytes());
            put_strs(out, &h.namespaces);
            put_strs(out, &h.groups);
            put_strs(out, &h.redact);
        }
        finish(out, start);
    }
}

impl Response {
    pub fn decode(frame: &[u8]) -> Result<Response, FrameError> {
        let mut d = Decoder::open(frame, KIND_RESPONSE)?;
        let status = d.status();
        let header = d.pairs("header", MAX_HEADERS);
        let body = d.raw("body");
        let owned = |s: Cow<str>| Cow::Owned(s.into_owned());
        let r = Response {
            status,
            header: header.into_iter().map(|(n, v)| (owned(n), owned(v))).collect(),
            body: body.into_owned(),
        };
        d.done(r)
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = begin(out, KIND_RESPONSE);
        put_u32(out, self.status);
        put_pairs(out, &self.header);
        put(out, &self.body);
        finish(out, start);
    }
}

impl Error {
    pub fn decode(frame: &[u8]) -> Result<Error, FrameError> {
        let mut d = Decoder::open(frame, KIND_ERROR)?;
        let owned = |s: Cow<str>| Cow::Owned(s.into_owned());
        let code = owned(d.str("code"));
        let origin = d.u8("origin");
        let x = Error {
            code,
            origin: match origin {
                1 => Origin::Policy,
                2 => Origin::Grant,
                3 => Origin::Host,
                4 => Origin::Upstream,
                _ => Origin::Plugin,
            },
            status: d.status(),
            retryable: d.bool("flags"),
            message: owned(d.str("message")),
            detail: owned(d.str("detail")),
        };
        if d.error.is_none() && x.status < 400 {
            d.fail("status", "is that of no error");
        }
        if origin > Origin::Upstream as u8 {
            d.fail("origin", "is unknown");
        }
        d.done(x)
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = begin(out, KIND_ERROR);
        put(out, self.code.as_bytes());
        out.push(self.origin as u8);
        put_u32(out, self.status);
        out.push(self.retryable as u8);
        put(out, cut(&self.message, MAX_STRING).as_bytes());
        put(out, cut(&self.detail, MAX_STRING).as_bytes());
        finish(out, start);
    }
}

impl<'a> Start<'a> {
    pub fn decode(frame: &'a [u8]) -> Result<Start<'a>, FrameError> {
        let mut d = Decoder::open(frame, KIND_START)?;
        let s = Start {
            abi: d.u32("abi"),
            instance: d.str("instance"),
            config: d.raw("config"),
            denied: d.strs("denied"),
        };
        d.done(s)
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = begin(out, KIND_START);
        put_u32(out, self.abi);
        put(out, self.instance.as_bytes());
        put(out, &self.config);
        put_strs(out, &self.denied);
        finish(out, start);
    }
}

/// Decodes a message's frame.
pub fn decode_message(frame: &[u8]) -> Result<(MessageKind, &[u8]), FrameError> {
    let mut d = Decoder::open(frame, KIND_MESSAGE)?;
    let kind = d.u8("message kind");
    let n = d.size("data", MAX_BODY);
    let data = d.take("data", n);
    let kind = match kind {
        1 => MessageKind::Text,
        2 => MessageKind::Binary,
        3 => MessageKind::Close,
        4 => MessageKind::Idle,
        5 => MessageKind::Event,
        _ => {
            d.fail("message kind", "is unknown");
            MessageKind::Idle
        }
    };
    d.done((kind, data))
}

/// Appends a message's frame.
pub fn encode_message(out: &mut Vec<u8>, kind: MessageKind, data: &[u8]) {
    let start = begin(out, KIND_MESSAGE);
    out.push(kind as u8);
    put(out, data);
    finish(out, start);
}

/// Decodes what a capability answered: a response, or an error.
pub fn decode_reply(frame: &[u8]) -> Result<Response, Error> {
    let bad = |e: FrameError| host_fault(&e);
    if kind_of(frame).map_err(bad)? == KIND_ERROR {
        return Err(Error::decode(frame).unwrap_or_else(|e| host_fault(&e)));
    }
    Response::decode(frame).map_err(bad)
}

pub(crate) fn host_fault(e: &FrameError) -> Error {
    Error {
        code: Cow::Borrowed("internal"),
        origin: Origin::Host,
        status: 500,
        retryable: false,
        message: Cow::Owned(e.text()),
        detail: Cow::Borrowed(""),
    }
}

/// The longest beginning of s of at most n bytes that ends with a character.
pub(crate) fn cut(s: &str, n: usize) -> &str {
    let mut n = n.min(s.len());
    while !s.is_char_boundary(n) {
        n -= 1;
    }
    &s[..n]
}

fn begin(out: &mut Vec<u8>, kind: u8) -> usize {
    out.extend_from_slice(&[VERSION, kind, 0, 0, 0, 0, 0, 0]);
    out.len() - HEADER_SIZE
}

fn finish(out: &mut [u8], start: usize) {
    let n = (out.len() - start) as u32;
    out[start + 4..start + 8].copy_from_slice(&n.to_le_bytes());
}

fn put_u32(out: &mut Vec<u8>, v: u32) {
    out.extend_from_slice(&v.to_le_bytes());
}

fn put(out: &mut Vec<u8>, b: &[u8]) {
    put_u32(out, b.len() as u32);
    out.extend_from_slice(b);
}

fn put_strs(out: &mut Vec<u8>, list: &[Cow<str>]) {
    put_u32(out, list.len() as u32);
    for s in list {
        put(out, s.as_bytes());
    }
}

fn put_pairs(out: &mut Vec<u8>, list: &[Pair]) {
    put_u32(out, list.len() as u32);
    for (name, value) in list {
        put(out, name.as_bytes());
        put(out, value.as_bytes());
    }
}
