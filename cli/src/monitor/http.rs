//! As much of HTTP as the pages need: one request a connection, of bounded length, within bounded time, and a bounded
//! number of them at once, since each is a descriptor that an allocation could have had.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::Monitor;

/// How many are served at once; others wait.
const MOST: usize = 16;
/// How long a request and its answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest request, with its headers.
const LONGEST: usize = 8 << 10;
/// How long to wait after the system has given no connection.
const REST: Duration = Duration::from_millis(200);

/// The media type of OpenMetrics (its §4.1).
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// What is answered.
struct Answer {
    status: &'static str,
    kind: &'static str,
    body: String,
}

/// Serves for ever.
pub(super) async fn serve(listener: TcpListener, monitor: Monitor) {
    let room = Arc::new(Semaphore::new(MOST));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(REST).await;
            continue;
        };
        let monitor = monitor.clone();
        tokio::spawn(async move {
            // Who asks too slowly, or goes away, gets nothing.
            let _ = tokio::time::timeout(PATIENCE, converse(stream, &monitor)).await;
            drop(place);
        });
    }
}

async fn converse(mut stream: TcpStream, monitor: &Monitor) -> io::Result<()> {
    let mut request = Vec::new();
    let whole = |request: &[u8]| request.windows(4).any(|window| window == b"\r\n\r\n");
    while !whole(&request) && request.len() < LONGEST {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let (answer, body) = answer(&request, whole(&request), monitor);
    let Answer { status, kind, body: text } = answer;
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
         connection: close\r\n\r\n",
        text.len()
    );
    stream.write_all(head.as_bytes()).await?;
    if body {
        stream.write_all(text.as_bytes()).await?;
    }
    stream.shutdown().await?;
    // What was sent beyond the request is read, or the system would take the answer back.
    while stream.read_buf(&mut request).await? > 0 {
        request.clear();
    }
    Ok(())
}

/// The answer, and whether its body is sent.
fn answer(request: &[u8], whole: bool, monitor: &Monitor) -> (Answer, bool) {
    let plain = |status: &'static str| Answer { status, kind: TEXT, body: format!("{status}\n") };
    if !whole {
        return (plain("431 Request Header Fields Too Large"), true);
    }
    let line = request.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut words = std::str::from_utf8(line).unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return (plain("400 Bad Request"), true);
    };
    if !version.starts_with("HTTP/1.") {
        return (plain("400 Bad Request"), true);
    }
    match method {
        "GET" => (page(target, monitor), true),
        "HEAD" => (page(target, monitor), false),
        _ => (plain("405 Method Not Allowed"), true),
    }
}

fn page(target: &str, monitor: &Monitor) -> Answer {
    let path = target.split('?').next().unwrap_or_default();
    let ok = |kind, body| Answer { status: "200 OK", kind, body };
    match path {
        "/healthz" => ok(TEXT, "ok\n".into()),
        "/readyz" => match monitor.readiness() {
            (true, body) => ok(JSON, body),
            (false, body) => Answer { status: "503 Service Unavailable", kind: JSON, body },
        },
        "/metrics" => match monitor.metrics() {
            Ok(body) => ok(OPENMETRICS, body),
            Err(_) => Answer { status: "500 Internal Server Error", kind: TEXT, body: String::new() },
        },
        _ => Answer { status: "404 Not Found", kind: TEXT, body: "/healthz /readyz /metrics\n".into() },
    }
}
