//! The API servers of the operator's clusters, called as the user. Paths are the API
//! server's own; build them from request data with `path`.

use crate::abi::{Error, Origin, Pair, Request, Response};
use crate::{abi::code_of, escape, json, Result};
use std::borrow::Cow;

capability!(
    /// The capability itself: calls with URLs `kube://CLUSTER/PATH`.
    pub mod raw = "bulkhead:kube/v1"
);

/// A cluster by its name in the operator's configuration.
#[derive(Clone, Copy, Debug)]
pub struct Cluster<'a>(pub &'a str);

/// Joins segments to a path and escapes each, so that a name from a request cannot reach
/// another resource.
pub fn path(segments: &[&str]) -> String {
    let mut out = String::new();
    for s in segments {
        out.push('/');
        out.push_str(&escape(s));
    }
    out
}

impl<'a> Cluster<'a> {
    /// Makes one call and returns the answer whatever its status.
    pub fn fetch(&self, method: &str, path: &str, header: &[Pair], body: &[u8]) -> Result<Response> {
        let segments = path.split('?').next().unwrap_or("");
        let plain = |s: &str| !s.is_empty() && s != "." && s != "..";
        if !segments.starts_with('/') || !segments[1..].split('/').all(plain) {
            return Err(Error::new(400, format!("not a path of the API server: {:?}", path)));
        }
        let name = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if self.0.is_empty() || !self.0.bytes().all(name) {
            return Err(Error::new(400, format!("cluster {:?} is not a name", self.0)));
        }
        let mut r = Request::new(method, ["kube://", self.0, path].concat());
        r.header = header.to_vec();
        r.body = Cow::Borrowed(body);
        raw::fetch(&r)
    }

    /// Reads the object or collection at `path`. A status of 400 or more is an error with
    /// the API server's message.
    pub fn get(&self, path: &str) -> Result<json::Value> {
        let accept = [(Cow::Borrowed("Accept"), Cow::Borrowed("application/json"))];
        let resp = self.fetch("GET", path, &accept, &[])?;
        let value = json::parse(&resp.body);
        if resp.status >= 400 {
            let message = value.as_ref().map_or("", |v| v["message"].str()).to_string();
            return Err(Error {
                code: Cow::Borrowed(code_of(resp.status)),
                origin: Origin::Upstream,
                ..Error::new(resp.status, message)
            });
        }
        value.map_err(|e| Error::new(502, format!("the API server's answer is not JSON: {}", e)))
    }
}
