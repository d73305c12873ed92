//! What the fuzz targets do, each in a function of the bytes that a fuzzer makes up. A function panics where the code
//! does what it must not; `fuzz/` feeds it by libFuzzer, and `tests/corpora.rs` replays what is in `fuzz/corpus`.
//!
//! - Bytes as the network brings them: [`stun()`], [`differential()`], [`framing()`], [`stream()`], [`tunnel()`],
//!   [`certificates()`].
//! - Texts as people write them: [`texts()`]; of the platform's: `requests`, `sql`.
//! - Bytes that stand for what happens, one thing after the other: [`relay()`], [`links()`], [`client()`], [`worlds()`].

mod certificates;
mod client;
mod differential;
mod framing;
mod links;
mod links_bench;
mod relay;
mod relay_bench;
#[cfg(feature = "platform")]
mod requests;
#[cfg(feature = "platform")]
mod sql;
mod stream;
mod stun;
mod texts;
mod tunnel;
mod worlds;

pub use certificates::certificates;
pub use client::client;
pub use differential::differential;
pub use framing::framing;
pub use links::links;
pub use relay::relay;
#[cfg(feature = "platform")]
pub use requests::requests;
#[cfg(feature = "platform")]
pub use sql::sql;
pub use stream::stream;
pub use stun::stun;
pub use texts::texts;
pub use tunnel::tunnel;
pub use worlds::worlds;

/// What a target does with one input.
pub type Target = fn(&[u8]);

/// Every target, by the name that it has in `fuzz/fuzz_targets` and `fuzz/corpus`.
pub const TARGETS: &[(&str, Target)] = &[
    ("certificates", certificates),
    ("client", client),
    ("differential", differential),
    ("framing", framing),
    ("links", links),
    ("relay", relay),
    #[cfg(feature = "platform")]
    ("requests", requests),
    #[cfg(feature = "platform")]
    ("sql", sql),
    ("stream", stream),
    ("stun", stun),
    ("texts", texts),
    ("tunnel", tunnel),
    ("worlds", worlds),
];
