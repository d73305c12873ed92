//! `cargo xtask miri`: the unit tests of the core that call no foreign code, in an interpreter that sees undefined
//! behaviour, leaks and reads of what was never written.
//!
//! The core has no `unsafe` of its own; what is looked at here is how it uses what has: the standard library's
//! collections, bytecodec, stun_codec, x509-parser's friends. aws-lc-rs is C and assembly, which miri can't run, so
//! whatever signs, hashes or draws a key is left out.

use anyhow::{Result, bail};

use crate::fuzz::nightly;
use crate::{quietly, target};

/// The tests, by what their names contain. What counts through all 4,096 channels would take minutes there.
const TESTS: &[&str] = &[
    "gateway::policy::",
    "io::",
    "rand::",
    "relay::budget::",
    "relay::channel::",
    "relay::permission::",
    "relay::ports::",
    "relay::quota::",
    "time::",
    "tunnel::target::",
    "tunnel::codec::",
    "turn::address_policy::",
    "turn::channel_data::",
    "turn::credential_policy::",
    "turn::uri::",
    "pki::identity::",
    "quic::route::tests::a_destination",
];

/// What takes an hour there: a thousand cases, texts of any characters, whose patterns are compiled first, and a table
/// that is filled to its bound.
const SKIPPED: &[&str] = &[
    "tunnel::codec::tests::no_",
    "relay::budget::tests::the_table_is_bounded",
    "pki::identity::tests::two_identities_have_two_spellings",
    "pki::identity::tests::what_is_read_would_be_written_so",
    "tunnel::target::tests::whatever_is_read_is_a_target",
];

/// How many cases the other property tests try.
const CASES: &str = "4";

pub(crate) fn run() -> Result<()> {
    if !quietly(nightly("cargo").args(["miri", "--version"])) {
        bail!("miri is not installed: rustup toolchain install nightly --component miri,rust-src");
    }
    let mut miri = nightly("cargo");
    miri.args(["miri", "test", "--package", "adit-core", "--lib", "--target-dir"]).arg(target().join("miri"));
    miri.arg("--");
    miri.args(TESTS).args(SKIPPED.iter().flat_map(|name| ["--skip", name]));
    // Instants are the tests' own beginnings, and proptest looks for a file of past failures.
    miri.env("MIRIFLAGS", "-Zmiri-disable-isolation").env("PROPTEST_CASES", CASES);
    miri.env_remove("CARGO").env_remove("RUSTC");
    anyhow::ensure!(miri.status()?.success(), "miri found something");
    Ok(())
}
