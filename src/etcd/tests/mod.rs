//! The client against servers that are no etcd.

mod foreign;
mod hostile;

use std::net::TcpListener;
use std::time::Duration;

use super::Options;

fn options(endpoints: &[&str]) -> Options {
    Options {
        endpoints: endpoints.iter().map(|&endpoint| endpoint.to_owned()).collect(),
        username: None,
        password: None,
        trusted_ca: None,
        identity: None,
        dial_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(10),
    }
}

/// A port that nobody listens at once this is dropped.
fn free_port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// What an etcd answers that is asked who it is; `None` for other questions.
fn identity(request: &[u8]) -> Option<String> {
    let body = match request {
        request if request.starts_with(b"GET /version ") => "{\"etcdserver\":\"3.5.0\"}",
        request if request.ends_with(b"\r\n\r\n{}") => "{\"header\":{\"cluster_id\":\"5\"}}",
        _ => return None,
    };
    Some(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}
