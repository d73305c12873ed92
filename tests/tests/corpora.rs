//! Replays what fuzzing has found worth keeping: every file of `fuzz/corpus`, through the function of its target.
//!
//! `cargo xtask fuzz` grows the corpora. A file whose name is a sentence is an input that once broke something.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by failing")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, panic, thread};

use adit_tests::fuzz::{TARGETS, Target};

/// Bytes of all corpora together: they are part of every clone.
const MOST_BYTES: u64 = 1 << 20;

#[test]
fn no_input_that_fuzzing_has_kept_breaks_its_target() {
    let files: Vec<(Target, PathBuf)> = TARGETS.iter().flat_map(of_target).collect();
    // Two threads: one would take twice as long, and more are not had everywhere.
    let broken: Vec<&Path> = thread::scope(|scope| {
        let files = &files;
        let halves = [0, 1].map(|half| scope.spawn(move || broken(files.iter().skip(half).step_by(2))));
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    });
    assert!(broken.is_empty(), "see what each does by `cargo xtask fuzz --replay FILE`: {broken:#?}");
}

#[test]
fn every_target_has_a_program_and_a_corpus() {
    let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let programs = names(&fuzz().join("fuzz_targets")).map(|name| name.trim_end_matches(".rs").to_owned());
    assert_eq!(programs.collect::<BTreeSet<_>>(), targets);
    assert_eq!(names(&fuzz().join("corpus")).collect::<BTreeSet<_>>(), targets);
    for name in &targets {
        assert!(inputs(name).count() > 0, "the corpus of {name} is empty");
    }
}

#[test]
fn the_corpora_stay_small() {
    let sizes = TARGETS.iter().flat_map(|(name, _)| inputs(name)).map(|file| file.metadata().unwrap().len());
    let bytes: u64 = sizes.sum();
    assert!(bytes <= MOST_BYTES, "{bytes} bytes: take out what others cover too");
}

/// The files that break their targets.
fn broken<'a>(files: impl Iterator<Item = &'a (Target, PathBuf)>) -> Vec<&'a Path> {
    let breaks = |(target, file): &&(Target, PathBuf)| {
        let input = fs::read(file).unwrap();
        panic::catch_unwind(|| target(&input)).is_err()
    };
    files.filter(breaks).map(|(_, file)| file.as_path()).collect()
}

fn of_target((name, target): &(&str, Target)) -> impl Iterator<Item = (Target, PathBuf)> + use<> {
    let target = *target;
    inputs(name).map(move |file| (target, file))
}

fn inputs(target: &str) -> impl Iterator<Item = PathBuf> + use<> {
    let corpus = fuzz().join("corpus").join(target);
    let mut files: Vec<_> = names(&corpus).collect();
    files.sort();
    files.into_iter().map(move |file| corpus.join(file))
}

fn names(directory: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap())
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("fuzz")
}
