//! What tells this machine and its state directory from a copy elsewhere.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};

/// A hash over the machine's id, its name, and where its state directory lies. Two machines that were cloned from one
/// image differ in at least one of them, and a restart or a new kernel changes none.
pub(super) fn fingerprint(directory: &Path) -> String {
    let machine = std::fs::read("/etc/machine-id").unwrap_or_default();
    // A hardened unit sees no /proc/sys.
    let host = std::fs::read("/proc/sys/kernel/hostname").or_else(|_| std::fs::read("/etc/hostname"));
    let host = host.unwrap_or_default();
    let place =
        std::fs::metadata(directory).map(|metadata| (metadata.dev(), metadata.ino())).unwrap_or_default();
    hash(&[&machine, &host, &place.0.to_be_bytes(), &place.1.to_be_bytes()])
}

fn hash(parts: &[&[u8]]) -> String {
    let mut text = Vec::new();
    for part in parts {
        text.extend_from_slice(&(part.len() as u64).to_be_bytes());
        text.extend_from_slice(part);
    }
    digest(&SHA256, &text).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_directory_is_another_machine() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_eq!(fingerprint(one.path()), fingerprint(one.path()));
        assert_ne!(fingerprint(one.path()), fingerprint(two.path()));
        assert_ne!(hash(&[b"a", b"bc"]), hash(&[b"ab", b"c"]));
    }
}
