//! A small HTTP/1.1 client under smol: asks a service in a private network for one page, over a tunnel.
//!
//! ```sh
//! cargo run --example http_client -- \
//!     ca/laptop ca/gateway-ca.pem gw-1 203.0.113.7:50000 http://greeter.internal/
//! ```
//!
//! - `ca/laptop`: the connector's own certificate and key (`.pem`, `.key`), as `adit ca issue` writes them.
//! - `ca/gateway-ca.pem`: who vouches for gateways.
//! - `gw-1`: the gateway's name, which its certificate must hold.
//! - `203.0.113.7:50000`: a relayed address of the gateway, from its address file.
//! - the page. Its host is resolved by *the gateway*, which must allow it.
//!
//! The body goes to standard output, the status to standard error. It fails on any status but 200.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::{env, fs};

use adit_smol::{Connector, Stream};
use smol::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match smol::block_on(run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [own, anchor, name, address, url] = &arguments[..] else {
        return Err("arguments: OWN ANCHOR GATEWAY ADDRESS URL".into());
    };
    let rest = url.strip_prefix("http://").ok_or("the URL must begin with http://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let target = if host.contains(':') { format!("tcp://{host}") } else { format!("tcp://{host}:80") };

    let connector = Connector::builder()
        .certificate(fs::read(format!("{own}.pem"))?, fs::read(format!("{own}.key"))?)
        .trust(fs::read(anchor)?)
        .spawn()?;
    let gateway = connector.gateway(name, vec![address.parse()?])?;
    // smol's traits are those of futures-io: whatever speaks over a TcpStream speaks over this.
    let mut stream = connector.open(gateway, &target.parse()?).await?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let (status, body) = read_response(stream).await?;
    eprintln!("{status}");
    std::io::stdout().write_all(&body)?;
    connector.shut_down();
    if status.split(' ').nth(1) == Some("200") { Ok(()) } else { Err("that is no page".into()) }
}

/// The status line and the body (RFC 9112 §6.3).
async fn read_response(stream: Stream) -> Result<(String, Vec<u8>)> {
    let mut stream = BufReader::new(stream);
    let status = read_line(&mut stream).await?;
    let (mut length, mut chunked) = (None, false);
    loop {
        let line = read_line(&mut stream).await?.to_ascii_lowercase();
        match line.split_once(':') {
            Some(("content-length", value)) => length = Some(value.trim().parse::<u64>()?),
            Some(("transfer-encoding", value)) => chunked = value.trim() == "chunked",
            Some(_) => {}
            None if line.is_empty() => break,
            None => return Err("a header without a colon".into()),
        }
    }
    let mut body = Vec::new();
    match length {
        _ if chunked => read_chunks(&mut stream, &mut body).await?,
        Some(length) => read_exactly(&mut stream, length, &mut body).await?,
        None => drop(stream.read_to_end(&mut body).await?),
    }
    Ok((status, body))
}

/// The chunks of a body (RFC 9112 §7.1), up to the last one, which is empty.
async fn read_chunks(stream: &mut BufReader<Stream>, body: &mut Vec<u8>) -> Result<()> {
    loop {
        let line = read_line(stream).await?;
        let size = line.split(';').next().unwrap_or_default().trim();
        match u64::from_str_radix(size, 16)? {
            0 => return Ok(()),
            size => read_exactly(stream, size, body).await?,
        }
        read_line(stream).await?;
    }
}

async fn read_exactly(stream: &mut BufReader<Stream>, length: u64, body: &mut Vec<u8>) -> Result<()> {
    let read = stream.take(length).read_to_end(body).await?;
    if read as u64 == length { Ok(()) } else { Err("the response ends early".into()) }
}

async fn read_line(stream: &mut BufReader<Stream>) -> Result<String> {
    let mut line = String::new();
    match stream.read_line(&mut line).await? {
        0 => Err("the response ends early".into()),
        _ => Ok(line.trim_end().to_owned()),
    }
}
