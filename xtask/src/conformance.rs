//! `cargo xtask test --conformance`: what RFC 8656, RFC 8489 and RFC 6062 ask of the relay and the client, and which test shows
//! that it is held. The statements are data: `tests/conformance/*.toml`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// The tables, in the order in which they are printed.
const TABLES: [&str; 3] =
    ["tests/conformance/rfc8656.toml", "tests/conformance/rfc8489.toml", "tests/conformance/rfc6062.toml"];

/// The statements of one RFC.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    rfc: String,
    statements: Vec<Statement>,
}

/// One thing that an RFC asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    /// The section, such as `7.2`.
    at: String,
    /// How strongly it is asked for.
    level: Level,
    /// Of whom.
    of: Side,
    /// What, in our words.
    says: String,
    /// The tests that show that it is held.
    #[serde(default)]
    tests: Vec<String>,
    /// Why it is not built.
    not_yet: Option<String>,
    /// Why it will not be built.
    left_out: Option<String>,
    /// Why something else is done: for what an RFC leaves to us, or knowingly against it.
    otherwise: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum Level {
    #[serde(rename = "MUST")]
    Must,
    #[serde(rename = "MUST NOT")]
    MustNot,
    #[serde(rename = "SHOULD")]
    Should,
    #[serde(rename = "SHOULD NOT")]
    ShouldNot,
    #[serde(rename = "MAY")]
    May,
    /// Said without a key word.
    #[serde(rename = "is")]
    Is,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    Relay,
    Client,
    Both,
}

/// Where a statement stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State<'a> {
    Held,
    NotYet(&'a str),
    LeftOut(&'a str),
    Otherwise(&'a str),
}

/// How many statements stand where.
#[derive(Debug, Default)]
struct Counts {
    held: usize,
    otherwise: usize,
    not_yet: usize,
    left_out: usize,
}

/// Prints the tables, and fails where a statement names a test that is not there.
pub(crate) fn run() -> Result<()> {
    let mut missing = Vec::new();
    for table in TABLES.map(Path::new) {
        let table = read(table)?;
        let counts = print(&table);
        println!("RFC {}: {counts}\n", table.rfc);
        missing.extend(faults(&table, Path::new(".")));
    }
    if missing.is_empty() { Ok(()) } else { bail!("{}", missing.join("\n")) }
}

fn read(path: &Path) -> Result<Table> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is no table of statements", path.display()))
}

fn print(table: &Table) -> Counts {
    let mut counts = Counts::default();
    for statement in &table.statements {
        let Ok(state) = statement.state() else { continue };
        counts.add(state);
        let Statement { at, level, of, says, .. } = statement;
        println!("{:>5} §{at:<8} {level:<10} {of:<7} {says}", table.rfc);
        match state {
            State::Held => statement.tests.iter().for_each(|test| println!("{:16}held: {test}", "")),
            State::NotYet(why) => println!("{:16}not yet: {why}", ""),
            State::LeftOut(why) => println!("{:16}left out: {why}", ""),
            State::Otherwise(why) => {
                println!("{:16}otherwise: {why}", "");
                statement.tests.iter().for_each(|test| println!("{:16}  shown by: {test}", ""));
            }
        }
    }
    counts
}

/// What is wrong with a table: statements without a state or with two, and tests that are not in the sources.
fn faults(table: &Table, root: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    for statement in &table.statements {
        let place = format!("RFC {} §{} ({})", table.rfc, statement.at, statement.says);
        if let Err(error) = statement.state() {
            faults.push(format!("{place}: {error}"));
        }
        let unknown = statement.tests.iter().filter(|test| !exists(root, test));
        faults.extend(unknown.map(|test| format!("{place}: there is no test {test}")));
    }
    faults
}

impl Statement {
    fn state(&self) -> Result<State<'_>> {
        match (&self.not_yet, &self.left_out, &self.otherwise) {
            (None, None, None) if !self.tests.is_empty() => Ok(State::Held),
            (Some(why), None, None) if self.tests.is_empty() => Ok(State::NotYet(why)),
            (None, Some(why), None) if self.tests.is_empty() => Ok(State::LeftOut(why)),
            (None, None, Some(why)) => Ok(State::Otherwise(why)),
            _ => bail!("it names tests, or one reason why there are none"),
        }
    }
}

