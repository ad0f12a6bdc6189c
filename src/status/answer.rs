//! What is answered to which request.

use std::time::Instant;

use super::{Status, page};

/// What is asked for.
pub(super) struct HttpRequest {
    /// Whether only the answer's head is.
    pub(super) head: bool,
    pub(super) get: bool,
    pub(super) path: String,
}

/// An answer.
pub(super) struct Response {
    status: &'static str,
    content_type: &'static str,
    /// More lines of its head, each with its end.
    headers: String,
    body: String,
}

/// The answer to a request, as of now.
pub(super) fn answer(request: &HttpRequest, status: &Status) -> Response {
    let now = Instant::now();
    status.look(now);
    match request.path.as_str() {
        _ if !request.head && !request.get => {
            let response = Response::text("405 Method Not Allowed", "only GET and HEAD");
            Response { headers: "Allow: GET, HEAD\r\n".to_owned(), ..response }
        }
        "/" => {
            let (policy, html) = (page::policy(), page::html(&status.report(now)));
            Response {
                headers: format!("Content-Security-Policy: {policy}\r\n"),
                ..Response::of("text/html; charset=utf-8", html)
            }
        }
        "/status.json" => Response::of("application/json", status.report(now).to_json()),
        "/metrics" => Response::of(prometheus::TEXT_FORMAT, status.metrics_text()),
        "/healthz" => verdict(status.ills(now).join("\n")),
        "/readyz" => verdict(status.unready(now).unwrap_or_default()),
        _ => {
            let pages = "there are /, /status.json, /metrics, /healthz and /readyz";
            Response::text("404 Not Found", pages)
        }
    }
}

/// Yes, or what stands against it.
fn verdict(against: String) -> Response {
    match against.is_empty() {
        true => Response::text("200 OK", "ok"),
        false => Response::text("503 Service Unavailable", &against),
    }
}

impl Response {
    /// One of a few words.
    pub(super) fn text(status: &'static str, body: &str) -> Self {
        Self { status, ..Self::of("text/plain; charset=utf-8", format!("{body}\n")) }
    }

    fn of(content_type: &'static str, body: String) -> Self {
        Self { status: "200 OK", content_type, headers: String::new(), body }
    }

    /// The answer as it is sent; to HEAD without its body.
    pub(super) fn to_http(&self, head: bool) -> String {
        let Self { status, content_type, headers, body } = self;
        let length = body.len();
        let body = if head { "" } else { body };
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
             {headers}Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
             Connection: close\r\n\r\n{body}"
        )
    }
}
