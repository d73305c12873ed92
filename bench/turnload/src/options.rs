//! What is done, and with what.

use std::net::{Ipv4Addr, SocketAddrV4};

/// Load a TURN server, and count what comes through.
#[derive(Debug, clap::Parser)]
#[command(name = "turnload", version, arg_required_else_help = true)]
pub(crate) struct Options {
    /// Stay on this core.
    #[arg(long, global = true, value_name = "N")]
    pub(crate) cpu: Option<usize>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What can be measured, and what it can be compared with.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// How many packets come through with a number of them under way, or at a rate, and what each costs the server.
    Throughput(Throughput),
    /// The highest rate at which less than 1 % is lost.
    Search(Search),
    /// How long packets take from client to peer and back.
    Latency(Latency),
    /// What allocations cost the server: time, and memory.
    Setup(Setup),
    /// Forward between clients and one peer without TURN: no requests, no permissions, no timers.
    Forward(Forward),
}

/// The server, and what is asked of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Server {
    /// Where the server listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3478")]
    pub(crate) server: SocketAddrV4,
    /// What it is.
    #[arg(long, value_enum, default_value_t = Kind::Turn)]
    pub(crate) kind: Kind,
    #[arg(long, value_name = "NAME", default_value = "user")]
    pub(crate) username: String,
    #[arg(long, value_name = "PASSWORD", default_value = "pass")]
    pub(crate) password: String,
    /// Make time-limited credentials from this secret instead.
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Option<String>,
    /// How many allocations there are.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) allocations: u32,
    /// How many addresses each allocation permits: the peer's, and others that nothing is sent to.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) permissions: u8,
    /// How many allocations are being made at once.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) parallel: usize,
    /// The address of the clients; one of their own leaves all ports of the server's to it.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub(crate) bind: Ipv4Addr,
    /// Where the peer is.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub(crate) peer: SocketAddrV4,
    /// The server's processes, whose time and memory are read.
    #[arg(long = "pid", value_name = "PID")]
    pub(crate) pids: Vec<u32>,
}

/// What kind of server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// A TURN server.
    Turn,
    /// A TURN server that relays among its own clients only: the peers are its clients, too.
    Pair,
    /// `turnload forward`.
    Bare,
    /// None: clients send to the peer.
    None,
}

/// What is sent.
#[derive(Debug, clap::Args)]
pub(crate) struct Traffic {
    /// Bytes of each packet, ChannelData header not included.
    #[arg(long, value_name = "BYTES", default_value_t = 200, value_parser = clap::value_parser!(u16).range(24..=2000))]
    pub(crate) size: u16,
    /// From where to where.
    #[arg(long, value_enum, default_value_t = Direction::Up)]
    pub(crate) direction: Direction,
    /// How many packets of one allocation are sent at once.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) burst: u16,
    /// Let the kernel cut bursts into packets (GSO), as QUIC senders do.
    #[arg(long)]
    pub(crate) gso: bool,
    /// Let the kernel receive bursts as one (GRO).
    #[arg(long)]
    pub(crate) gro: bool,
    /// How long.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    pub(crate) seconds: f64,
}

/// From where to where packets travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Direction {
    /// From the clients to the peer.
    Up,
    /// From the peer to the clients.
    Down,
    /// Both at once.
    Both,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Throughput {
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) traffic: Traffic,
    /// How many packets may be under way in each direction.
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) window: u32,
    /// Send this many a second in all instead, whatever comes out.
    #[arg(long, value_name = "PACKETS")]
    pub(crate) rate: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Search {
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) traffic: Traffic,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Latency {
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) traffic: Traffic,
    /// Round trips per second.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) rate: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Setup {
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Forward {
    /// Where clients are served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3478")]
    pub(crate) listen: SocketAddrV4,
    /// The one peer.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) peer: SocketAddrV4,
    /// How packets are moved.
    #[arg(long, value_enum)]
    pub(crate) mode: Mode,
}

/// How the bare forwarder moves packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// Many packets with each call: recvmmsg, sendmmsg.
    Mmsg,
    /// Many coalesced bursts with each call: the same with GRO and GSO.
    Gro,
}
