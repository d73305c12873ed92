//! One login: over a stream that is there already, with TLS as it was asked for.

use std::fmt;

use zeroize::Zeroizing;

use crate::words::TlsMode;

/// As whom, where to, and how protected.
#[derive(Clone)]
pub struct Login {
    /// The server's host: what its certificate has to be for.
    pub host: String,
    /// How the connection is protected.
    pub tls: TlsMode,
    /// The certificates (PEM) that sign the server's; public roots where it is empty.
    pub ca: String,
    /// The user.
    pub user: String,
    /// Its password.
    pub password: Zeroizing<String>,
    /// The database on the server.
    pub dbname: String,
}

/// The password is shown to nobody.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("host", &self.host).field("user", &self.user).finish_non_exhaustive()
    }
}
