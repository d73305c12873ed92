//! `--event-log`: what becomes of allocations, one JSON object a line, for accounts and for programs.
//!
//! A user is a word that stays the same until the relay ends, and that nobody can turn back into a name; with
//! `--log-users` it is the name.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::str::FromStr;

use adit_core::relay::{ConnectionEnd, Event, Hop, Released, Transport};
use adit_core::turn::credentials::TimeLimited;
use aws_lc_rs::hmac;
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::when;

/// Where the events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Standard output.
    Output,
    /// The end of a file, which only its owner may read.
    File(PathBuf),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("name a file, or - for standard output".into()),
            "-" => Ok(Self::Output),
            path => Ok(Self::File(path.into())),
        }
    }
}

/// The log of a running relay.
pub(crate) struct EventLog {
    place: Place,
    file: Option<File>,
    /// Names users; nothing where their names are shown.
    key: Option<hmac::Key>,
    failing: bool,
}

/// One line.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Line<'a> {
    time: String,
    event: &'static str,
    user: String,
    client: SocketAddr,
    transport: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    relayed: Option<&'a [SocketAddr]>,
    /// What is relayed, where that is not UDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    relays: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    carried: Option<Carried>,
}

/// What a TCP connection with a peer has carried.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Carried {
    to_peer_bytes: u64,
    to_client_bytes: u64,
}

/// What was relayed for an allocation.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Usage {
    seconds: u64,
    to_peers_packets: u64,
    to_peers_bytes: u64,
    to_clients_packets: u64,
    to_clients_bytes: u64,
}

impl EventLog {
    /// Begins to write to `place`.
    ///
    /// # Errors
    /// When it can't be written to.
    pub(super) fn open(place: Place, names: bool) -> Result<Self, Failure> {
        let key = match names {
            true => None,
            false => Some(hmac::Key::new(hmac::HMAC_SHA256, &adit_driver::random_seed())),
        };
        let mut log = Self { place, file: None, key, failing: false };
        log.reopen()
            .map_err(|error| Failure::new(Exit::Other, format!("the event log can't be written: {error}")))?;
        Ok(log)
    }

    /// Goes on in a new file where the old one was moved away.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Place::File(path) = &self.place {
            self.file = Some(OpenOptions::new().create(true).append(true).mode(0o600).open(path)?);
        }
        Ok(())
    }

    /// Writes `event` down, if it is about an allocation. What can't be written is lost, and said once.
    pub(super) fn write(&mut self, event: &Event) {
        let Some(line) = self.line(when::timestamp(), event) else { return };
        if let Ok(text) = serde_json::to_string(&line) {
            self.append(text);
        }
    }

    fn append(&mut self, mut text: String) {
        text.push('\n');
        let written = match &mut self.file {
            Some(file) => file.write_all(text.as_bytes()),
            None => {
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes()).and_then(|()| out.flush())
            }
        };
        let failing = written.is_err();
        if let Err(error) = written
            && !self.failing
        {
            tracing::error!(%error, "the event log can't be written: events are lost");
        }
        self.failing = failing;
    }

    /// Writes down that events were not seen.
    pub(super) fn lost(&mut self, count: u64) {
        let lost = serde_json::json!({ "time": when::timestamp(), "event": "lost", "count": count });
        self.append(lost.to_string());
    }

    fn line<'a>(&self, time: String, event: &'a Event) -> Option<Line<'a>> {
        let (Event::Allocated { username, client, hop, .. }
        | Event::Released { username, client, hop, .. }
        | Event::Refused { username, client, hop, .. }
        | Event::Connected { username, client, hop, .. }
        | Event::Disconnected { username, client, hop, .. }) = event
        else {
            return None;
        };
        let line = Line {
            time,
            event: "",
            user: self.user(username),
            client: *client,
            transport: match hop {
                Hop::Udp => "udp",
                Hop::Tcp => "tcp",
                Hop::Tls => "tls",
                Hop::Dtls => "dtls",
            },
            relayed: None,
            relays: None,
            peer: None,
            reason: None,
            code: None,
            usage: None,
            carried: None,
        };
        Some(match event {
            Event::Allocated { relayed, relays, .. } => {
                let relays = (*relays == Transport::Tcp).then_some("tcp");
                Line { event: "allocated", relayed: Some(relayed), relays, ..line }
            }
            Event::Connected { peer, .. } => Line { event: "connected", peer: Some(*peer), ..line },
            Event::Disconnected { peer, reason, to_peer, to_client, .. } => Line {
                event: "disconnected",
                peer: Some(*peer),
                reason: Some(end(*reason)),
                carried: Some(Carried { to_peer_bytes: *to_peer, to_client_bytes: *to_client }),
                ..line
            },
            Event::Released { relayed, reason, usage, .. } => Line {
                event: "released",
                relayed: Some(relayed),
                reason: Some(match reason {
                    Released::Closed => "closed",
                    Released::Expired => "expired",
                    Released::Revoked => "revoked",
                    Released::Disconnected => "disconnected",
                    Released::CutOff => "cut-off",
                }),
                usage: Some(Usage {
                    seconds: usage.lasted.as_secs(),
                    to_peers_packets: usage.to_peers.packets,
                    to_peers_bytes: usage.to_peers.bytes,
                    to_clients_packets: usage.to_clients.packets,
                    to_clients_bytes: usage.to_clients.bytes,
                }),
                ..line
            },
            Event::Refused { code, .. } => Line { event: "refused", code: Some(*code), ..line },
            _ => return None,
        })
    }

    /// What stands for a user: of time-limited credentials the id, which stays the same when they are renewed.
    fn user(&self, username: &str) -> String {
        let id = TimeLimited::parse(username)
            .map(|parts| parts.id)
            .filter(|id| !id.is_empty())
            .unwrap_or(username);
        match &self.key {
            None => id.to_owned(),
            Some(key) => hmac::sign(key, id.as_bytes()).as_ref()[..8]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        }
    }
}

