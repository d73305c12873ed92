//! Allocations: made many at once, each with its permissions and a channel.
//!
//! What one client does, each step when the response to the one before has come: Allocate (401), Allocate,
//! CreatePermission, ChannelBind.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::options::{Kind, Server, Setup};
use crate::process::{self, Usage};
use crate::socket::{self, Poll};
use crate::stun::{self, Credentials, Request, Response, Transaction};

/// The first channel number (RFC 8656 §12), and how many there are.
const CHANNELS: (u16, u16) = (0x4000, 0x0FFF);
/// When a request is sent again.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often it is sent at most.
const MOST_TRIES: u32 = 10;
/// How often it is looked for what is to be sent again.
const CHECK: Duration = Duration::from_millis(100);
/// How long the server may take to settle before its memory is read.
const SETTLE: Duration = Duration::from_millis(500);
/// How many allocations warm the server up: what it does for the first ones only is none of their cost.
const WARM: u32 = 16;

/// A client with its allocation.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) socket: UdpSocket,
    pub(crate) channel: u16,
    /// Where its peers reach it.
    pub(crate) relayed: SocketAddrV4,
    peer: SocketAddrV4,
    step: Step,
    credentials: Credentials,
    /// The last one.
    request: Vec<u8>,
    began: Instant,
    sent: Instant,
    tries: u32,
}

/// What a client waits for, or that it has all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Challenge,
    Allocation,
    Permission,
    Channel,
    Done,
}

/// What became of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// It goes on, or it was no response.
    More,
    Done,
    /// The server still knows this address as another client's.
    PortInUse,
}

/// What allocations have cost.
#[derive(Debug)]
pub(crate) struct Measured {
    /// For all.
    pub(crate) seconds: f64,
    /// For each, in microseconds.
    pub(crate) times: Vec<f64>,
    pub(crate) before: Usage,
    pub(crate) after: Usage,
}

/// Makes allocations and looks what the server has used for them.
pub(crate) fn measure(options: &Setup) -> Result<Measured> {
    let server = &options.server;
    let peer = socket::bind(server.peer, 1 << 20)?;
    let peer =
        if server.kind == Kind::Pair { socket::any(Ipv4Addr::UNSPECIFIED) } else { socket::local(&peer)? };
    let mut maker = Maker::new(server, peer, 64 * 1024)?;
    let warm = maker.make(WARM)?;
    maker.times.clear();
    std::thread::sleep(SETTLE);
    let (before, began) = (process::usage(&server.pids), Instant::now());
    let mut clients = maker.make(server.allocations)?;
    let (seconds, used) = (began.elapsed().as_secs_f64(), process::usage(&server.pids));
    std::thread::sleep(SETTLE);
    let after = Usage { cpu: used.cpu, ..process::usage(&server.pids) };
    clients.extend(warm);
    release(&clients);
    Ok(Measured { seconds, times: maker.times, before, after })
}

/// Makes clients.
pub(crate) struct Maker<'a> {
    server: &'a Server,
    /// Of all of them; port 0 where they are each other's.
    peer: SocketAddrV4,
    /// Bytes of room that each client's socket asks for.
    buffer: usize,
    poll: Poll,
    /// Counts requests; transactions are made from it.
    requests: u64,
    /// Microseconds that each client took.
    times: Vec<f64>,
}

impl<'a> Maker<'a> {
    pub(crate) fn new(server: &'a Server, peer: SocketAddrV4, buffer: usize) -> Result<Self> {
        Ok(Self { server, peer, buffer, poll: Poll::new()?, requests: 0, times: Vec::new() })
    }

    /// Makes so many clients, with all that they need to send and receive.
    pub(crate) fn make(&mut self, count: u32) -> Result<Vec<Client>> {
        self.poll = Poll::new()?;
        let mut clients = (0..count).map(|index| self.client(index)).collect::<Result<Vec<_>>>()?;
        match self.server.kind {
            Kind::Turn => self.drive(&mut clients)?,
            Kind::Pair => self.pair(&mut clients)?,
            Kind::Bare => clients.iter_mut().try_for_each(greet)?,
            Kind::None => clients.iter().try_for_each(|client| client.socket.connect(self.peer))?,
        }
        Ok(clients)
    }

    fn client(&self, index: u32) -> Result<Client> {
        let (first, count) = CHANNELS;
        let server = self.server;
        let socket = socket::bind(socket::any(server.bind), self.buffer)?;
        socket.connect(server.server)?;
        self.poll.add(&socket, index.into())?;
        let credentials = match &server.secret {
            Some(secret) => Credentials::time_limited(secret),
            None => Credentials::fixed(&server.username, &server.password),
        };
        let now = Instant::now();
        Ok(Client {
            socket,
            channel: first + (index % u32::from(count)) as u16,
            relayed: server.server,
            peer: self.peer,
            step: Step::Challenge,
            credentials,
            request: Vec::new(),
            began: now,
            sent: now,
            tries: 0,
        })
    }

    /// Two halves of clients, each of one the peer of one of the other; both of a pair have the same channel number.
    fn pair(&mut self, clients: &mut [Client]) -> Result<()> {
        self.drive(clients)?;
        let half = clients.len() / 2;
        ensure!(half * 2 == clients.len(), "an even number of clients makes pairs");
        let relayed: Vec<_> = clients.iter().map(|client| client.relayed).collect();
        for (index, client) in clients.iter_mut().enumerate() {
            client.peer = relayed[(index + half) % relayed.len()];
            client.channel = CHANNELS.0 + (index % half) as u16 % CHANNELS.1;
            client.step = Step::Permission;
        }
        self.drive(clients)
    }

