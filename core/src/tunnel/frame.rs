//! Frames of `adit/1`: `varint type, varint length, payload`, the integers as in QUIC (RFC 9000 §16).
//!
//! Here is what each frame means and how its payload is laid out; `codec` frames and unframes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Host, Target};

/// The longest payload of a frame that is read, in bytes.
pub const MAX_FRAME: usize = 4096;
/// The most addresses in PATHS and PERMIT.
pub const MAX_PATHS: usize = 64;
/// The longest sentence in REJECT, in bytes.
pub const MAX_SENTENCE: usize = 512;

/// The protocol of a target, as in an IP header.
const TCP: u8 = 6;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Opens a target; the first frame on a stream.
    Open(Open),
    /// The target is open, at this address; raw bytes follow.
    Accept(SocketAddr),
    /// The target was not opened; the stream ends.
    Reject {
        /// Why, for programs.
        code: RejectCode,
        /// Why, for people; at most [`MAX_SENTENCE`] bytes.
        sentence: String,
    },
    /// Asks for a PONG with the same bytes.
    Ping([u8; 8]),
    /// Answers a PING.
    Pong([u8; 8]),
    /// Peers that the gateway is to permit on its relays.
    Permit {
        /// Their addresses; at most [`MAX_PATHS`].
        peers: Vec<IpAddr>,
        /// For how long, from now on; whole seconds. Nothing takes an earlier wish back.
        lifetime: Duration,
    },
    /// The relayed addresses of the gateway, best first; at most [`MAX_PATHS`].
    Paths(Vec<SocketAddr>),
    /// No more streams are to be opened; those that are open are finished.
    Drain,
}

/// What OPEN says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// What to reach.
    pub target: Target,
    /// How long the connector will wait for the answer; whole milliseconds.
    pub deadline: Duration,
    /// Ties the logs of both ends together.
    pub trace: Option<[u8; 16]>,
}

/// Why a target was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RejectCode {
    /// The gateway's operator, or the certificate, does not allow it.
    Denied = 1,
    /// The target refused the connection.
    Refused = 2,
    /// There is no route to the target.
    Unreachable = 3,
    /// The target did not answer in time.
    TimedOut = 4,
    /// The name could not be resolved.
    Dns = 5,
    /// The gateway has too many pipes already.
    Busy = 6,
    /// The gateway is about to leave, or the connector's certificate has run out.
    Draining = 7,
    /// The request made no sense.
    BadRequest = 8,
}

impl RejectCode {
    /// All codes.
    pub const ALL: [Self; 8] = [
        Self::Denied,
        Self::Refused,
        Self::Unreachable,
        Self::TimedOut,
        Self::Dns,
        Self::Busy,
        Self::Draining,
        Self::BadRequest,
    ];

    /// Whether the same request may succeed later without anybody changing a policy or a program: targets are
    /// started again, names come and go, gateways get room.
    pub fn is_retryable(self) -> bool {
        !matches!(self, Self::Denied | Self::BadRequest)
    }
}

impl std::fmt::Display for RejectCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed-out",
            Self::Dns => "dns",
            Self::Busy => "busy",
            Self::Draining => "draining",
            Self::BadRequest => "bad-request",
        })
    }
}

/// A stream of bytes that is no frame, or not one that may stand here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a frame of adit/1")]
pub struct Malformed;

impl Frame {
    /// The number that stands for the type of this frame.
    pub(super) fn kind(&self) -> u64 {
        match self {
            Self::Open(_) => 1,
            Self::Accept(_) => 2,
            Self::Reject { .. } => 3,
            Self::Ping(_) => 4,
            Self::Pong(_) => 5,
            Self::Permit { .. } => 6,
            Self::Paths(_) => 7,
            Self::Drain => 8,
        }
    }

    /// Writes the payload behind what is in `out`.
    pub(super) fn write_payload(&self, out: &mut Vec<u8>) {
        match self {
            Self::Open(open) => open.write(out),
            Self::Accept(address) => write_address(out, *address),
            Self::Reject { code, sentence } => {
                out.push(*code as u8);
                out.extend_from_slice(truncated(sentence, MAX_SENTENCE).as_bytes());
            }
            Self::Ping(bytes) | Self::Pong(bytes) => out.extend_from_slice(bytes),
            Self::Permit { peers, lifetime } => write_permit(out, peers, *lifetime),
            Self::Paths(paths) => paths.iter().take(MAX_PATHS).for_each(|&path| write_address(out, path)),
            Self::Drain => {}
        }
    }

    /// Reads the payload of a frame of type `kind`; `None` where no such type is known.
    pub(super) fn read_payload(kind: u64, payload: &[u8]) -> Option<Result<Self, Malformed>> {
        let rest = &mut &payload[..];
        let frame = match kind {
            1 => Open::read(rest).map(Self::Open),
            2 => read_address(rest).map(Self::Accept),
            3 => read_reject(rest),
            4 => take_array(rest).map(Self::Ping),
            5 => take_array(rest).map(Self::Pong),
            6 => read_permit(rest),
            7 => read_list(rest, read_address).map(Self::Paths),
            8 => Some(Self::Drain),
            _ => return None,
        };
        Some(frame.filter(|_| rest.is_empty()).ok_or(Malformed))
    }
}

