//! The commands that start nothing: certificates, configuration files, completions.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory with the authorities of `acme`, a gateway `gw-1`, a connector `laptop`, and a file for each.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.adit(&["ca", "new", "ca", "--organisation", "acme"]).ok();
        place.adit(&["ca", "issue", "ca", "gateway", "gw-1"]).ok();
        place.adit(&["ca", "issue", "ca", "connector", "laptop"]).ok();
        place.write("secret", "s3cret\n");
        place.write("gateway.toml", &gateway_toml("gw-1", "connector-ca"));
        place.write("connector.toml", &connector_toml("laptop", "gateway-ca"));
        place
    }

    fn adit(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
        Said(command.args(arguments).current_dir(self.0.path()).env_remove("RUST_LOG").output().unwrap())
    }

    fn check(&self, file: &str) -> Said {
        self.adit(&["config", "check", file])
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// What a run of the binary said.
struct Said(Output);

impl Said {
    #[track_caller]
    fn ok(self) -> String {
        assert!(self.0.status.success(), "{}", self.errors());
        String::from_utf8(self.0.stdout).unwrap()
    }

    /// Asserts the status and that all of `texts` were said on standard error.
    #[track_caller]
    fn fails(self, status: i32, texts: &[&str]) {
        let errors = self.errors();
        assert_eq!(self.0.status.code(), Some(status), "{errors}");
        for text in texts {
            assert!(errors.contains(text), "{text:?} is missing in: {errors}");
        }
    }

    fn errors(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }
}

fn gateway_toml(leaf: &str, anchor: &str) -> String {
    format!(
        r#"relays = ["turn:127.0.0.1:3478?transport=udp"]
organisation = "acme"
[credentials]
static-auth-secret-file = "secret"
[identity]
certificate = "ca/{leaf}.pem"
key = "ca/{leaf}.key"
trust-anchor = ["ca/{anchor}.pem"]
[peers]
permit = ["127.0.0.1"]
[targets]
allow = ["tcp://127.0.0.1:5432"]
[status]
address-file = "gateway.addr"
"#
    )
}

fn connector_toml(leaf: &str, anchor: &str) -> String {
    format!(
        r#"gateway-id = "gw-1"
organisation = "acme"
addresses = ["127.0.0.1:50000"]
[identity]
certificate = "ca/{leaf}.pem"
key = "ca/{leaf}.key"
trust-anchor = ["ca/{anchor}.pem"]
"#
    )
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_ca_has_private_keys_and_public_certificates() {
    let place = Place::new();
    for name in ["ca/root-ca", "ca/gateway-ca", "ca/connector-ca", "ca/gw-1", "ca/laptop"] {
        assert_eq!(mode(&place.path(&format!("{name}.key"))), 0o600);
        assert_eq!(mode(&place.path(&format!("{name}.pem"))), 0o644);
    }
    let chain = std::fs::read_to_string(place.path("ca/gw-1.pem")).unwrap();
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2);
}

#[test]
fn nothing_is_overwritten() {
    let place = Place::new();
    place.adit(&["ca", "new", "ca", "--organisation", "other"]).fails(1, &["root-ca.pem exists already"]);
    place.adit(&["ca", "issue", "ca", "gateway", "gw-1"]).fails(1, &["gw-1.pem exists already"]);
}

#[test]
fn files_in_order_are_summarised() {
    let place = Place::new();
    let said = place.check("gateway.toml").ok();
    for text in [
        "a gateway's file, in order",
        "spiffe://adit.local/org/acme/gateway/gw-1/0",
        "in 90 days",
        "ca/connector-ca.pem (of acme",
        "turn:127.0.0.1:3478?transport=udp",
        "tcp://127.0.0.1:5432",
        "gateway.addr",
    ] {
        assert!(said.contains(text), "{text:?} is missing in: {said}");
    }
    let said = place.check("connector.toml").ok();
    assert!(said.contains("spiffe://adit.local/org/acme/connector/laptop"), "{said}");
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn a_secret_that_others_may_read_is_told() {
    let place = Place::new();
    for (mode, told) in [(0o644, true), (0o600, false)] {
        std::fs::set_permissions(place.path("secret"), std::fs::Permissions::from_mode(mode)).unwrap();
        let said = place.check("gateway.toml");
        assert_eq!(said.errors().contains("others may read the relay's secret"), told, "{}", said.errors());
        said.ok();
    }
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_right_one() {
    let place = Place::new();
    let text = gateway_toml("gw-1", "connector-ca").replace("permit", "permits");
    place.write("gateway.toml", &text);
    place
        .check("gateway.toml")
        .fails(3, &["gateway.toml:10: unknown key `permits`", "did you mean `permit`?"]);
    let text = connector_toml("laptop", "gateway-ca").replace("gateway-id", "gateway_id");
    place.write("connector.toml", &text);
    place.check("connector.toml").fails(3, &["connector.toml:1: unknown key `gateway_id`", "`gateway-id`"]);
}

#[test]
fn a_wrong_value_is_named_with_its_line() {
    let place = Place::new();
    let gateway = gateway_toml("gw-1", "connector-ca");
    for (right, wrong, line, said) in [
        ("[\"127.0.0.1\"]", "[\"0.0.0.0\"]", 10, "`0.0.0.0` is not one IP address"),
        ("[\"127.0.0.1\"]", "[\"10.0.0.0/8\"]", 10, "`10.0.0.0/8` is not one IP address"),
        ("[\"127.0.0.1\"]", "\"127.0.0.1\"", 10, "expected a list"),
        ("tcp://127", "udp://127", 12, "the scheme of a target is tcp"),
        ("trust-anchor", "#", 5, "the key is missing: `trust-anchor`"),
    ] {
        place.write("gateway.toml", &gateway.replace(right, wrong));
        place.check("gateway.toml").fails(3, &[&format!("gateway.toml:{line}: "), said]);
    }
    let connector = connector_toml("laptop", "gateway-ca");
    for (address, said) in [
        ("relay.example:50000", "`relay.example:50000` is no IP address with a port"),
        ("127.0.0.1:0", "nobody can be reached"),
    ] {
        place.write("connector.toml", &connector.replace("127.0.0.1:50000", address));
        place.check("connector.toml").fails(3, &["connector.toml:3: ", said]);
    }
}

#[test]
fn a_mistake_without_a_line_is_told_with_its_file() {
    let place = Place::new();
    let gateway = gateway_toml("gw-1", "connector-ca");
    for (right, wrong, said) in [
        ("\"turn:127.0.0.1:3478?transport=udp\"", "", "relays is empty"),
        ("turn:127.0.0.1:3478", "turns:127.0.0.1:5349", "over DTLS only the relay's own certificate is seen"),
        ("static-auth-secret-file = \"secret\"", "username = \"\"\npassword = \"p\"", "may not be empty"),
        ("gateway.addr", "none/gateway.addr", "\"none/gateway.addr\" is no file in a directory that exists"),
    ] {
        place.write("gateway.toml", &gateway.replace(right, wrong));
        place.check("gateway.toml").fails(3, &["gateway.toml:", said]);
    }
}

#[test]
fn a_key_in_the_wrong_place_is_named() {
    let place = Place::new();
    let text = gateway_toml("gw-1", "connector-ca").replace("[status]\n", "");
    place.write(
        "gateway.toml",
        &format!("address-file = \"a\"\n{}", text.replace("address-file = \"gateway.addr\"\n", "")),
    );
    place.check("gateway.toml").fails(3, &["gateway.toml:1: unknown key `address-file`"]);
}

#[test]
fn a_full_disk_changes_no_status_either() {
    let place = Place::new();
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
        command.args(arguments).current_dir(place.0.path()).stdout(full()).stderr(full());
        command.status().unwrap().code()
    };
    assert_eq!(run(&["config", "check", "gateway.toml"]), Some(0));
    assert_eq!(run(&["config", "check", "none.toml"]), Some(3));
}

#[test]
fn a_missing_file_is_named() {
    let place = Place::new();
    place.check("none.toml").fails(3, &["the configuration none.toml can't be read"]);
    std::fs::remove_file(place.path("secret")).unwrap();
    place
        .check("gateway.toml")
        .fails(3, &["the relay's secret secret can't be read", "relative to that file"]);
}

#[test]
fn the_certificate_must_be_of_the_files_role() {
    let place = Place::new();
    place.write("gateway.toml", &gateway_toml("laptop", "connector-ca"));
    place.check("gateway.toml").fails(4, &["the certificate is a connector's", "ca issue DIR gateway NAME"]);
    place.write("connector.toml", &connector_toml("gw-1", "gateway-ca"));
    place
        .check("connector.toml")
        .fails(4, &["the certificate is a gateway's", "ca issue DIR connector NAME"]);
}

#[test]
fn the_certificate_must_be_of_the_files_organisation() {
    let place = Place::new();
    let text = gateway_toml("gw-1", "connector-ca").replace("\"acme\"", "\"evil\"");
    place.write("gateway.toml", &text);
    place.check("gateway.toml").fails(4, &["organisation `evil`", "the certificate says `acme`"]);
}

#[test]
fn the_anchor_must_be_the_other_sides_authority() {
    let place = Place::new();
    place.write("gateway.toml", &gateway_toml("gw-1", "gateway-ca"));
    place.check("gateway.toml").fails(4, &["is the authority of gateways", "connector-ca.pem"]);
    place.adit(&["ca", "new", "ca2", "--organisation", "evil"]).ok();
    let text = connector_toml("laptop", "gateway-ca").replace("ca/gateway-ca", "ca2/gateway-ca");
    place.write("connector.toml", &text);
    place.check("connector.toml").fails(4, &["belongs to `evil`"]);
}

#[test]
fn a_key_must_belong_to_its_certificate() {
    let place = Place::new();
    std::fs::copy(place.path("ca/laptop.key"), place.path("ca/gw-1.key")).unwrap();
    place.check("gateway.toml").fails(4, &["the key does not belong to the certificate"]);
}

#[test]
fn exactly_one_source_of_addresses_is_given() {
    let place = Place::new();
    let both = format!("address-file = \"a\"\n{}", connector_toml("laptop", "gateway-ca"));
    place.write("connector.toml", &both);
    place.check("connector.toml").fails(3, &["exactly one of addresses and address-file"]);
}

#[test]
fn a_request_is_certified_without_its_wishes() {
    let place = Place::new();
    let request = Command::new("openssl")
        .args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args([
            "-keyout",
            "own.key",
            "-out",
            "own.csr",
            "-subj",
            "/CN=admin",
            "-addext",
            "subjectAltName=DNS:admin",
        ])
        .current_dir(place.0.path())
        .output();
    // The request is only a file: where there is no openssl to make it, core's own test does.
    if !request.is_ok_and(|output| output.status.success()) {
        return;
    }
    place.adit(&["ca", "issue", "ca", "gateway", "gw-2", "--csr", "own.csr", "--days", "3"]).ok();
    assert!(!place.path("ca/gw-2.key").exists());
    std::fs::rename(place.path("own.key"), place.path("ca/gw-2.key")).unwrap();
    place.write("gateway.toml", &gateway_toml("gw-2", "connector-ca"));
    let said = place.check("gateway.toml").ok();
    assert!(said.contains("gateway/gw-2/0") && said.contains("in 3 days"), "{said}");

    place.write("broken.csr", "hello");
    place.adit(&["ca", "issue", "ca", "gateway", "gw-3", "--csr", "broken.csr"]).fails(4, &["broken.csr"]);
}

#[test]
fn targets_restrict_connectors_only() {
    let place = Place::new();
    place.adit(&["ca", "issue", "ca", "connector", "ada", "--target", "10.0.0.5:5432"]).ok();
    place.write("connector.toml", &connector_toml("ada", "gateway-ca"));
    let said = place.check("connector.toml").ok();
    assert!(said.contains("may open      tcp://10.0.0.5:5432"), "{said}");
    place.adit(&["ca", "issue", "ca", "gateway", "g", "--target", "a:1"]).fails(2, &["--target restricts"]);
    place.adit(&["ca", "issue", "ca", "connector", "c", "--target", "a"]).fails(2, &["no port"]);
}

#[test]
fn a_certificate_does_not_outlive_its_authority() {
    let place = Place::new();
    let said = place.adit(&["ca", "issue", "ca", "gateway", "g", "--days", "3651"]);
    said.fails(2, &["would outlive its authority", "fewer --days"]);
}

#[test]
fn a_reader_that_has_gone_changes_no_status() {
    let place = Place::new();
    for (arguments, status) in [
        (&["config", "check", "gateway.toml"][..], 0),
        (&["completions", "bash"], 0),
        (&["config", "check", "absent.toml"], 3),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut adit = Command::new(env!("CARGO_BIN_EXE_adit"));
        adit.args(arguments).current_dir(place.0.path());
        adit.stdout(writer.try_clone().unwrap()).stderr(writer);
        assert_eq!(adit.status().unwrap().code(), Some(status), "{arguments:?}");
    }
}

#[test]
fn errors_are_json_where_logs_are() {
    let place = Place::new();
    let said = place.adit(&["--log-format", "json", "config", "check", "none.toml"]);
    let line: serde_json::Value = serde_json::from_slice(&said.0.stderr).unwrap();
    assert_eq!((&line["level"], &line["status"]), (&"ERROR".into(), &3.into()));
}

#[test]
fn the_version_names_the_commit_and_the_help_the_statuses() {
    let place = Place(tempfile::tempdir().unwrap());
    assert!(place.adit(&["--version"]).ok().contains("(commit "));
    assert!(place.adit(&["--help"]).ok().contains("Exit status:"));
    assert!(place.adit(&["completions", "bash"]).ok().contains("complete"));
    place.adit(&["frobnicate"]).fails(2, &["unrecognized subcommand"]);
}
