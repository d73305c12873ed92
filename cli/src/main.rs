//! The one binary of Adit: it reads flags, environment and files, starts a part, and says what went wrong.

mod addresses;
mod admin;
mod agent;
mod args;
mod ca;
mod config;
mod demo;
mod exit;
mod files;
mod forward;
mod gateway;
mod install;
mod log;
mod login;
mod monitor;
mod news;
mod platform;
mod relay;
mod run;
mod service;
mod token;
mod typed;
mod when;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use args::{Cli, Command};
use exit::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log::start(cli.log_format);
    match run(cli.command) {
        Ok(status) => status,
        Err(failure) => {
            log::report(cli.log_format, &failure);
            failure.exit.into()
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    let done = match command {
        Command::Run(run) => return run::run(&run),
        Command::Relay(relay) => relay::run(relay),
        Command::Gateway(gateway) => gateway::run(gateway),
        Command::Forward(forward) => forward::run(forward),
        Command::Ca(ca) => ca::run(ca),
        Command::Platform(platform) => platform::run(platform),
        Command::Login(flags) => login::login(&flags),
        Command::Logout(login::Logout) => login::logout(),
        Command::Whoami(flags) => login::whoami(&flags),
        Command::Orgs(orgs) => admin::orgs::run(&orgs),
        Command::Identities(identities) => admin::identities::run(&identities),
        Command::Projects(projects) => admin::projects::run(&projects),
        Command::Links(links) => admin::links::run(&links),
        Command::Gateways(gateways) => admin::gateways::run(&gateways),
        Command::Relays(relays) => admin::relays::run(&relays),
        Command::Databases(databases) => admin::databases::run(&databases),
        Command::Secrets(secrets) => admin::secrets::run(&secrets),
        Command::Leases(leases) => admin::leases::run(&leases),
        Command::Rotations(rotations) => admin::rotations::run(&rotations),
        Command::Audit(audit) => admin::audit::run(&audit),
        Command::Config(config) => config::run(config),
        Command::Demo(demo) => demo::run(&demo),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "adit", &mut script);
            service::say(format_args!("{}", String::from_utf8_lossy(&script).trim_end()));
            Ok(())
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}
