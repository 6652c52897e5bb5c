//! The conformance plugin of the Rust SDK. It does what sdk/conformance/plugin/main.go
//! does, route by route.

use bulkhead::abi::{self, FrameError, MessageKind};
use bulkhead::session::{self, Failure, Message, Session};
use bulkhead::{exec, helm, kube, log, Error, Request, Response, Result, Start, Stream};
use std::borrow::Cow;

bulkhead::plugin! {
    start: start,
    routes {
        "echo" => echo,
        "read" => read,
        "frames" => frames,
        "respond" => respond,
        "fill" => fill,
        "fail" => fail,
        "call" => call,
        "started" => started,
        "count" => count,
        "live" => live,
        "grow" => grow,
        "spin" => spin,
        "trap" => trap,
        "log" => write_log,
        "nothing" => nothing,
    }
    sessions { "talk" => talk, "splice" => splice, "events" => events }
}

// What the start leaves, and requests change. A plugin has one thread.
static mut STARTED: Vec<u8> = Vec::new();
static mut COUNT: u32 = 0;
static mut KEPT: Vec<u8> = Vec::new();

fn bytes(body: Vec<u8>) -> Result {
    Ok(Response::new(200, "application/octet-stream", body))
}

/// Appends a frame with its length before it.
fn frame(to: &mut Vec<u8>, f: &[u8]) {
    to.extend_from_slice(&(f.len() as u32).to_le_bytes());
    to.extend_from_slice(f);
}

fn start(s: &Start) -> Result<()> {
    let config = String::from_utf8_lossy(s.config());
    if config.contains("\"refuse\"") {
        return Err(Error::new(500, "the configuration asks to refuse"));
    }
    let mut started = Vec::new();
    let mut again = Vec::new();
    s.frame().encode(&mut again);
    frame(&mut started, &again);
    if config.contains("\"call\"") {
        let (_, reply) = outbound(&abi::Request::new("GET", "kube://dev/api/v1/pods"));
        frame(&mut started, &reply);
    }
    unsafe {
        STARTED = started;
        COUNT = 100;
        KEPT = vec![b'x'];
    }
    Ok(())
}

fn echo(r: &Request) -> Result {
    let mut body = Vec::new();
    r.frame().encode(&mut body);
    bytes(body)
}

fn read(r: &Request) -> Result {
    let left = if r.timeout_ms() > 0 { "some" } else { "none" };
    let lines = [
        r.method().to_string(),
        r.path().to_string(),
        r.raw_query().to_string(),
        r.query("a"),
        r.query("absent"),
        r.query_all("many").join(","),
        r.header("content-TYPE").to_string(),
        r.header("absent").to_string(),
        r.param("first").to_string(),
        r.param("second").to_string(),
        r.param("absent").to_string(),
        r.user().to_string(),
        r.name().to_string(),
        r.roles().join(","),
        r.teams().join(","),
        r.route().to_string(),
        r.action().to_string(),
        r.request_id().to_string(),
        r.namespaces().join(","),
        r.resource_groups().join(","),
        r.redact().join(","),
        left.to_string(),
        String::from_utf8_lossy(r.body()).into_owned(),
    ];
    Ok(Response::text(200, lines.join("\n")))
}

fn frames(r: &Request) -> Result {
    let mut out = Vec::new();
    let mut rest = r.body();
    while !rest.is_empty() {
        let n = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        let again = recode(&rest[4..4 + n]).unwrap_or_else(|e| ["!", e.field].concat().into_bytes());
        frame(&mut out, &again);
        rest = &rest[4 + n..];
    }
    bytes(out)
}

fn recode(f: &[u8]) -> core::result::Result<Vec<u8>, FrameError> {
    let mut out = Vec::new();
    match abi::kind_of(f)? {
        abi::KIND_REQUEST => abi::Request::decode(f)?.encode(&mut out),
        abi::KIND_RESPONSE => Response::decode(f)?.encode(&mut out),
        abi::KIND_ERROR => Error::decode(f)?.encode(&mut out),
        abi::KIND_START => abi::Start::decode(f)?.encode(&mut out),
        abi::KIND_MESSAGE => {
            let (kind, data) = abi::decode_message(f)?;
            abi::encode_message(&mut out, kind, data);
        }
        _ => return Err(FrameError { field: "kind", what: "is unknown" }),
    }
    Ok(out)
}

fn bad(e: FrameError) -> Error {
    Error::new(400, e.field)
}

fn respond(r: &Request) -> Result {
    Response::decode(r.body()).map_err(bad)
}

fn number(r: &Request, name: &str) -> usize {
    r.query(name).parse().unwrap_or(0)
}

fn headers(r: &Request) -> Vec<abi::Pair<'static>> {
    let pair = |name, value: String| (Cow::Borrowed(name), Cow::Owned(value));
    let mut list: Vec<_> = (0..number(r, "headers")).map(|_| pair("X-Many", "v".into())).collect();
    if number(r, "value") > 0 {
        list.push(pair("X-Long", "v".repeat(number(r, "value"))));
    }
    list
}

fn fill(r: &Request) -> Result {
    Ok(Response { status: number(r, "status") as u32, header: headers(r), body: vec![b'b'; number(r, "body")] })
}

fn fail(r: &Request) -> Result {
    let mut x = Error::decode(r.body()).map_err(bad)?;
    if number(r, "status") > 0 {
        x.status = number(r, "status") as u32;
    }
    Err(x)
}

