//! The control streams: what connectors say about their connection as a whole.

use std::net::IpAddr;
use std::time::Duration;

use super::{Session, Sessions};
use crate::gateway::permits::Refused;
use crate::gateway::{Cause, Event, Step};
use crate::pki::{PeerInfo, Role};
use crate::quic::{ConnId, StreamId};
use crate::tunnel::{Control, Frame};

impl Sessions {
    pub(super) fn control_opened(&mut self, step: &mut Step<'_>, conn: ConnId, stream: StreamId) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        let control = session.control.insert(Control::new(conn, stream));
        control.send(step.quic, &Frame::Paths(self.paths.clone()));
        if self.draining {
            control.send(step.quic, &Frame::Drain);
        }
        self.control_ready(step, conn);
    }

    pub(super) fn control_ready(&mut self, step: &mut Step<'_>, conn: ConnId) {
        let Some(Session { peer, control: Some(control), ending: None, .. }) = self.sessions.get_mut(&conn)
        else {
            return;
        };
        control.flush(step.quic);
        let cause = loop {
            match control.receive(step.quic) {
                Ok(None) => return,
                Ok(Some(Frame::Drain | Frame::Pong(_))) => {}
                Ok(Some(Frame::Permit { peers, lifetime })) => {
                    let may = self.limits.platform && matches!(peer.identity.role, Role::Platform { .. });
                    if let Err(cause) = permit(step, may, peer, peers, lifetime) {
                        break cause;
                    }
                }
                Ok(Some(_)) | Err(_) => break Cause::Protocol,
            }
        };
        self.end(step, conn, cause);
    }
}

/// Takes a PERMIT from `peer`, if it `may` send any. Its organisation and trust domain are ours, or TLS would not have
/// let it in.
fn permit(
    step: &mut Step<'_>,
    may: bool,
    peer: &PeerInfo,
    addresses: Vec<IpAddr>,
    lifetime: Duration,
) -> Result<(), Cause> {
    if !may {
        step.out.push_back(Event::PermitRefused { peer: peer.identity.clone() });
        return Err(Cause::PermitRefused);
    }
    match step.permits.ask(step.now, peer, &addresses, lifetime) {
        Ok(()) => {
            step.out.push_back(Event::Permitted { peer: peer.identity.clone(), addresses });
            Ok(())
        }
        Err(Refused::NoRoom) => {
            step.counters.no_permit_room += addresses.len() as u64;
            Ok(())
        }
        Err(Refused::NoHost | Refused::TooMany) => Err(Cause::Protocol),
    }
}
