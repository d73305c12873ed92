//! A thousand gateways on ten relays, faster than real time: `cargo run --release --example thousand`.
//!
//! Each gateway is behind a NAT and keeps an allocation on two relays alive; four connectors open a stream each second
//! through one gateway after the other, and 4 KiB go there and back. Arguments, all optional: the numbers of gateways
//! (1000), relays (10) and virtual seconds (600); or `traces`, which prints the traces of a few small crowds by their
//! seeds, equal in every build.

mod crowd;

use std::time::Instant;

use crowd::{Crowd, Size, traces};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == "traces") {
        traces().iter().for_each(|(seed, hash)| println!("seed {seed}: trace {hash:016x}"));
        return;
    }
    let number = |index: usize, usual: usize| match arguments.get(index) {
        Some(argument) => argument.parse().expect("arguments are numbers"),
        None => usual,
    };
    let size = Size { gateways: number(0, 1000), relays: number(1, 10), connectors: 4 };
    let seconds = number(2, 600);

    let start = Instant::now();
    let mut crowd = Crowd::gathered(1, size);
    let (gathered, ready) = (crowd.world.elapsed(), start.elapsed());
    println!("{} gateways on {} relays were ready after {gathered:.1?}", size.gateways, size.relays);
    println!("  in {ready:.2?} of real time: {:.0} times as fast", gathered.div_duration_f64(ready));

    let start = Instant::now();
    crowd.live(seconds);
    let (lived, took) = (crowd.world.elapsed() - gathered, start.elapsed());
    let (whole, opened) = (crowd.whole(), crowd.streams.len());
    let packets = crowd.world.trace().packets();
    println!(
        "they lived for {lived:.1?}: {whole} of {opened} streams came back whole, {packets} packets in all"
    );
    println!("  in {took:.2?} of real time: {:.0} times as fast", lived.div_duration_f64(took));
    println!("trace {:016x}", crowd.world.trace().hash());
}