fn call(r: &Request) -> Result {
    if r.query("on") == "helm" {
        return helm::fetch(&abi::Request::new("GET", "helm://dev/shop"));
    }
    let mut q = abi::Request::decode(r.body()).map_err(bad)?;
    q.header.extend(headers(r));
    q.url.to_mut().push_str(&"u".repeat(number(r, "url")));
    if number(r, "body") > 0 {
        q.body = Cow::Owned(vec![0; number(r, "body")]);
    }
    let (error, mut reply) = outbound(&q);
    if let (Some(e), false) = (error, r.query("pass").is_empty()) {
        return Err(e);
    }
    if !r.query("again").is_empty() {
        reply = outbound(&q).1;
    }
    bytes(reply)
}

/// Makes a call and returns the frame of its answer, too.
fn outbound(q: &abi::Request) -> (Option<Error>, Vec<u8>) {
    let mut reply = Vec::new();
    match kube::raw::fetch(q) {
        Ok(resp) => {
            resp.encode(&mut reply);
            (None, reply)
        }
        Err(mut e) => {
            if e.code.is_empty() {
                e.code = Cow::Borrowed(abi::code_of(e.status));
            }
            e.encode(&mut reply);
            (Some(e), reply)
        }
    }
}

fn started(_: &Request) -> Result {
    bytes(unsafe { STARTED.clone() })
}

fn count(_: &Request) -> Result {
    unsafe {
        COUNT += 1;
        KEPT.push(b'x');
        Ok(Response::text(200, format!("{} {}", COUNT, KEPT.len())))
    }
}

fn live(_: &Request) -> Result {
    let mut b = [0; 16];
    bulkhead::random(&mut b);
    let hex: String = b.iter().map(|v| format!("{:02x}", v)).collect();
    Ok(Response::text(200, format!("{} {}", bulkhead::now().as_nanos(), hex)))
}

fn grow(r: &Request) -> Result {
    let mut grown = vec![0u8; number(r, "bytes")];
    grown.iter_mut().step_by(4096).for_each(|b| *b = 1);
    let n = grown.len();
    unsafe { KEPT = grown };
    Ok(Response::text(200, n.to_string()))
}

fn spin(_: &Request) -> Result {
    loop {
        unsafe { std::ptr::write_volatile(std::ptr::addr_of_mut!(COUNT), COUNT.wrapping_add(1)) }
    }
}

fn trap(_: &Request) -> Result {
    panic!("trap was asked for")
}

fn write_log(r: &Request) -> Result {
    let write = match r.query("level").as_str() {
        "debug" => log::debug,
        "info" => log::info,
        "warn" => log::warn,
        _ => log::error,
    };
    write(&String::from_utf8_lossy(r.body()));
    Ok(Response::no_content())
}

fn nothing(_: &Request) -> Result {
    Ok(Response::no_content())
}

fn outcome<T>(result: core::result::Result<T, Failure>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(Failure::TimedOut) => "timed out",
        Err(Failure::Closed) => "closed",
        Err(Failure::Refused) => "refused",
        Err(_) => "invalid",
    }
}

/// Does what a text message says, and sends every other message back.
fn talk(r: &Request, s: &mut Session) -> Result<()> {
    if number(r, "refuse") > 0 {
        return Err(Error::new(number(r, "refuse") as u32, "the session is refused"));
    }
    session::done(loop {
        let said = match s.next(0) {
            Ok(Message::Text(text)) => text.to_string(),
            Ok(Message::Binary(data)) => {
                let data = data.to_vec();
                match s.send_binary(&data) {
                    Ok(()) => continue,
                    Err(e) => break Err(e),
                }
            }
            Err(e) => break Err(e),
        };
        let (word, rest) = said.split_once(' ').unwrap_or((&said, ""));
        let n: usize = rest.parse().unwrap_or(0);
        let answer = match word {
            "bye" => break Ok(()),
            "fail" => return Err(Error::new(n as u32, "failure was asked for")),
            "count" => unsafe {
                COUNT += 1;
                COUNT.to_string()
            },
            "idle" => ["idle ", outcome(s.next(n as u32))].concat(),
            "big" => match s.send_binary(&vec![0; n]) {
                Ok(()) => continue,
                Err(e) => break Err(e),
            },
            "garble" => ["garble ", outcome(s.send(MessageKind::Text, b"\xff"))].concat(),
            "splice" => ["splice ", outcome(s.splice(Stream(1)))].concat(),
            "close" => {
                let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
                if s.close(code.parse().unwrap_or(0), reason).is_ok() {
                    break Ok(());
                }
                "close invalid".to_string()
            }
            _ => said.clone(),
        };
        if let Err(e) = s.send_text(&answer) {
            break Err(e);
        }
    })
}

/// Opens as many streams as the query says and hands the client to the last.
fn splice(r: &Request, s: &mut Session) -> Result<()> {
    let mut stream = Stream(0);
    for _ in 0..number(r, "open").max(1) {
        stream = exec::open(&abi::Request::new("GET", "exec://dev/shop/web?command=sh"))?;
    }
    if number(r, "stream") > 0 {
        stream = Stream(number(r, "stream") as u32);
    }
    if !r.query("leave").is_empty() {
        return Err(Error::new(409, "left"));
    }
    let spliced = s.splice(stream);
    if spliced.is_err() {
        return Err(Error::new(409, ["splice ", outcome(spliced)].concat()));
    }
    if !r.query("after").is_empty() {
        log::warn(&["after splice: ", outcome(s.send_text("more"))].concat());
    }
    Ok(())
}

fn events(r: &Request, s: &mut Session) -> Result<()> {
    for i in 0..number(r, "n") {
        s.send_text(&format!("event {}", i))?;
    }
    Ok(())
}