/// Whether `test` is a test of the sources: `core::relay::tests::data::name` for a unit test of the core,
/// `core/tests/file::name` for one of the files of integration tests.
fn exists(root: &Path, test: &str) -> bool {
    let Some((module, function)) = test.rsplit_once("::") else { return false };
    let (file, inline) = match module.split_once("::") {
        Some((room, modules)) if !room.contains('/') => {
            let Some(found) = module_file(&root.join(room).join("src"), modules) else { return false };
            found
        }
        _ => (root.join(format!("{module}.rs")), None),
    };
    let Ok(text) = fs::read_to_string(file) else { return false };
    let text = match inline {
        Some(inline) => text.split_once(&format!("mod {inline} {{")).map_or("", |(_, rest)| rest),
        None => &text,
    };
    has_test(text, function)
}

/// The file of a module, and the name of the module inside it where it has no file of its own.
fn module_file<'a>(source: &Path, modules: &'a str) -> Option<(PathBuf, Option<&'a str>)> {
    let file = |modules: &str| {
        let base = source.join(modules.replace("::", "/"));
        [base.with_extension("rs"), base.join("mod.rs")].into_iter().find(|path| path.is_file())
    };
    if let Some(own) = file(modules) {
        return Some((own, None));
    }
    let (outer, inline) = modules.rsplit_once("::")?;
    Some((file(outer)?, Some(inline)))
}

/// Whether `text` holds a function of that name right behind `#[test]`.
fn has_test(text: &str, function: &str) -> bool {
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        if line == "#[test]" {
            marked = true;
        } else if line.starts_with(&format!("fn {function}(")) {
            return marked;
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            marked = false;
        }
    }
    false
}

impl Counts {
    fn add(&mut self, state: State<'_>) {
        *match state {
            State::Held => &mut self.held,
            State::NotYet(_) => &mut self.not_yet,
            State::LeftOut(_) => &mut self.left_out,
            State::Otherwise(_) => &mut self.otherwise,
        } += 1;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { held, otherwise, not_yet, left_out } = self;
        let all = held + otherwise + not_yet + left_out;
        write!(
            f,
            "{all} statements: {held} held, {otherwise} otherwise, {not_yet} not yet, {left_out} left out"
        )
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Must => "MUST",
            Self::MustNot => "MUST NOT",
            Self::Should => "SHOULD",
            Self::ShouldNot => "SHOULD NOT",
            Self::May => "MAY",
            Self::Is => "",
        })
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Relay => "relay",
            Self::Client => "client",
            Self::Both => "both",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_names_tests_that_are_there_or_says_why_not() {
        for table in TABLES {
            let table = read(&crate::root().join(table)).unwrap();
            assert_eq!(faults(&table, &crate::root()), [] as [String; 0]);
        }
    }

    #[test]
    fn a_test_that_is_not_there_is_found_out() {
        let exists = |test: &str| exists(&crate::root(), test);
        assert!(exists("core::relay::tests::data::channel_data_flows_both_ways"));
        assert!(exists("core::relay::permission::tests::a_full_table_still_refreshes"), "an inline module");
        assert!(exists("core/tests/client_on_relay::closing_frees_the_allocation_at_once"));
        assert!(!exists("core::relay::tests::data::channel_data_flows_three_ways"));
        assert!(!exists("core::relay::tests::data::with_channel"), "a helper is no test");
        assert!(!exists("core::relay::tests::nowhere::channel_data_flows_both_ways"));
        assert!(!exists("core/tests/nowhere::closing_frees_the_allocation_at_once"));
    }

    #[test]
    fn a_statement_has_one_state() {
        let statement = |rest: &str| -> Statement {
            toml::from_str(&format!("at = '1'\nlevel = 'MUST'\nof = 'relay'\nsays = 'x'\n{rest}")).unwrap()
        };
        assert_eq!(statement("tests = ['a::b']").state().unwrap(), State::Held);
        assert_eq!(statement("not_yet = 'why'").state().unwrap(), State::NotYet("why"));
        assert!(statement("").state().is_err());
        assert!(statement("tests = ['a::b']\nnot_yet = 'why'").state().is_err());
    }
}