/// Why a connection with a peer has ended.
fn end(reason: ConnectionEnd) -> &'static str {
    match reason {
        ConnectionEnd::Closed => "closed",
        ConnectionEnd::Broken => "broken",
        ConnectionEnd::NeverBound => "never-bound",
        ConnectionEnd::HalfClosed => "half-closed",
        ConnectionEnd::Denied => "denied",
        ConnectionEnd::Released => "released",
        ConnectionEnd::Overflown => "overflown",
        // Such were never made.
        ConnectionEnd::Exists
        | ConnectionEnd::TooMany
        | ConnectionEnd::NoPermission
        | ConnectionEnd::Failed => "refused",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use adit_core::relay::{Flow, Usage};

    use super::*;

    fn released(username: &str) -> Event {
        Event::Released {
            client: "192.0.2.1:1".parse().unwrap(),
            hop: Hop::Tls,
            username: username.into(),
            relayed: vec!["203.0.113.1:50000".parse().unwrap()],
            reason: Released::Closed,
            usage: Usage {
                lasted: Duration::from_secs(7),
                to_peers: Flow { packets: 1, bytes: 2 },
                to_clients: Flow { packets: 3, bytes: 4 },
            },
        }
    }

    #[test]
    fn an_event_is_a_line_that_programs_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events");
        let mut log = EventLog::open(Place::File(path.clone()), true).unwrap();
        log.write(&released("1700000000:gw-1:1.AA"));
        std::fs::rename(&path, directory.path().join("events.1")).unwrap();
        log.write(&Event::Drained);
        log.reopen().unwrap();
        log.write(&released("ada"));
        let read = |name: &str| -> Vec<serde_json::Value> {
            let text = std::fs::read_to_string(directory.path().join(name)).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        let [old] = &read("events.1")[..] else { panic!("one line") };
        assert_eq!(
            (&old["user"], &old["event"], &old["reason"]),
            (&"gw-1".into(), &"released".into(), &"closed".into())
        );
        assert_eq!((&old["seconds"], &old["to_clients_bytes"]), (&7.into(), &4.into()));
        assert_eq!(old["transport"], "tls");
        assert_eq!(old["relayed"][0], "203.0.113.1:50000");
        assert_eq!(read("events")[0]["user"], "ada");
    }

    #[test]
    fn a_connection_with_a_peer_is_a_line_when_it_begins_and_when_it_ends() {
        let log = EventLog::open(Place::Output, true).unwrap();
        let (client, peer) = ("192.0.2.1:1".parse().unwrap(), "203.0.113.9:80".parse().unwrap());
        let text = |event: &Event| {
            let line = log.line("now".into(), event).unwrap();
            serde_json::to_value(&line).unwrap()
        };
        let begun = text(&Event::Connected { client, hop: Hop::Tls, username: "ada".into(), peer });
        assert_eq!((&begun["event"], &begun["peer"]), (&"connected".into(), &"203.0.113.9:80".into()));
        let reason = ConnectionEnd::NeverBound;
        let username = "ada".into();
        let ended = text(&Event::Disconnected {
            client,
            hop: Hop::Tls,
            username,
            peer,
            reason,
            to_peer: 1,
            to_client: 2,
        });
        assert_eq!((&ended["reason"], &ended["user"]), (&"never-bound".into(), &"ada".into()));
        assert_eq!((&ended["to_peer_bytes"], &ended["to_client_bytes"]), (&1.into(), &2.into()));
    }

    #[test]
    fn a_user_has_the_same_word_until_the_relay_ends_and_another_one_afterwards() {
        let logs = [(); 2].map(|()| EventLog::open(Place::Output, false).unwrap());
        let word = |log: &EventLog, username| log.user(username);
        assert_eq!(word(&logs[0], "1700000000:gw-1"), word(&logs[0], "1800000000:gw-1:1.AA"));
        assert_ne!(word(&logs[0], "gw-1"), word(&logs[0], "gw-2"));
        assert_ne!(word(&logs[0], "gw-1"), word(&logs[1], "gw-1"));
        // A name that no word can have within it: `ada` would be three hexadecimal digits.
        assert!(!word(&logs[0], "bob").contains("bob"));
    }
}
