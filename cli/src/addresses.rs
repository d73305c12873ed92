//! The address file, by which a gateway without a platform tells connectors where it is: one `ip:port` a
//! line, best first, `#` comments, empty while there is none, replaced as a whole at every change.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;

use crate::exit::Failure;
use crate::files;

/// Writes `addresses` of `gateway` to `path`.
pub(crate) fn write(path: &Path, gateway: &str, addresses: &[SocketAddr]) -> Result<(), Failure> {
    files::replace(path, &encode(gateway, addresses), files::PUBLIC)
}

/// Empties `path`, unless another gateway has written its own addresses there since `addresses` were.
pub(crate) fn withdraw(path: &Path, gateway: &str, addresses: &[SocketAddr]) -> Result<(), Failure> {
    if read(path).is_ok_and(|present| present != addresses) { Ok(()) } else { write(path, gateway, &[]) }
}

/// An address with its port, as flags and files have it.
pub(crate) fn parse(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("`{text}` is no IP address with a port, such as 192.0.2.1:3478 or [2001:db8::1]:3478")
    })
}

/// The addresses in `path`: none while there is no such file, as there is none before a gateway's first
/// start.
pub(crate) fn read(path: &Path) -> Result<Vec<SocketAddr>, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => decode(&text).map_err(|line| {
            Failure::config(format!("{}:{line}: this is no address such as 192.0.2.1:50000", path.display()))
                .next("the gateway writes this file: [status] address-file")
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Failure::config(format!("{} can't be read: {error}", path.display()))),
    }
}

fn encode(gateway: &str, addresses: &[SocketAddr]) -> String {
    let mut text = String::new();
    if !addresses.is_empty() {
        writeln!(text, "# relayed addresses of {gateway}, best first").expect("a String takes everything");
    }
    for address in addresses {
        writeln!(text, "{address}").expect("a String takes everything");
    }
    text
}

/// The addresses in `text`, or the number of the first line that is none.
fn decode(text: &str) -> Result<Vec<SocketAddr>, usize> {
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| line.parse().map_err(|_| number))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_gateway_writes_a_connector_reads() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway.addr");
        assert_eq!(read(&path).unwrap(), []);
        for addresses in
            [vec![], vec!["192.0.2.1:1".parse().unwrap(), "[2001:db8::1]:65535".parse().unwrap()]]
        {
            write(&path, "gw-1", &addresses).unwrap();
            assert_eq!(read(&path).unwrap(), addresses);
        }
    }

    #[test]
    fn what_another_gateway_wrote_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway.addr");
        let (old, new) = (["192.0.2.1:1".parse().unwrap()], ["192.0.2.1:2".parse().unwrap()]);
        write(&path, "gw-1", &old).unwrap();
        write(&path, "gw-1", &new).unwrap();
        withdraw(&path, "gw-1", &old).unwrap();
        assert_eq!(read(&path).unwrap(), new);
        withdraw(&path, "gw-1", &new).unwrap();
        assert_eq!(read(&path).unwrap(), []);
    }

    #[test]
    fn without_addresses_it_is_empty() {
        assert_eq!(encode("gw-1", &[]), "");
    }

    #[test]
    fn anything_else_is_told_with_its_line() {
        assert_eq!(decode("# hello\n\n 192.0.2.1:1 \nlocalhost:1\n"), Err(4));
    }
}
