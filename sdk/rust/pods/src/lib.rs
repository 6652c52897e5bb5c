//! Lists the names of a namespace's pods, as the user.

use bulkhead::{json, kube, Request, Response, Result};

bulkhead::plugin! {
    routes { "list" => list }
}

fn list(r: &Request) -> Result {
    let path = kube::path(&["api", "v1", "namespaces", &r.query("namespace"), "pods"]);
    let pods = kube::Cluster(&r.query("cluster")).get(&path)?; // an error says who refused
    let mut out = String::from("[");
    for pod in pods["items"].items() {
        if out.len() > 1 {
            out.push(',');
        }
        json::quote(&mut out, pod["metadata"]["name"].str());
    }
    Ok(Response::json(200, out + "]"))
}
