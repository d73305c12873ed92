//! What goes wrong at the start, and whether a moment's patience may help.

use adit_core::connector::{ConnectError, Failure as OpenFailure};
use adit_core::pki::{explain_alert, refuses_certificate};
use adit_core::quic::CloseReason;
use adit_core::tunnel::RejectCode;
use adit_tokio::OpenError;

use crate::exit::{Exit, Failure};

/// Why the start did not succeed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It may in a moment.
    Passing(Failure),
    /// It will not without a person.
    Lasting(Failure),
}

/// The target was not opened.
pub(super) fn not_opened(error: OpenError) -> Trouble {
    match error {
        OpenError::Failed(OpenFailure::Rejected { code, sentence }) => rejected(code, &sentence),
        OpenError::Failed(OpenFailure::NotConnected(error)) => not_connected(&error),
        other => Trouble::Passing(Failure::new(Exit::GatewayUnreachable, other)),
    }
}

fn rejected(code: RejectCode, sentence: &str) -> Trouble {
    let (exit, next) = match code {
        RejectCode::Denied => (
            Exit::TargetDenied,
            "the gateway's operator allows it under [targets] in its file; a certificate that was issued \
             with --target must name it too",
        ),
        RejectCode::Refused => (Exit::TargetUnreachable, "is the service running, and is the port right?"),
        RejectCode::Dns => {
            (Exit::TargetUnreachable, "the gateway resolves the name in its own network: is it known there?")
        }
        RejectCode::Unreachable | RejectCode::TimedOut => {
            (Exit::TargetUnreachable, "can the gateway's machine reach it?")
        }
        RejectCode::Busy | RejectCode::Draining => (Exit::GatewayUnreachable, "try again in a while"),
        RejectCode::BadRequest => (Exit::Other, "are both sides of the same version?"),
    };
    let failure = Failure::new(exit, format!("the target was not opened: {sentence} ({code})")).next(next);
    if exit == Exit::GatewayUnreachable { Trouble::Passing(failure) } else { Trouble::Lasting(failure) }
}

/// There is no connection to the gateway.
pub(super) fn not_connected(error: &ConnectError) -> Trouble {
    match error {
        ConnectError::Closed { address, reason } => not_accepted(&address.to_string(), reason),
        ConnectError::Socket(_) => Trouble::Lasting(Failure::new(Exit::Address, error)),
        _ => Trouble::Passing(Failure::new(Exit::GatewayUnreachable, error)),
    }
}

fn not_accepted(address: &str, reason: &CloseReason) -> Trouble {
    match reason {
        CloseReason::TlsRefusedByPeer { alert } if refuses_certificate(*alert) => Trouble::Lasting(
            Failure::new(
                Exit::Certificate,
                format!("the gateway refused our certificate: {}", explain_alert(*alert)),
            )
            .next("the gateway's log says more"),
        ),
        CloseReason::TlsRefusedByUs { alert, detail } if refuses_certificate(*alert) => Trouble::Lasting(
            Failure::new(Exit::Certificate, format!("the gateway's certificate was refused: {detail}"))
                .next("check the connector's file with: adit config check"),
        ),
        CloseReason::TlsRefusedByPeer { .. }
        | CloseReason::TlsRefusedByUs { .. }
        | CloseReason::VersionMismatch => Trouble::Lasting(
            Failure::new(Exit::GatewayUnreachable, format!("no gateway answers at {address}: {reason}"))
                .next("is the address that of a gateway?"),
        ),
        _ => Trouble::Passing(
            Failure::new(
                Exit::GatewayUnreachable,
                format!("the gateway can't be reached at {address}: {reason}"),
            )
            .next(
                "is it running, is the address still right, and is this machine's address in its [peers] \
                 permit?",
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(trouble: Trouble) -> (Exit, bool) {
        match trouble {
            Trouble::Passing(failure) => (failure.exit, true),
            Trouble::Lasting(failure) => (failure.exit, false),
        }
    }

    fn closed(reason: CloseReason) -> (Exit, bool) {
        exit(not_connected(&ConnectError::Closed { address: "192.0.2.1:1".parse().unwrap(), reason }))
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        assert_eq!(closed(CloseReason::TimedOut), (Exit::GatewayUnreachable, true));
        assert_eq!(closed(CloseReason::TlsRefusedByPeer { alert: 48 }), (Exit::Certificate, false));
        assert_eq!(closed(CloseReason::TlsRefusedByPeer { alert: 120 }), (Exit::GatewayUnreachable, false));
        assert_eq!(exit(not_connected(&ConnectError::NoAddress)), (Exit::GatewayUnreachable, true));
    }

    #[test]
    fn each_rejection_has_its_status() {
        for (code, expected) in [
            (RejectCode::Denied, (Exit::TargetDenied, false)),
            (RejectCode::Refused, (Exit::TargetUnreachable, false)),
            (RejectCode::TimedOut, (Exit::TargetUnreachable, false)),
            (RejectCode::Draining, (Exit::GatewayUnreachable, true)),
        ] {
            assert_eq!(exit(rejected(code, "")), expected);
        }
    }
}
