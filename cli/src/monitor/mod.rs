//! What a long-running part shows to those who watch over it, over HTTP on an address of this machine.
//!
//! | page | what it says |
//! | --- | --- |
//! | `/healthz` | 200: the process lives |
//! | `/readyz` | 200 when the part serves, 503 with the reasons when it does not |
//! | `/metrics` | counters and gauges in the text format of OpenMetrics; without names of users and addresses |
//!
//! The part tells a [`Monitor`] what it lacks and gives it something to look at; the pages are made when they are asked
//! for, from what the part counts anyway.

mod gateway;
mod http;
mod page;
mod relay;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;
use tokio::net::TcpListener;

use crate::addresses;
use crate::exit::{Exit, Failure};

pub(crate) use page::Page;

/// Where a relay is monitored when nothing is said.
pub(crate) const RELAY: u16 = 9478;
/// Where a gateway is.
pub(crate) const GATEWAY: u16 = 9479;

/// `--monitor-listen`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listen {
    /// There are no pages.
    None,
    /// They are there.
    At(SocketAddr),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" { Ok(Self::None) } else { addresses::parse(text).map(Self::At) }
    }
}

/// What the pages are about.
pub(crate) trait Subject: Send + Sync + 'static {
    /// Why it does not serve, as far as it shows that by itself.
    fn lacks(&self) -> Vec<String>;

    /// Writes its numbers down.
    ///
    /// # Errors
    /// As the page has them.
    fn measure(&self, page: &mut Page<'_>) -> fmt::Result;
}

/// The pages of one part.
#[derive(Clone)]
pub(crate) struct Monitor(Arc<Inner>);

struct Inner {
    part: &'static str,
    lacking: Mutex<BTreeMap<&'static str, String>>,
    subject: Mutex<Option<Arc<dyn Subject>>>,
}

impl Monitor {
    /// The pages of `part`, which has not begun to serve.
    pub(crate) fn new(part: &'static str) -> Self {
        let lacking = BTreeMap::from([(part, "it has not begun to serve".to_owned())]);
        Self(Arc::new(Inner { part, lacking: Mutex::new(lacking), subject: Mutex::default() }))
    }

