//! tokio-postgres over a tunnel: a row from a database that has no port on this side, and no local port either.
//!
//! ```sh
//! PGPASSWORD=… cargo run --example postgres -- \
//!     ca/laptop ca/gateway-ca.pem gw-1 203.0.113.7:50000 tcp://127.0.0.1:5432 'user=app dbname=app' 'SELECT now()::text'
//! ```
//!
//! - `ca/laptop`: the connector's own certificate and key (`.pem`, `.key`), as `adit ca issue` writes them.
//! - `ca/gateway-ca.pem`: who vouches for gateways.
//! - `gw-1`: the gateway's name, which its certificate must hold.
//! - `203.0.113.7:50000`: a relayed address of the gateway, from its address file.
//! - `tcp://127.0.0.1:5432`: the database as *the gateway* sees it; the gateway must allow it.
//! - the login, and a query whose first column is text.

use std::error::Error;
use std::{env, fs};

use adit_tokio::{Connector, OpenError};
use tokio_postgres::{Config, NoTls};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [own, anchor, name, address, target, login, query] = &arguments[..] else {
        return Err("arguments: OWN ANCHOR GATEWAY ADDRESS TARGET LOGIN QUERY".into());
    };
    // One connector serves a whole program: it keeps one connection for each gateway and opens streams on it.
    let connector = Connector::builder()
        .certificate(fs::read(format!("{own}.pem"))?, fs::read(format!("{own}.key"))?)
        .trust(fs::read(anchor)?)
        .spawn()?;
    let gateway = connector.gateway(name, vec![address.parse()?])?;

    let stream = connector.open(gateway, &target.parse()?).await.map_err(explain)?;
    // The tunnel is encrypted from here to the gateway. Where the last hop, from the gateway to the database, is
    // not to be trusted, give tokio-postgres a TLS connector here, with the database's own name.
    let mut config: Config = login.parse()?;
    if let Ok(password) = env::var("PGPASSWORD") {
        config.password(password);
    }
    let (client, connection) = config.connect_raw(stream, NoTls).await?;
    let connection = tokio::spawn(connection);
    for row in client.query(query, &[]).await? {
        println!("{}", row.try_get::<_, &str>(0)?);
    }
    // Without its client, the connection says goodbye to the database and finishes the stream.
    drop(client);
    connection.await??;
    connector.shut_down();
    Ok(())
}

/// What went wrong, and whether to try again.
fn explain(error: OpenError) -> String {
    match error.is_retryable() {
        true => format!("{error}; it may work later"),
        false => format!("{error}; trying again does not help"),
    }
}
