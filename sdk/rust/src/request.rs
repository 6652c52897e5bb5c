//! What handlers see of a request, and what they answer.

use crate::abi::{self, HostSection};
use std::borrow::Cow;

pub use crate::abi::Response;

/// One authenticated, authorized request.
#[derive(Clone, Debug)]
pub struct Request<'a>(pub(crate) abi::Request<'a>);

impl<'a> Request<'a> {
    /// A request as the host would send it, for tests of handlers.
    pub fn from_frame(mut r: abi::Request<'a>) -> Request<'a> {
        r.host.get_or_insert_with(HostSection::default);
        Request(r)
    }

    /// The frame's contents.
    pub fn frame(&self) -> &abi::Request<'a> {
        &self.0
    }

    fn host(&self) -> &HostSection<'a> {
        self.0.host.as_ref().expect("an inbound request has a host section")
    }

    /// The HTTP method, in upper case.
    pub fn method(&self) -> &str {
        &self.0.method
    }

    /// The path, without the query.
    pub fn path(&self) -> &str {
        split(&self.0.url).0
    }

    /// The query as it was sent, without the question mark.
    pub fn raw_query(&self) -> &str {
        split(&self.0.url).1
    }

    /// The first value of a query parameter, decoded; empty if there is none. Parts that
    /// are malformed are left out.
    pub fn query(&self, name: &str) -> String {
        self.query_all(name).into_iter().next().unwrap_or_default()
    }

    /// All values of a query parameter.
    pub fn query_all(&self, name: &str) -> Vec<String> {
        let parts = self.raw_query().split('&').filter(|p| !p.is_empty() && !p.contains(';'));
        parts
            .filter_map(|part| {
                let (key, value) = part.split_once('=').unwrap_or((part, ""));
                if unescape(key)? == name {
                    unescape(value)
                } else {
                    None
                }
            })
            .collect()
    }

    /// The first value of a header, compared without case; empty if there is none.
    /// Credentials never reach a plugin.
    pub fn header(&self, name: &str) -> &str {
        let mut all = self.0.header.iter();
        all.find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or("", |(_, v)| v)
    }

    /// A parameter of the route's path; empty if it has no such.
    pub fn param(&self, name: &str) -> &str {
        self.host().params.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }

    /// The body. The host has bounded it.
    pub fn body(&self) -> &[u8] {
        &self.0.body
    }

    /// The user's id, by which policy and audit know the user. Never empty.
    pub fn user(&self) -> &str {
        &self.host().user
    }

    /// The user's display name; may be empty.
    pub fn name(&self) -> &str {
        &self.host().name
    }

    pub fn roles(&self) -> &[Cow<'a, str>] {
        &self.host().roles
    }

    pub fn teams(&self) -> &[Cow<'a, str>] {
        &self.host().teams
    }

    /// The route's name in the manifest.
    pub fn route(&self) -> &str {
        &self.host().route
    }

    /// What policy allowed, as PLUGIN:ACTION.
    pub fn action(&self) -> &str {
        &self.host().action
    }

    /// Names the request in logs and error bodies.
    pub fn request_id(&self) -> &str {
        &self.host().request_id
    }

    /// The namespaces that the answer may show; empty: no restriction. The host enforces
    /// it at every capability call.
    pub fn namespaces(&self) -> &[Cow<'a, str>] {
        &self.host().namespaces
    }

    /// The resource groups that the answer may show; empty: no restriction.
    pub fn resource_groups(&self) -> &[Cow<'a, str>] {
        &self.host().groups
    }

    /// What the answer should leave out.
    pub fn redact(&self) -> &[Cow<'a, str>] {
        &self.host().redact
    }

    /// Milliseconds that were left until the deadline when the request came.
    pub fn timeout_ms(&self) -> i64 {
        self.host().timeout_ms
    }
}

fn split(url: &str) -> (&str, &str) {
    url.split_once('?').unwrap_or((url, ""))
}

/// Decodes a query's part; None if it is malformed.
fn unescape(s: &str) -> Option<String> {
    let mut out = Vec::with_capacity(s.len());
    let mut rest = s.bytes();
    while let Some(c) = rest.next() {
        match c {
            b'+' => out.push(b' '),
            b'%' => {
                let digit = |c: Option<u8>| (c? as char).to_digit(16);
                out.push((digit(rest.next())? << 4 | digit(rest.next())?) as u8);
            }
            _ => out.push(c),
        }
    }
    Some(String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

/// Escapes a string from a request so that it is one segment of a path or one value of a
/// query.
pub fn escape(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    for b in s.bytes() {
        if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) {
            out.push(b as char);
        } else {
            const HEX: &[u8] = b"0123456789ABCDEF";
            out.push('%');
            out.push(HEX[(b >> 4) as usize] as char);
            out.push(HEX[(b & 15) as usize] as char);
        }
    }
    out
}

impl Response {
    /// An answer with a body of the given content type.
    pub fn new(status: u32, content_type: impl Into<Cow<'static, str>>, body: impl Into<Vec<u8>>) -> Response {
        Response { status, header: vec![(Cow::Borrowed("Content-Type"), content_type.into())], body: body.into() }
    }

    /// An answer in plain text.
    pub fn text(status: u32, text: impl Into<String>) -> Response {
        Response::new(status, "text/plain; charset=utf-8", text.into())
    }

    /// An answer with text that is JSON.
    pub fn json(status: u32, json: impl Into<String>) -> Response {
        Response::new(status, "application/json", json.into())
    }

    /// 204, without a body.
    pub fn no_content() -> Response {
        Response { status: 204, header: Vec::new(), body: Vec::new() }
    }

    /// Adds a header. ABI.md lists those that reach the client.
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, str>>) -> Response {
        self.header.push((name.into(), value.into()));
        self
    }
}

/// What the host says once, before the first request.
pub struct Start<'a>(pub(crate) abi::Start<'a>);

impl<'a> Start<'a> {
    /// The plugin's name in the operator's configuration.
    pub fn instance(&self) -> &str {
        &self.0.instance
    }

    /// The operator's `config` for the plugin, JSON.
    pub fn config(&self) -> &[u8] {
        &self.0.config
    }

    /// Whether an optional capability was not granted. Calls of it are refused.
    pub fn denied(&self, capability: &str) -> bool {
        self.0.denied.iter().any(|d| d == capability)
    }

    /// The frame's contents.
    pub fn frame(&self) -> &abi::Start<'a> {
        &self.0
    }
}