    /// Shows the pages from now on: where it is said, or else at `default` of this machine, unless that is taken.
    ///
    /// # Errors
    /// The address that was said can't be had.
    pub(crate) async fn open(&self, listen: Option<Listen>, default: u16) -> Result<(), Failure> {
        let address = match listen {
            Some(Listen::None) => return Ok(()),
            Some(Listen::At(address)) => address,
            None => SocketAddr::from((Ipv4Addr::LOCALHOST, default)),
        };
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let address = listener.local_addr().unwrap_or(address);
                tracing::info!("monitored at http://{address}/metrics");
                if !address.ip().is_loopback() {
                    tracing::warn!("other machines may reach {address}, and it asks nobody who they are");
                }
                tokio::spawn(http::serve(listener, self.clone(), http::PATIENCE));
                Ok(())
            }
            Err(error) if listen.is_none() => {
                tracing::warn!("there is no monitoring: {address} can't be listened on: {error}");
                Ok(())
            }
            Err(error) => {
                let what = format!("--monitor-listen {address} can't be listened on: {error}");
                Err(Failure::new(Exit::Address, what).next("name another address, or none"))
            }
        }
    }

    /// The part serves: `subject` tells how.
    pub(crate) fn serves(&self, subject: impl Subject) {
        *locked(&self.0.subject) = Some(Arc::new(subject));
        self.has(self.0.part);
    }

    /// `what` does not work, for this reason, until it is said to work again.
    pub(crate) fn lacks(&self, what: &'static str, reason: impl Into<String>) {
        locked(&self.0.lacking).insert(what, reason.into());
    }

    /// `what` works.
    pub(crate) fn has(&self, what: &'static str) {
        locked(&self.0.lacking).remove(what);
    }

    /// Why the part does not serve; nothing where it does.
    fn reasons(&self) -> Vec<String> {
        let lacking = locked(&self.0.lacking);
        let mut reasons: Vec<_> = lacking.iter().map(|(what, reason)| format!("{what}: {reason}")).collect();
        drop(lacking);
        let subject = locked(&self.0.subject).clone();
        reasons.extend(subject.iter().flat_map(|subject| subject.lacks()));
        reasons
    }

    /// `/readyz`, and whether it is good news.
    fn readiness(&self) -> (bool, String) {
        let reasons = self.reasons();
        (reasons.is_empty(), json!({ "ready": reasons.is_empty(), "reasons": reasons }).to_string())
    }

    /// `/metrics`.
    fn metrics(&self) -> Result<String, fmt::Error> {
        let ready = self.reasons().is_empty();
        let subject = locked(&self.0.subject).clone();
        page::write(self.0.part, ready, subject)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    struct Example {
        healthy: bool,
    }

    impl Subject for Example {
        fn lacks(&self) -> Vec<String> {
            if self.healthy { Vec::new() } else { vec!["thread: it has ended".into()] }
        }

        fn measure(&self, page: &mut Page<'_>) -> fmt::Result {
            page.counter("example_things", "Things", 7)?;
            page.counters("example_drops", "Drops", "reason", [("Full", 1), ("NotThere", 2)])?;
            page.gauge("example_now", "Now", 3)
        }
    }

    async fn listening(monitor: &Monitor) -> SocketAddr {
        patient(monitor, http::PATIENCE).await
    }

    async fn patient(monitor: &Monitor, patience: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(http::serve(listener, monitor.clone(), patience));
        address
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn a_part_is_ready_when_it_lacks_nothing() {
        let monitor = Monitor::new("relay");
        let address = listening(&monitor).await;
        let ready = async || ask(address, "GET /readyz HTTP/1.1\r\n\r\n").await;
        let before = ready().await;
        assert!(before.starts_with("HTTP/1.1 503 ") && before.contains("has not begun"), "{before}");
        monitor.serves(Example { healthy: true });
        assert!(ready().await.starts_with("HTTP/1.1 200 "));
        monitor.lacks("platform", "it was never reached");
        let answer = ready().await;
        assert!(
            answer.contains(r#"{"ready":false,"reasons":["platform: it was never reached"]}"#),
            "{answer}"
        );
        monitor.has("platform");
        monitor.serves(Example { healthy: false });
        assert!(ready().await.contains("thread: it has ended"));
        let alive = ask(address, "GET /healthz?verbose HTTP/1.0\r\nHost: x\r\n\r\n").await;
        assert!(alive.starts_with("HTTP/1.0 200 ") && alive.ends_with("\r\n\r\nok\n"), "{alive}");
    }

    #[tokio::test]
    async fn numbers_are_in_the_format_of_openmetrics() {
        let monitor = Monitor::new("relay");
        let address = listening(&monitor).await;
        monitor.serves(Example { healthy: true });
        let page = ask(address, "GET /metrics HTTP/1.1\r\n\r\n").await;
        for line in [
            "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r",
            "# TYPE example_things counter",
            "example_things_total 7",
            r#"example_drops_total{reason="full"} 1"#,
            r#"example_drops_total{reason="not_there"} 2"#,
            "example_now 3",
            "adit_ready 1",
        ] {
            assert!(page.lines().any(|found| found == line.trim_end_matches('\r')), "{line}\n{page}");
        }
        assert!(page.contains("adit_build_info{") && page.ends_with("# EOF\n"), "{page}");
        let head = ask(address, "HEAD /metrics HTTP/1.1\r\n\r\n").await;
        assert!(head.ends_with("\r\n\r\n") && !head.contains("content-length: 0"), "{head}");
    }

    #[tokio::test]
    async fn whatever_else_is_asked_is_refused() {
        let address = listening(&Monitor::new("relay")).await;
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(9000));
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n", "404"),
            ("POST /readyz HTTP/1.1\r\n\r\n", "405"),
            ("nonsense\r\n\r\n", "400"),
            (&long, "431"),
        ] {
            let answer = ask(address, request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.20}: {answer}");
        }
        for nothing in ["GET /healthz HT", "\r\n\r\n"] {
            assert_eq!(ask(address, nothing).await, "", "half a request is none");
        }
    }

    /// Sixteen that say nothing keep the seventeenth waiting, and only for so long.
    #[tokio::test]
    async fn who_says_nothing_is_waited_for_only_so_long() {
        let patience = Duration::from_millis(300);
        let address = patient(&Monitor::new("relay"), patience).await;
        let began = Instant::now();
        let mut idle = Vec::new();
        for _ in 0..16 {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let alive = ask(address, "GET /healthz HTTP/1.1\r\n\r\n").await;
        assert!(alive.starts_with("HTTP/1.1 200 "), "{alive}");
        assert!(began.elapsed() >= patience, "{:?}", began.elapsed());
    }

    #[test]
    fn none_is_a_place_too() {
        assert_eq!("none".parse(), Ok(Listen::None));
        assert_eq!("127.0.0.1:1".parse(), Ok(Listen::At(([127, 0, 0, 1], 1).into())));
        assert!("nowhere".parse::<Listen>().is_err());
    }
}