impl Open {
    /// protocol (1), port (2), deadline in ms (4), host length (1), host, and a trace id (16) or nothing.
    fn write(&self, out: &mut Vec<u8>) {
        let host = self.target.host.to_string();
        let deadline = u32::try_from(self.deadline.as_millis()).unwrap_or(u32::MAX);
        out.push(TCP);
        out.extend_from_slice(&self.target.port.to_be_bytes());
        out.extend_from_slice(&deadline.to_be_bytes());
        out.push(u8::try_from(host.len()).expect("a host has at most 253 bytes"));
        out.extend_from_slice(host.as_bytes());
        out.extend_from_slice(self.trace.as_ref().map_or(&[], |trace| &trace[..]));
    }

    fn read(rest: &mut &[u8]) -> Option<Self> {
        let [protocol] = take_array(rest)?;
        let port = u16::from_be_bytes(take_array(rest)?);
        let deadline = u32::from_be_bytes(take_array(rest)?);
        let [length] = take_array(rest)?;
        let host: Host = std::str::from_utf8(take(rest, length.into())?).ok()?.parse().ok()?;
        let trace = if rest.is_empty() { None } else { Some(take_array(rest)?) };
        (protocol == TCP && port != 0).then_some(Self {
            target: Target { host, port },
            deadline: Duration::from_millis(deadline.into()),
            trace,
        })
    }
}

fn read_reject(rest: &mut &[u8]) -> Option<Frame> {
    let [number] = take_array(rest)?;
    let code = RejectCode::ALL.into_iter().find(|&code| code as u8 == number)?;
    let sentence = std::str::from_utf8(take(rest, rest.len().min(MAX_SENTENCE))?).ok()?;
    // It ends up on somebody's terminal.
    let sentence = sentence.replace(char::is_control, " ");
    Some(Frame::Reject { code, sentence })
}

/// lifetime in seconds (4), and addresses.
fn write_permit(out: &mut Vec<u8>, peers: &[IpAddr], lifetime: Duration) {
    let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
    out.extend_from_slice(&seconds.to_be_bytes());
    peers.iter().take(MAX_PATHS).for_each(|&peer| write_ip(out, peer));
}

fn read_permit(rest: &mut &[u8]) -> Option<Frame> {
    let seconds = u32::from_be_bytes(take_array(rest)?);
    let peers = read_list(rest, read_ip)?;
    Some(Frame::Permit { peers, lifetime: Duration::from_secs(seconds.into()) })
}

/// The longest start of `text` that has at most `max` bytes.
fn truncated(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

fn write_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(6);
            out.extend_from_slice(&ip.octets());
        }
    }
}

fn read_ip(rest: &mut &[u8]) -> Option<IpAddr> {
    match take_array(rest)? {
        [4] => Some(IpAddr::from(take_array::<4>(rest)?)),
        [6] => Some(IpAddr::from(take_array::<16>(rest)?)),
        _ => None,
    }
}

fn write_address(out: &mut Vec<u8>, address: SocketAddr) {
    write_ip(out, address.ip());
    out.extend_from_slice(&address.port().to_be_bytes());
}

fn read_address(rest: &mut &[u8]) -> Option<SocketAddr> {
    let ip = read_ip(rest)?;
    Some(SocketAddr::new(ip, u16::from_be_bytes(take_array(rest)?)))
}

/// Reads items until nothing is left; `None` where there are too many.
fn read_list<T>(rest: &mut &[u8], read: impl Fn(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let mut items = Vec::new();
    while !rest.is_empty() {
        if items.len() == MAX_PATHS {
            return None;
        }
        items.push(read(rest)?);
    }
    Some(items)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    take(rest, N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_word_of_its_own_and_says_whether_to_try_again() {
        let words: Vec<String> = RejectCode::ALL.iter().map(ToString::to_string).collect();
        let expected =
            ["denied", "refused", "unreachable", "timed-out", "dns", "busy", "draining", "bad-request"];
        assert_eq!(words, expected);
        let final_ones: Vec<_> = RejectCode::ALL.into_iter().filter(|code| !code.is_retryable()).collect();
        assert_eq!(final_ones, [RejectCode::Denied, RejectCode::BadRequest]);
    }

    /// A list that is too long is cut by who writes and refused by who reads.
    #[test]
    fn a_list_has_an_end() {
        let path: SocketAddr = "192.0.2.1:1".parse().unwrap();
        let mut payload = Vec::new();
        Frame::Paths(vec![path; MAX_PATHS + 1]).write_payload(&mut payload);
        assert_eq!(Frame::read_payload(7, &payload), Some(Ok(Frame::Paths(vec![path; MAX_PATHS]))));
        write_address(&mut payload, path);
        assert_eq!(Frame::read_payload(7, &payload), Some(Err(Malformed)));
    }
}
