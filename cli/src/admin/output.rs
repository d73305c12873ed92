//! What a command says, to people or to programs.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use adit_core::time::UnixTime;
use adit_platform::words::{Health, Trouble};
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::Answer;
use crate::exit::Failure;
use crate::log::tell;
use crate::service::say;
use crate::{files, when};

/// To whom a command speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// To programs.
    pub(crate) json: bool,
}

impl Output {
    /// Shows an answer.
    pub(crate) fn show<T>(self, answer: &Answer<T>, text: impl FnOnce(&T) -> String) {
        match self.json {
            true => print_json(&answer.json),
            false => say(format_args!("{}", printable(&text(&answer.value)))),
        }
    }

    /// Shows a list as a table, or says that there is nothing in it, and how that changes.
    pub(crate) fn table<T, const N: usize>(
        self,
        answer: &Answer<Vec<T>>,
        header: [&str; N],
        row: impl Fn(&T) -> [String; N],
        none: &str,
    ) {
        self.show(answer, |items| match items.is_empty() {
            true => none.to_owned(),
            false => table(header, items.iter().map(row)),
        });
    }

    /// Shows a new token, as [`Output::secret`] does.
    pub(super) fn token<T>(
        self,
        answer: &Answer<T>,
        token: &str,
        out: Option<&Path>,
        done: &str,
        next: impl FnOnce(&str) -> String,
    ) -> Result<(), Failure> {
        self.secret(answer, Revealed { word: "token", secret: token, once: true }, out, done, next)
    }

    /// Shows a secret: into the file `out`, or alone on standard output. What is said about it
    /// goes to standard error where the secret takes the other. `next` is told where the secret is.
    pub(super) fn secret<T>(
        self,
        answer: &Answer<T>,
        Revealed { word, secret, once }: Revealed<'_>,
        out: Option<&Path>,
        done: &str,
        next: impl FnOnce(&str) -> String,
    ) -> Result<(), Failure> {
        if let Some(path) = out {
            files::create(path, &format!("{secret}\n"), files::SECRET)?;
        }
        if self.json {
            print_json(&answer.json);
            return Ok(());
        }
        match out {
            Some(path) => say(format_args!(
                "{done}; its {word} is in {}\n next: {}",
                path.display(),
                next(&path.display().to_string())
            )),
            None => {
                let once = if once { ", which is shown this once" } else { "" };
                tell(format_args!("{done}; its {word}{once}:"));
                say(format_args!("{secret}"));
                tell(format_args!(" next: {}", next("FILE")));
            }
        }
        Ok(())
    }

    /// Says that something was done that has no answer.
    pub(crate) fn done(self, text: impl Display) {
        if !self.json {
            say(format_args!("{text}"));
        }
    }
}

/// A secret that is shown.
pub(super) struct Revealed<'a> {
    /// The word for it.
    pub(super) word: &'a str,
    pub(super) secret: &'a str,
    /// Whether nobody can show it again.
    pub(super) once: bool,
}

/// Where a new token or password goes.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Out {
    /// Write the secret to this new file, which nobody else may read, instead of to standard output.
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
}

impl Out {
    /// The file, which must not be there yet: better that than a secret that is lost.
    pub(super) fn path(&self) -> Result<Option<&Path>, Failure> {
        if let Some(path) = &self.out {
            files::must_be_absent(path)?;
        }
        Ok(self.out.as_deref())
    }
}

/// `text` without what would steer a terminal: agents report some of it.
fn printable(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
}

fn print_json(json: &serde_json::Value) {
    say(format_args!("{}", serde_json::to_string_pretty(json).expect("JSON is text")));
}

/// Columns without lines between them.
pub(super) fn table<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.map(str::to_uppercase));
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// A thing and what is known of it, a line each.
pub(super) fn sheet<'a>(title: &str, lines: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let lines: Vec<_> = lines.into_iter().collect();
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    let line = |(name, value): &(&str, String)| format!("\n {name:<width$}  {value}");
    title.to_owned() + &lines.iter().map(line).collect::<String>()
}

/// What hinders work on a server, or a dash.
pub(super) fn trouble(trouble: Option<&Trouble>) -> String {
    let Some(Trouble { since, attempts, error, next_at, stuck }) = trouble else { return "-".into() };
    let stuck = if *stuck { "STUCK: " } else { "" };
    format!("{stuck}{error} (since {}, {attempts} attempts, next {})", ago(*since), ago(*next_at))
}

/// The word for `value` in the API.
pub(crate) fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// Several words, or a dash.
pub(super) fn words<T: Serialize>(values: &[T]) -> String {
    joined(values.iter().map(word))
}

/// Several texts, or a dash.
pub(crate) fn joined(texts: impl IntoIterator<Item = impl Display>) -> String {
    let texts: Vec<_> = texts.into_iter().map(|text| text.to_string()).collect();
    if texts.is_empty() { "-".into() } else { texts.join(", ") }
}

/// How long ago, or in how long.
pub(crate) fn ago(unix: u64) -> String {
    when::distance(when::now(), UnixTime(unix))
}

/// The same, or `never` without a time.
pub(super) fn ago_or_never(unix: Option<u64>) -> String {
    unix.map_or_else(|| "never".into(), ago)
}

/// When a token runs out.
pub(super) fn ends(unix: u64) -> String {
    format!("the token runs out {}", ago(unix))
}

/// How something is and since when.
pub(super) fn health(health: &Health) -> String {
    format!("{} ({})", word(&health.state), ago(health.since))
}

#[cfg(test)]
mod tests {
    use adit_platform::words::HealthState;

    use super::*;

    #[test]
    fn a_table_has_columns_and_no_trailing_spaces() {
        let rows = [["gw-1", "healthy"], ["b", "offline"]].map(|row| row.map(String::from));
        let text = table(["name", "health"], rows.into_iter());
        assert_eq!(text, "NAME  HEALTH\ngw-1  healthy\nb     offline");
    }

    #[test]
    fn what_is_known_stands_in_line_and_trouble_shows_what_it_is() {
        assert_eq!(sheet("db", [("id", "1".into()), ("host", "h".into())]), "db\n id    1\n host  h");
        let now = when::now().0;
        let found =
            Trouble { since: now - 60, attempts: 3, error: "refused".into(), next_at: now + 30, stuck: true };
        let text = trouble(Some(&found));
        assert!(text.starts_with("STUCK: refused (since 60 s ago, 3 attempts, next in "), "{text}");
        assert_eq!(trouble(None), "-");
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb\nc");
    }

    #[test]
    fn words_are_those_of_the_api() {
        assert_eq!(word(&HealthState::Healthy), "healthy");
        assert_eq!(words::<HealthState>(&[]), "-");
        assert_eq!(words(&[HealthState::Offline, HealthState::Revoked]), "offline, revoked");
    }
}
