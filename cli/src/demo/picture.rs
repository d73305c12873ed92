//! What people see: the path from psql to PostgreSQL, with figures that live.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;

use super::postgres::{DATABASE, USER, usual_round_trip};
use super::proof::{CLIENTS, Proof};
use super::tap::Sight;
use super::world::World;

/// The picture on standard output.
#[derive(Debug)]
pub(crate) struct Picture {
    /// What does not change.
    head: String,
    direct: String,
    /// Whether a terminal shows it, so that lines can be written anew.
    live: bool,
    /// Lines from the first that is written anew to the end.
    lines: usize,
    tail: String,
}

impl Picture {
    pub(crate) fn new(world: &World, proof: &Proof, live: bool) -> Self {
        let direct = format!("{:.2} ms without it", proof.direct.as_secs_f64() * 1e3);
        Self { head: head(world, proof), direct, live, lines: 0, tail: String::new() }
    }

    /// Draws all of it.
    pub(crate) fn draw(&mut self, world: &World) {
        let head = format!("\n{}", self.head);
        self.show(&head, world);
    }

    /// Draws the figures again, where that is possible.
    pub(crate) fn redraw(&mut self, world: &World) {
        if self.live {
            let up = format!("\x1b[{}A\x1b[J", self.lines);
            self.show(&up, world);
        }
    }

    /// Adds what to try.
    pub(crate) fn invite(&mut self, world: &World) {
        let (address, password) = (world.entrance, &world.postgres.password);
        self.tail = format!(
            "\n Try it, in another terminal (Ctrl-C here ends everything):\n\n   \
             PGPASSWORD={password} psql -h {} -p {} -U {USER} {DATABASE}\n",
            address.ip(),
            address.port()
        );
        print(&self.tail);
        self.lines += self.tail.lines().count();
    }

    fn show(&mut self, before: &str, world: &World) {
        let figures = figures(world, &self.direct);
        print(&format!("{before}{figures}{}", self.tail));
        self.lines = figures.lines().count() + self.tail.lines().count();
    }
}

fn head(world: &World, proof: &Proof) -> String {
    let mut text = path([
        ("[ connector ]", "adit forward", world.entrance),
        ("[ relay ]", "adit relay", world.relay_address),
        ("[ gateway ]", "adit gateway", world.relayed),
        ("[ target ]", "PostgreSQL", world.postgres.address),
    ]);
    let _ = writeln!(text, "          └─── QUIC: TLS 1.3, certificates on both sides ────┘\n");
    row(&mut text, "a row through the tunnel", &proof.row);
    let benchmark = format!(
        "{:.0} transactions/s, {:.2} ms each ({CLIENTS} connections, {} s)",
        proof.rate, proof.latency, proof.seconds
    );
    row(&mut text, "pgbench through the tunnel", &benchmark);
    row(&mut text, "a leased user", &format!("{}: made, has read the row, is gone", proof.user));
    text
}

/// The parts side by side, in 80 columns: names with arrows between them, what runs there, and where.
fn path(parts: [(&str, &str, SocketAddr); 4]) -> String {
    let names = parts.map(|(name, _, _)| name.to_owned());
    let programs = parts.map(|(_, program, _)| program.to_owned());
    let addresses = parts.map(|(_, _, address)| address.to_string());
    let (arrows, gaps) = (["psql ──▶ ", "═▶ ", "◀═ ", "─▶ "], ["         ", "   ", "   ", "   "]);
    let line = |cells: [String; 4], between: [&str; 4]| {
        let cells = between.iter().zip(cells).map(|(before, cell)| format!("{before}{cell:<15}"));
        format!(" {}\n", cells.collect::<String>().trim_end())
    };
    [line(names, arrows), line(programs, gaps), line(addresses, gaps)].concat()
}

fn figures(world: &World, direct: &str) -> String {
    let mut text = String::new();
    let trip = match usual_round_trip(world.entrance) {
        Ok(took) => format!("{:.2} ms through the tunnel, {direct}", took.as_secs_f64() * 1e3),
        Err(error) => format!("none: {error}"),
    };
    row(&mut text, "round trip", &trip);
    let sight = world.tap.sight();
    row(&mut text, "what the relay saw", &seen(&sight));
    row(&mut text, "the row's text among it", &format!("{} times", sight.markers));
    row(&mut text, "the newest datagram", &sample(&sight));
    text
}

fn row(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, " {name:<27} {value}");
}

fn seen(sight: &Sight) -> String {
    format!("{} bytes in {} datagrams", grouped(sight.bytes), grouped(sight.datagrams))
}

fn sample(sight: &Sight) -> String {
    let bytes: Vec<_> = sight.sample.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{} … ({} bytes)", bytes.join(" "), sight.sample_of)
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Whoever reads may have gone; the demo ends by signals, not by that.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
