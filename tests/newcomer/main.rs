//! Reads a row from a PostgreSQL that only the gateway `gw-1` can reach.
//! Run it where `adit ca` has made `ca/` and the gateway keeps `gateway.addr`: `cargo run tcp://127.0.0.1:5432`.

use std::error::Error;
use std::{env, fs};

use adit_tokio::Connector;
use tokio_postgres::{Config, NoTls};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let connector = Connector::builder()
        .certificate(fs::read("ca/laptop.pem")?, fs::read("ca/laptop.key")?)
        .trust(fs::read("ca/gateway-ca.pem")?)
        .spawn()?;
    let file = fs::read_to_string("gateway.addr")?;
    let addresses = file.lines().filter_map(|line| line.parse().ok()).collect();
    let gateway = connector.gateway("gw-1", addresses)?;

    let target = env::args().nth(1).ok_or("which database?")?;
    let stream = connector.open(gateway, &target.parse()?).await?;

    let mut login = Config::new();
    login.user("app").dbname("app").password(env::var("PGPASSWORD")?);
    let (client, connection) = login.connect_raw(stream, NoTls).await?;
    tokio::spawn(connection);
    let row = client.query_one("SELECT 'hello, ' || current_user", &[]).await?;
    println!("{}", row.get::<_, String>(0));
    Ok(())
}
