//! The shape of the house: who may import whom, what the core must never reach, and the lints that hold it.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

/// Our crates from the ground up, each with all that it may import of the others.
const IMPORTS: &[(&str, &[&str])] = &[
    ("adit-core", &[]),
    ("adit-driver", &["adit-core"]),
    ("adit-tokio", &["adit-driver", "adit-core"]),
    ("adit-smol", &["adit-driver", "adit-core"]),
    ("adit-mio", &["adit-driver", "adit-core"]),
    ("adit-platform", &["adit-tokio", "adit-driver", "adit-core"]),
    ("adit", &["adit-platform", "adit-tokio", "adit-smol", "adit-mio", "adit-driver", "adit-core"]),
    ("adit-sim", &["adit-core"]),
    ("adit-tests", EVERYTHING),
    ("adit-bench", EVERYTHING),
    ("xtask", &[]),
];

/// What measures and proves may import.
const EVERYTHING: &[&str] =
    &["adit-core", "adit-driver", "adit-tokio", "adit-smol", "adit-mio", "adit-platform", "adit-sim"];

/// Rooms of the core from the ground up; each imports only those above it in this list.
const ROOMS: &[&str] = &[
    "io",
    "time",
    "rand",
    "stun",
    "turn",
    "pki",
    "secure",
    "relay",
    "client",
    "quic",
    "tunnel",
    "gateway",
    "connector",
];

/// All that the core is made of, at run time: each was looked at, and does no I/O, sleeps or schedules on its own.
/// Those that could, where somebody called them, are named here with why nobody does:
///
/// - `getrandom`, `libc`: come with rand and aws-lc-rs, for people's key generation; machines are given seeds.
/// - `rustls-pki-types`: reads PEM from files too; files are banned in the core by its `clippy.toml`.
/// - `time`: asks the clock in `now_utc`, which is banned there as well.
/// - `tracing`: quinn-proto's and rustls' words about themselves; a subscriber does the writing.
const LOOKED_AT: &[&str] = &[
    "aead",
    "aes",
    "arrayvec",
    "asn1-rs",
    "aws-lc-rs",
    "aws-lc-sys",
    "base16ct",
    "base64",
    "base64ct",
    "block-buffer",
    "bytecodec",
    "byteorder",
    "bytes",
    "ccm",
    "cfg-if",
    "chacha20",
    "cipher",
    "cmov",
    "const-oid",
    "cpubits",
    "cpufeatures",
    "crc",
    "crc-catalog",
    "crypto-common",
    "ctr",
    "ctutils",
    "data-encoding",
    "der",
    "der-parser",
    "deranged",
    "digest",
    "dimpl",
    "flagset",
    "generic-array",
    "getrandom",
    "hashbrown",
    "hmac",
    "hybrid-array",
    "inout",
    "lazy_static",
    "libc",
    "log",
    "lru-slab",
    "md-5",
    "md5",
    "memchr",
    "minimal-lexical",
    "nom",
    "num-bigint",
    "num-conv",
    "num-integer",
    "num-traits",
    "oid-registry",
    "once_cell",
    "pem",
    "pem-rfc7468",
    "pin-project-lite",
    "pkcs8",
    "powerfmt",
    "precis-core",
    "precis-profiles",
    "quinn-proto",
    "rand",
    "rand_core",
    "rand_pcg",
    "rcgen",
    "rustc-hash",
    "rusticata-macros",
    "rustls",
    "rustls-pki-types",
    "rustls-webpki",
    "sec1",
    "sha1",
    "signature",
    "slab",
    "smallvec",
    "spki",
    "stun_codec",
    "subtle",
    "thiserror",
    "time",
    "time-core",
    "tinyvec",
    "tracing",
    "tracing-core",
    "trackable",
    "typenum",
    "unicode-normalization",
    "untrusted",
    "x509-cert",
    "x509-parser",
    "yasna",
    "zeroize",
];

/// What does I/O, sleeps or schedules, and so is not for the tests of the core either.
const IMPURE: &[&str] = &[
    "async-io",
    "async-std",
    "crossbeam-channel",
    "futures-executor",
    "hickory-resolver",
    "hyper",
    "io-uring",
    "mio",
    "polling",
    "quinn",
    "quinn-udp",
    "rayon",
    "reqwest",
    "rustix",
    "signal-hook",
    "smol",
    "socket2",
    "tokio",
    "tracing-subscriber",
    "ureq",
];

#[test]
fn no_crate_imports_upwards() {
    let metadata = metadata();
    let ours: BTreeSet<_> = IMPORTS.iter().map(|(name, _)| *name).collect();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let allowed = IMPORTS.iter().find(|(of, _)| *of == name);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{name} has no place in the list of this test"));
        for dependency in &package.dependencies {
            let import = dependency.name.as_str();
            let counts = dependency.kind == DependencyKind::Normal && ours.contains(import);
            assert!(!counts || allowed.contains(&import), "{name} must not import {import}");
        }
    }
}

