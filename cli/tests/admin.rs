//! The commands of the platform where there is none.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use adit_platform::trust::token::{Kind, Token};

/// A user with a directory for the configuration, and the file `token` in it.
struct User(tempfile::TempDir);

impl User {
    fn new() -> Self {
        let user = Self(tempfile::tempdir().unwrap());
        user.write("token", &Token::new(Kind::Identity, None).reveal());
        user
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn adit(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
        command.args(arguments).current_dir(self.0.path()).env("ADIT_CONFIG_DIR", self.0.path());
        for name in ["RUST_LOG", "ADIT_DOMAIN", "ADIT_TOKEN_FILE", "ADIT_CA_FILE"] {
            command.env_remove(name);
        }
        command.output().unwrap()
    }
}

#[track_caller]
fn fails(output: &Output, status: i32, texts: &[&str]) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{errors}");
    for text in texts {
        assert!(errors.contains(text), "{text:?} is missing in: {errors}");
    }
}

#[test]
fn without_a_login_it_is_said_how_to_log_in() {
    let user = User::new();
    for command in [&["gateways", "ls"][..], &["whoami"], &["audit", "verify"], &["links", "ls", "--json"]] {
        fails(&user.adit(command), 2, &["the platform is not known", "adit login --domain URL"]);
    }
    fails(&user.adit(&["orgs", "ls", "--domain", "127.0.0.1:1"]), 2, &["no token for https://127.0.0.1:1"]);
    assert!(user.adit(&["logout"]).status.success());
}

#[test]
fn a_platform_that_is_not_there_has_its_own_status() {
    let user = User::new();
    let flags = ["--domain", "127.0.0.1:1", "--token-file", "token"];
    user.write("ca.pem", "none");
    fails(&user.adit(&[&["whoami", "--ca-file", "ca.pem"], &flags[..]].concat()), 3, &["PEM"]);
    user.write("token", &Token::new(Kind::Identity, Some([7; 32])).reveal());
    for command in [&["login"][..], &["gateways", "ls"], &["gateways", "show", "gw-1"]] {
        fails(&user.adit(&[command, &flags].concat()), 11, &["https://127.0.0.1:1 can't be reached"]);
    }
    let command = [&["run", "--secret", "s"], &flags[..], &["--", "true"]].concat();
    fails(&user.adit(&command), 11, &["https://127.0.0.1:1 can't be reached"]);
    assert!(!user.0.path().join("login.json").exists());
}

#[test]
fn a_password_is_no_argument_and_is_read_before_anything_is_sent() {
    let user = User::new();
    let flags = ["--domain", "127.0.0.1:1", "--token-file", "token"];
    let add =
        ["databases", "add", "d", "db:5432", "--project", "p", "--gateway", "g", "--admin-user", "adit"];
    fails(&user.adit(&[&add[..], &["--admin-password", "x"]].concat()), 2, &["--admin-password"]);
    let with = |file: &str| user.adit(&[&add[..], &flags, &["--admin-password-file", file]].concat());
    user.write("empty", "\n");
    fails(&with("empty"), 2, &["the password of the user adit is empty"]);
    fails(&with("none"), 3, &["can't be read"]);
    fails(&user.adit(&[&add[..], &flags].concat()), 2, &["is not known", "--admin-password-file FILE"]);
    user.write("password", "secret");
    fails(&with("password"), 11, &["https://127.0.0.1:1 can't be reached"]);
}

#[test]
fn what_a_command_of_dynamic_secrets_needs_is_asked_for() {
    let user = User::new();
    fails(&user.adit(&["run", "--secret", "s", "true"]), 2, &["--"]);
    fails(&user.adit(&["secrets", "add", "s", "--database", "d"]), 2, &["--access"]);
    fails(&user.adit(&["rotations", "add", "r", "--database", "d", "--user", "u"]), 2, &["--every"]);
}

#[test]
fn a_login_is_read_and_forgotten() {
    let user = User::new();
    let token = Token::new(Kind::Identity, Some([7; 32])).reveal();
    user.write("login.json", &format!(r#"{{"url":"https://127.0.0.1:1","token":"{}"}}"#, *token));
    fails(&user.adit(&["gateways", "ls"]), 11, &["https://127.0.0.1:1 can't be reached"]);
    user.write("login.json", r#"{"url":"https://127.0.0.1:1"}"#);
    fails(&user.adit(&["gateways", "ls"]), 3, &["login.json is damaged", "log in again"]);
    assert!(user.adit(&["logout"]).status.success());
    assert!(!user.0.path().join("login.json").exists());
}

#[test]
fn tokens_and_files_are_checked_before_anybody_is_asked() {
    let user = User::new();
    user.write("token", "hunter2");
    let flags = ["--domain", "127.0.0.1:1", "--token-file", "token"];
    fails(&user.adit(&[&["login"], &flags[..]].concat()), 2, &["not a token"]);
    user.write("token", &Token::new(Kind::Gateway, None).reveal());
    fails(&user.adit(&[&["login"], &flags[..]].concat()), 2, &["a gateway's enrolment token"]);
    fails(&user.adit(&["login", "--domain", "http://127.0.0.1"]), 2, &["https only"]);
    fails(&user.adit(&["identities", "set", "ada"]), 2, &["--role"]);
    fails(&user.adit(&["links", "add", "shop", "gw-1", "db"]), 2, &["db"]);
}
