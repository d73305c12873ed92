//! Ports that no other test uses, although tests run as processes side by side.
//!
//! A block of ports below the system's ephemeral range belongs to whoever holds the lock on its file; the lock goes
//! with the process.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

const FIRST: u16 = 12_000;
const BLOCK: u16 = 200;
const BLOCKS: u16 = 90;

/// A block of ports, held until it is dropped.
#[derive(Debug)]
pub struct Ports {
    next: Cell<u16>,
    end: u16,
    _lock: File,
}

impl Ports {
    /// Claims a block that nobody holds.
    ///
    /// # Panics
    /// When all are held.
    #[must_use]
    pub fn claim() -> Self {
        let directory =
            std::env::temp_dir().join(format!("adit-test-ports-{}", rustix::process::geteuid().as_raw()));
        fs::create_dir_all(&directory).expect("a directory for temporary files");
        let block = (0..BLOCKS).find_map(|block| {
            let lock = open(&directory.join(block.to_string())).ok()?;
            lock.try_lock().ok().map(|()| (block, lock))
        });
        let (block, lock) = block.expect("every block of ports is held: do earlier tests still run?");
        let first = FIRST + block * BLOCK;
        Self { next: Cell::new(first), end: first + BLOCK, _lock: lock }
    }

    /// The next port that is free for UDP and TCP, on both families.
    ///
    /// # Panics
    /// When the block is used up.
    #[must_use]
    pub fn one(&self) -> u16 {
        loop {
            let port = self.take(1);
            if is_free(port) {
                return port;
            }
        }
    }

    /// The next `count` ports, for a relay to allocate from.
    ///
    /// # Panics
    /// When the block is used up.
    #[must_use]
    pub fn range(&self, count: u16) -> RangeInclusive<u16> {
        let first = self.take(count);
        first..=first + count - 1
    }

    fn take(&self, count: u16) -> u16 {
        let port = self.next.get();
        assert!(port + count <= self.end, "a block of {BLOCK} ports is used up");
        self.next.set(port + count);
        port
    }
}

/// The directory's name is known to every user of the machine, who may have made it before us: nothing behind a link
/// of theirs is touched.
fn open(path: &Path) -> std::io::Result<File> {
    let no_link = OFlags::NOFOLLOW.bits().cast_signed();
    OpenOptions::new().write(true).create(true).truncate(false).custom_flags(no_link).open(path)
}

fn is_free(port: u16) -> bool {
    let families = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    families.iter().all(|&ip| UdpSocket::bind((ip, port)).is_ok() && TcpListener::bind((ip, port)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_the_place_of_a_lock_is_not_followed() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let precious = place.path().join("precious");
        fs::write(&precious, "precious").expect("our own file");
        std::os::unix::fs::symlink(&precious, place.path().join("0")).expect("our own link");
        assert!(open(&place.path().join("0")).is_err());
        assert_eq!(fs::read_to_string(&precious).expect("our own file"), "precious");
    }

    #[test]
    fn two_claims_never_share_a_port() {
        let (a, b) = (Ports::claim(), Ports::claim());
        assert_ne!(a.one(), b.one());
        assert_ne!(a.one(), a.one());
        assert!(a.range(10).all(|port| !b.range(1).contains(&port)));
    }
}