    /// Lets all clients take their steps, a number of them at once.
    fn drive(&mut self, clients: &mut [Client]) -> Result<()> {
        let (mut begun, mut done, mut checked) = (0, 0, Instant::now());
        let mut bytes = [0; 2048];
        while done < clients.len() {
            while begun < clients.len() && begun - done < self.server.parallel.max(1) {
                clients[begun].began = Instant::now();
                self.request(&mut clients[begun]);
                begun += 1;
            }
            for index in 0..self.poll.wait(Some(Duration::from_millis(10))) {
                let name = self.poll.name(index);
                let client = &mut clients[name as usize];
                // An ICMP error is answered by sending the request again.
                let Ok(len) = client.socket.recv(&mut bytes) else { continue };
                match self.respond(client, &bytes[..len])? {
                    Progress::More => {}
                    Progress::Done => {
                        done += 1;
                        self.times.push(client.began.elapsed().as_secs_f64() * 1e6);
                    }
                    Progress::PortInUse => {
                        let began = client.began;
                        *client = Client { began, ..self.client(name as u32)? };
                        self.request(client);
                    }
                }
            }
            if checked.elapsed() > CHECK {
                checked = Instant::now();
                clients[..begun].iter_mut().try_for_each(Client::repeat)?;
            }
        }
        Ok(())
    }

    /// Sends the request of the client's step.
    fn request(&mut self, client: &mut Client) {
        let transaction = self.transaction();
        client.request = match client.step {
            Step::Challenge => Request::new(stun::ALLOCATE, transaction).transport().unsigned(),
            Step::Allocation => {
                Request::new(stun::ALLOCATE, transaction).transport().signed(&client.credentials)
            }
            Step::Permission => self.permission(client, transaction).signed(&client.credentials),
            Step::Channel => {
                let request = Request::new(stun::CHANNEL_BIND, transaction).channel(client.channel);
                request.peer(client.peer).signed(&client.credentials)
            }
            Step::Done => return,
        };
        (client.sent, client.tries) = (Instant::now(), 0);
        // What is lost is sent again.
        let _ = client.socket.send(&client.request);
    }

    fn permission(&self, client: &Client, transaction: Transaction) -> Request {
        let request = Request::new(stun::CREATE_PERMISSION, transaction).peer(client.peer);
        (1..self.server.permissions).fold(request, |request, index| {
            request.peer(SocketAddrV4::new(Ipv4Addr::new(127, 0, 1, index), client.peer.port()))
        })
    }

    fn respond(&mut self, client: &mut Client, bytes: &[u8]) -> Result<Progress> {
        let Some(response) = Response::parse(bytes, &client.request) else { return Ok(Progress::More) };
        client.step = match (client.step, response.error()) {
            (step, Some(438)) | (step @ Step::Challenge, Some(401)) => {
                client.credentials.answer(&response);
                if step == Step::Challenge { Step::Allocation } else { step }
            }
            (Step::Challenge | Step::Allocation, Some(437)) => return Ok(Progress::PortInUse),
            (step, Some(code)) => bail!("the server says {code} to a client that waits for its {step:?}"),
            (Step::Challenge | Step::Allocation, None) => {
                client.relayed = response.relayed_address().context("an allocation without an address")?;
                if self.server.kind == Kind::Pair { Step::Done } else { Step::Permission }
            }
            (Step::Permission, None) => Step::Channel,
            (Step::Channel, None) => Step::Done,
            (Step::Done, None) => return Ok(Progress::More),
        };
        if client.step == Step::Done {
            return Ok(Progress::Done);
        }
        self.request(client);
        Ok(Progress::More)
    }

    /// Unlike any other of this process, and of the one before it on the same port.
    fn transaction(&mut self) -> Transaction {
        self.requests += 1;
        let mut transaction = [0; 12];
        transaction[..8].copy_from_slice(&self.requests.wrapping_mul(0x5851_F42D_4C95_7F2D).to_le_bytes());
        transaction[8..].copy_from_slice(&std::process::id().to_le_bytes());
        transaction
    }
}

impl Client {
    fn repeat(&mut self) -> Result<()> {
        if self.step == Step::Done || self.sent.elapsed() < PATIENCE {
            return Ok(());
        }
        self.tries += 1;
        ensure!(self.tries < MOST_TRIES, "no answer to a client that waits for its {:?}", self.step);
        self.sent = Instant::now();
        let _ = self.socket.send(&self.request);
        Ok(())
    }
}

/// How a client of `turnload forward` makes itself known: it is told where its peers reach it.
fn greet(client: &mut Client) -> Result<()> {
    let mut hello = [0xFF; 8];
    hello[1..3].copy_from_slice(&client.channel.to_be_bytes());
    client.socket.set_nonblocking(false)?;
    client.socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    client.socket.send(&hello)?;
    let mut answer = [0; 8];
    let len = client.socket.recv(&mut answer).context("the forwarder does not answer")?;
    ensure!(len == answer.len(), "that is no forwarder");
    let [_, _, port_high, port_low, a, b, c, d] = answer;
    client.relayed = SocketAddrV4::new([a, b, c, d].into(), u16::from_be_bytes([port_high, port_low]));
    client.step = Step::Done;
    Ok(client.socket.set_nonblocking(true)?)
}

/// Ends allocations, one after the other.
pub(crate) fn release(clients: &[Client]) {
    for (number, client) in clients.iter().enumerate() {
        let mut transaction = [0xFF; 12];
        transaction[..8].copy_from_slice(&number.to_le_bytes());
        let request = Request::new(stun::REFRESH, transaction).lifetime(0).signed(&client.credentials);
        // The server forgets them by itself, later.
        let _ = client.socket.set_nonblocking(false);
        let _ = client.socket.set_read_timeout(Some(Duration::from_millis(50)));
        let _ = client.socket.send(&request).and_then(|_| client.socket.recv(&mut [0; 2048]));
    }
}
