//! What most commands have in common: one asks for a thing or a list, makes, changes, tests or deletes, and the answer
//! is shown.

use adit_platform::client::{Client, segment};
use adit_platform::words::{Check, EnrolmentToken, Health, TestReport};
use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::output::{Out, ends};
use super::wait::{self, Wait};
use super::{Answer, Output};
use crate::exit::{Exit, Failure};
use crate::login::Connection;
use crate::service;

// What a command is about. No comment for clap here: it would stand in place of the command's own.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// Its name or id.
    pub(super) name: String,
}

impl Named {
    /// Its place below `/v1/` and `noun`.
    pub(super) fn path(&self, noun: &str) -> String {
        path(noun, &self.name)
    }
}

/// The place of `name` below `/v1/` and `noun`.
pub(crate) fn path(noun: &str, name: &str) -> String {
    format!("/v1/{noun}/{}", segment(name))
}

/// A platform that is asked, and somebody who is told.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) output: Output,
}

impl Session {
    /// Runs `work` with whoever `connection` means.
    pub(super) fn run(
        connection: &Connection,
        work: impl AsyncFnOnce(&Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        service::block_on(async {
            let (client, output) = connection.open().await?;
            work(&Self { client, output }).await
        })
    }

    /// Shows a list of all its pages, or of `at_most` items, as a table.
    pub(super) async fn list<T: DeserializeOwned, const N: usize>(
        &self,
        path: &str,
        at_most: usize,
        header: [&str; N],
        row: impl Fn(&T) -> [String; N],
        none: &str,
    ) -> Result<(), Failure> {
        let answer = Answer::<Vec<T>>::list(&self.client, path, at_most).await?;
        self.output.table(&answer, header, row, none);
        Ok(())
    }

    /// Shows one thing.
    pub(super) async fn show<T: DeserializeOwned>(
        &self,
        path: &str,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        self.output.show(&Answer::<T>::get(&self.client, path).await?, text);
        Ok(())
    }

    /// Shows one thing that a `kind` and a name tell, once it is healthy where that is waited for.
    pub(super) async fn show_healthy<T: DeserializeOwned>(
        &self,
        (kind, name): (&str, &str),
        path: &str,
        wait: &Wait,
        health: impl Fn(&T) -> Health,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let fetch = || Answer::<T>::get(&self.client, path);
        let (answer, verdict) = wait::until_healthy(wait, &format!("{kind} {name}"), fetch, health).await?;
        self.output.show(&answer, text);
        verdict
    }

    /// Makes a token that enrols an instance of what the name of `noun` is, once. `next` is told where the token is.
    pub(super) async fn enrol(
        &self,
        noun: &str,
        name: &str,
        out: &Out,
        done: &str,
        next: impl FnOnce(&str) -> String,
    ) -> Result<(), Failure> {
        let out = out.path()?;
        let path = format!("{}/enrolment-tokens", path(noun, name));
        let answer = Answer::<EnrolmentToken>::post(&self.client, &path, &json!({})).await?;
        let done = format!("{done} ({})", ends(answer.value.expires_at));
        self.output.token(&answer, &answer.value.token, out, &done, next)
    }

    /// Sends `body`, and shows what came of it.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        self.output.show(&Answer::<T>::post(&self.client, path, body).await?, text);
        Ok(())
    }

    /// Changes something, and shows how it is now.
    pub(super) async fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        self.output.show(&Answer::<T>::patch(&self.client, path, body).await?, text);
        Ok(())
    }

    /// Deletes something, and says `done`.
    pub(super) async fn delete(&self, path: &str, done: &str) -> Result<(), Failure> {
        self.client.delete(path).await?;
        self.output.done(done);
        Ok(())
    }

    /// Has something tested that the name of `noun` is, and shows what was found. What to do `next` is said where all is
    /// well; where it is not, the exit status tells.
    pub(super) async fn test(&self, noun: &str, name: &str, next: &str) -> Result<(), Failure> {
        let path = format!("{}/test", path(noun, name));
        let answer = Answer::<TestReport>::post(&self.client, &path, &json!({})).await?;
        self.output.show(&answer, |report| match report.ok {
            true => format!("{}\n next: {next}", findings(report)),
            false => findings(report),
        });
        if answer.value.ok {
            return Ok(());
        }
        let wrong = answer.value.checks.iter().filter(|check| !check.ok).count();
        Err(Failure::new(Exit::Other, format!("{wrong} of {} checks failed", answer.value.checks.len()))
            .next(format!("do what stands at them, and test again: adit {noun} test {name}")))
    }
}

/// A line for each check, with what was found and what to do about it.
fn findings(report: &TestReport) -> String {
    let mut lines = Vec::new();
    if let Some(version) = &report.server_version {
        lines.push(format!("server: {version}"));
    }
    for Check { name, ok, found, remedy } in &report.checks {
        let found = found.as_ref().map(|found| format!(": {found}")).unwrap_or_default();
        lines.push(format!(" {} {name}{found}", if *ok { '✓' } else { '✗' }));
        if let (false, Some(remedy)) = (ok, remedy) {
            lines.extend(remedy.lines().map(|line| format!("     {line}")));
        }
    }
    // A clock that is wrong cuts lives short, or lengthens them, by as much.
    if let Some(ahead) = report.clock_ahead.filter(|ahead| ahead.unsigned_abs() > 1) {
        let direction = if ahead > 0 { "ahead of" } else { "behind" };
        lines.push(format!(" the server's clock is {} s {direction} the platform's", ahead.unsigned_abs()));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_show_what_is_wrong_and_what_to_do() {
        let check = |name: &str, ok, remedy: Option<&str>| Check {
            name: name.into(),
            ok,
            found: (!ok).then(|| "it may not".into()),
            remedy: remedy.map(String::from),
        };
        let report = TestReport {
            ok: false,
            server_version: Some("PostgreSQL 15".into()),
            clock_ahead: Some(-40),
            checks: vec![
                check("the login", true, Some("not shown")),
                check("roles", false, Some("ALTER ROLE a\nCREATEROLE;")),
            ],
        };
        let expected = "server: PostgreSQL 15\n ✓ the login\n ✗ roles: it may not\n     ALTER ROLE a\n     CREATEROLE;\n \
                        the server's clock is 40 s behind the platform's";
        assert_eq!(findings(&report), expected);
    }

    #[test]
    fn whatever_is_typed_stays_one_part_of_the_path() {
        assert_eq!(Named { name: "a/../b".into() }.path("secrets"), "/v1/secrets/a%2F..%2Fb");
    }
}
