use bulkhead::{Request, Response, Result};

bulkhead::plugin! {
    routes { "hello" => hello }
}

fn hello(r: &Request) -> Result {
    Ok(Response::text(200, format!("hello {}", r.user())))
}
