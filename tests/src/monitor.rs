//! The pages of a part, as those who watch over it read them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::process::PATIENCE;

/// The status and the body of a page.
///
/// # Panics
/// When it can't be had.
#[must_use]
pub fn page(at: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(at).unwrap_or_else(|error| panic!("nobody listens on {at}: {error}"));
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {at}\r\n\r\n").expect("a request is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer of text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

/// A number on the page `/metrics`, by its name and labels.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn metric(at: SocketAddr, name: &str) -> u64 {
    let (_, page) = page(at, "/metrics");
    let mut lines = page.lines().filter_map(|line| line.rsplit_once(' '));
    let (_, value) =
        lines.find(|(found, _)| *found == name).unwrap_or_else(|| panic!("no {name} in\n{page}"));
    value.parse().expect("a number")
}

/// Waits until `/readyz` has this status, and returns what it says.
///
/// # Panics
/// When it does not come to that.
pub fn wait_for(at: SocketAddr, status: u16) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        let (found, body) = page(at, "/readyz");
        if found == status {
            return body;
        }
        assert!(Instant::now() < until, "{at} is not {status} but {found}: {body}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
