//! Sessions of both ends against each other.

mod dtls;
mod tls;

use std::time::Duration;

use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::{Pin, Trust};
use crate::pki::{Anchors, Key, KeyKind, Serial, ServerAuthority, Terms};
use crate::time::{UnixTime, WallCell};

const NOW: UnixTime = UnixTime(1_700_000_000);
const LIFE: u64 = 1000;

/// A relay's certificate, its key, and who has issued it.
struct Papers {
    leaf: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    authority: CertificateDer<'static>,
}

fn papers(kind: KeyKind) -> Papers {
    let terms = |serial| Terms::new(Serial::new(serial), NOW, Duration::from_secs(LIFE));
    let authority = ServerAuthority::new("test", &Key::generate(KeyKind::EcdsaP256), terms(1)).unwrap();
    let key = Key::generate(kind);
    let hosts = ["relay.example".to_owned(), "192.0.2.1".to_owned()];
    let leaf = authority.issue(&hosts, &key.public(), terms(2)).unwrap();
    Papers { leaf, key: key.der().clone_key(), authority: authority.certificate().clone() }
}

impl Papers {
    fn anchored(&self) -> Trust {
        Trust::Anchored(Anchors::new(std::slice::from_ref(&self.authority)).unwrap())
    }

    fn pinned(&self) -> Trust {
        Trust::Pinned(Pin::of(&self.leaf).unwrap())
    }
}

fn host(name: &str) -> ServerName<'static> {
    ServerName::try_from(name.to_owned()).unwrap()
}

fn wall() -> WallCell {
    WallCell::new(UnixTime(NOW.0 + 10))
}