#[test]
fn the_core_reaches_nothing_that_does_io_or_async() {
    let tree = tree(&["--package", "adit-core", "--edges", "normal,no-proc-macro", "--prefix", "none"]);
    let reached: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(reached.contains("quinn-proto"), "{tree}");
    for name in reached.into_iter().filter(|&name| name != "adit-core") {
        assert!(
            LOOKED_AT.contains(&name),
            "adit-core now depends on {name}; look at what it does before you add it to the list:\n{}",
            self::tree(&["--package", "adit-core", "--edges", "normal", "--invert", name])
        );
        assert!(!IMPURE.contains(&name));
    }
}

#[test]
fn the_core_has_no_runtime_among_its_dev_dependencies() {
    let metadata = metadata();
    for dependency in &metadata[package(&metadata, "adit-core")].dependencies {
        assert!(!IMPURE.contains(&dependency.name.as_str()), "adit-core must not use {}", dependency.name);
    }
}

#[test]
fn the_libraries_have_no_feature_flags_as_their_guides_say() {
    let metadata = metadata();
    for library in ["adit-core", "adit-driver", "adit-tokio", "adit-smol", "adit-mio"] {
        let features: Vec<_> = metadata[package(&metadata, library)].features.keys().collect();
        // What asserts is for tests only, and says so where it is declared.
        let known: &[&str] = if library == "adit-core" { &["check"] } else { &[] };
        assert_eq!(features, known, "explain them in the guide of {library}");
    }
}

#[test]
fn documents_name_the_oldest_rust_that_the_manifest_names() {
    let oldest = env!("CARGO_PKG_RUST_VERSION");
    for package in metadata().workspace_packages() {
        let version =
            package.rust_version.as_ref().map(|version| format!("{}.{}", version.major, version.minor));
        assert_eq!(version.as_deref(), Some(oldest), "{}", package.name);
    }
    for document in [
        "README.md",
        "core/src/lib.rs",
        "driver/src/lib.rs",
        "driver/docs/embedding.md",
        "runtime-mio/src/lib.rs",
    ] {
        let text = fs::read_to_string(workspace().join(document)).unwrap();
        assert!(text.contains(&format!("Rust {oldest}")), "{document} names another version than {oldest}");
    }
}

#[test]
fn rooms_of_the_core_import_only_those_above_them() {
    let source = workspace().join("core/src");
    for (place, room) in ROOMS.iter().enumerate() {
        for file in files_of_room(&source, room) {
            let text = fs::read_to_string(&file).unwrap();
            for below in &ROOMS[place + 1..] {
                assert!(!imports(&text, below), "{}: {room} must not import {below}", file.display());
            }
        }
    }
}

#[test]
fn every_room_of_the_core_is_in_the_list() {
    let text = fs::read_to_string(workspace().join("core/src/lib.rs")).unwrap();
    for room in text.lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        let room = room.trim_end_matches(';');
        assert!(ROOMS.contains(&room), "{room} has no place in the list of this test");
    }
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace_which_forbid_unsafe() {
    let manifest = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"forbid\""));
    for package in metadata().workspace_packages() {
        let manifest = fs::read_to_string(&package.manifest_path).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{} lacks the lints", package.name);
    }
}

#[test]
fn no_file_of_ours_grows_past_the_size_that_a_reader_holds() {
    const LIMIT: usize = 600;
    for package in metadata().workspace_packages() {
        for file in rust_files(package.manifest_path.parent().unwrap().as_std_path()) {
            let text = fs::read_to_string(&file).unwrap();
            let lines = without_tests(&text).lines().count();
            assert!(lines <= LIMIT, "{} has {lines} lines: which two things is it?", file.display());
        }
    }
}

/// What cargo knows of the workspace, for this machine's platform: others would be downloaded for nothing.
fn metadata() -> Metadata {
    let version = Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned();
    MetadataCommand::new()
        .current_dir(workspace())
        .other_options(["--filter-platform".to_owned(), host])
        .exec()
        .unwrap()
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn package<'a>(metadata: &'a Metadata, name: &str) -> &'a PackageId {
    &metadata.packages.iter().find(|package| package.name.as_str() == name).unwrap().id
}

/// What `cargo tree` says: unlike the metadata, it knows which features one package alone asks for.
fn tree(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).current_dir(workspace()).arg("tree").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn files_of_room(source: &Path, room: &str) -> Vec<PathBuf> {
    let single = source.join(room).with_extension("rs");
    let mut files = rust_files(&source.join(room));
    files.extend(single.is_file().then_some(single));
    assert!(!files.is_empty(), "the room {room} does not exist");
    files
}

/// Source files below `directory`, without test files, which may look anywhere.
fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = directory.read_dir() else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match path.is_dir() {
            true if name != "target" && name != "tests" => files.extend(rust_files(&path)),
            false if name.ends_with(".rs") && !name.contains("test") => files.push(path),
            _ => {}
        }
    }
    files
}

fn imports(text: &str, room: &str) -> bool {
    let code = without_tests(text).lines().filter(|line| !line.trim_start().starts_with("//"));
    let path = format!("crate::{room}");
    let names_it = |line: &str| line.split(&path).skip(1).any(|rest| !rest.starts_with(continues_a_name));
    code.into_iter().any(names_it)
}

fn continues_a_name(next: char) -> bool {
    next.is_alphanumeric() || next == '_'
}

fn without_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod ").map_or(text, |at| &text[..at])
}
