//! `adit relay start` as a process.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

fn relay(listen: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
    command.args(["relay", "start", "--listen", listen, "--user", "ada:secret"]).env_remove("RUST_LOG");
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The first line of the relay's output, which tells its address.
fn address(relay: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(relay.stdout.take().unwrap()).read_line(&mut line).unwrap();
    line.trim().strip_prefix("listening on ").unwrap().to_owned()
}

fn errors(relay: &mut Child) -> String {
    let mut text = String::new();
    relay.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_relay_answers_and_ends_cleanly_when_it_is_told_to() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut relay = relay("127.0.0.1:0");
        let address = address(&mut relay);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // A Binding request without attributes (RFC 8489 §5).
        let request = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
        client.send_to(&request, &address).unwrap();
        let mut answer = [0; 100];
        client.recv_from(&mut answer).unwrap();
        assert_eq!((&answer[..2], &answer[4..20]), (&[1, 1][..], &request[4..]));

        kill_process(Pid::from_child(&relay), signal).unwrap();
        assert_eq!(relay.wait().unwrap().code(), Some(0));
        assert!(errors(&mut relay).contains("the relay stops"));
    }
}

#[test]
fn a_relay_whose_output_nobody_reads_any_more_ends_cleanly_too() {
    let mut relay = relay("127.0.0.1:0");
    let _ = address(&mut relay);
    drop(relay.stderr.take());
    kill_process(Pid::from_child(&relay), Signal::TERM).unwrap();
    assert_eq!(relay.wait().unwrap().code(), Some(0));
}

#[test]
fn a_relay_takes_all_the_descriptors_that_it_may() {
    let mut command = Command::new("sh");
    let start = "ulimit -S -n 200 && exec \"$0\" relay start --listen 127.0.0.1:0 --user ada:secret";
    command.args(["-c", start, env!("CARGO_BIN_EXE_adit")]).stdout(Stdio::piped());
    let mut relay = command.spawn().unwrap();
    let _ = address(&mut relay);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", relay.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut limits = files.split_whitespace().skip(3);
    assert_eq!(limits.next(), limits.next());
    relay.kill().unwrap();
    relay.wait().unwrap();
}

#[test]
fn an_address_of_another_machine_is_named_at_the_start() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
    command.args([
        "relay",
        "start",
        "--listen",
        "127.0.0.1:0",
        "--relay-ip",
        "192.0.2.55",
        "--user",
        "ada:secret",
    ]);
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{errors}");
    assert!(errors.contains("can't be bound to 192.0.2.55") && errors.contains("--relay-ip"), "{errors}");
}

#[test]
fn a_taken_port_is_named() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _owner = UdpSocket::bind(taken).unwrap();
    let mut relay = relay(&taken.to_string());
    assert_eq!(relay.wait().unwrap().code(), Some(7));
    let errors = errors(&mut relay);
    assert!(errors.contains(&format!("can't listen on {taken} by UDP: the port is taken")), "{errors}");
    assert!(errors.contains("next: "), "{errors}");
}
