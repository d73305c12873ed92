//! The command line as a whole; each command's own flags stand next to what it does.

use clap::{Parser, Subcommand};

use crate::log::LogFormat;
use crate::{admin, ca, config, demo, exit, forward, gateway, login, platform, relay, run};

/// Reach a private database or API without one inbound port.
///
/// A gateway inside the private network keeps an allocation on a TURN relay. A connector outside reaches it
/// there and opens streams to the targets that the gateway's operator allowed: end to end over QUIC with
/// mutual TLS, so that the relay sees ciphertext only.
///
/// A flag beats an environment variable (ADIT_…), which beats the file.
#[derive(Debug, Parser)]
#[command(name = "adit", version = VERSION, after_long_help = exit::TABLE, propagate_version = true)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// How log lines look: for people, or one JSON object a line.
    ///
    /// They go to standard error. RUST_LOG chooses which: RUST_LOG=debug shows every session.
    #[arg(long, global = true, env = "ADIT_LOG_FORMAT", default_value = "human", value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Version and commit.
pub(crate) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("ADIT_COMMIT"), ")");

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(subcommand)]
    Relay(relay::Relay),
    #[command(subcommand)]
    Gateway(gateway::Gateway),
    Forward(forward::Forward),
    Run(run::Run),
    #[command(subcommand)]
    Platform(platform::Platform),
    Login(login::Login),
    Logout(login::Logout),
    Whoami(login::WhoamiArgs),
    Orgs(admin::orgs::Orgs),
    Identities(admin::identities::Identities),
    Projects(admin::projects::Projects),
    Links(admin::links::Links),
    Gateways(admin::gateways::Gateways),
    Relays(admin::relays::Relays),
    Databases(admin::databases::Databases),
    Secrets(admin::secrets::Secrets),
    Leases(admin::leases::Leases),
    Rotations(admin::rotations::Rotations),
    Audit(admin::audit::Audit),
    #[command(subcommand)]
    Ca(ca::Ca),
    #[command(subcommand)]
    Config(config::Config),
    Demo(demo::Demo),
    /// Print completions for a shell.
    #[command(after_help = "Example:\n  adit completions bash > /etc/bash_completion.d/adit")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_examples_in_the_help_are_right() {
        let mut examples = Vec::new();
        collect(&Cli::command(), &mut examples);
        assert!(examples.len() > 10, "{examples:?}");
        for example in examples {
            assert!(Cli::try_parse_from(words(&example)).is_ok(), "{example}");
        }
    }

    /// The words as a shell takes them: what stands in quotes is one.
    fn words(line: &str) -> Vec<&str> {
        let part = |(number, part)| match number % 2 {
            0 => str::split_whitespace(part).collect(),
            _ => vec![part],
        };
        line.split('\'').enumerate().flat_map(part).collect()
    }

    /// The commands that the help of `command` and of those below it shows, without comments and redirections.
    fn collect(command: &clap::Command, examples: &mut Vec<String>) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let lines = help.lines().filter_map(|line| line.strip_prefix("  adit "));
        examples
            .extend(lines.map(|line| format!("adit {}", line.split(['#', '>']).next().expect("one part"))));
        command.get_subcommands().for_each(|below| collect(below, examples));
    }
}
