//! The machines of `adit-core` as the world drives them.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Instant;

use adit_core::client::{self, Client};
use adit_core::connector::{self, Connector};
use adit_core::gateway::{self, Gateway};
use adit_core::io::{
    Completion, Datagrams, Effect, Forwards, LinkId, PipeId, Read, SocketId, Transmit, Write,
};
use adit_core::relay::{self, Relay};
use adit_core::time::{Deadline, UnixTime};

use crate::machine::Machine;

/// Passes every call on to the inherent method of the same name.
macro_rules! drive {
    ($machine:ty, $room:ident $(, $pipes:ident)?) => {
        impl Machine for $machine {
            type Event = $room::Event;

            fn effect(event: Self::Event) -> Result<Effect, Self::Event> {
                if let $room::Event::Effect(effect) = event { Ok(effect) } else { Err(event) }
            }
            fn handle_datagrams(&mut self, now: Instant, batch: Datagrams<'_>, out: &mut Forwards) {
                self.handle_datagrams(now, batch, out);
            }
            fn handle_bytes(&mut self, now: Instant, link: LinkId, bytes: &[u8]) {
                self.handle_bytes(now, link, bytes);
            }
            fn handle_completion(&mut self, now: Instant, done: Completion) {
                self.handle_completion(now, done);
            }
            fn handle_clock(&mut self, now: Instant, unix: UnixTime) {
                self.handle_clock(now, unix);
            }
            fn handle_timeout(&mut self, now: Instant) {
                self.handle_timeout(now);
            }
            fn poll_transmit(&mut self, now: Instant, max: NonZeroUsize, out: &mut Vec<u8>) -> Option<Transmit> {
                self.poll_transmit(now, max, out)
            }
            fn poll_event(&mut self) -> Option<Self::Event> {
                self.poll_event()
            }
            fn poll_timeout(&self) -> Option<Deadline> {
                self.poll_timeout()
            }
            $(drive!($pipes);)?
        }
    };
    (accepts) => {
        fn accept(
            &mut self,
            now: Instant,
            listener: SocketId,
            local: SocketAddr,
            remote: SocketAddr,
        ) -> Option<LinkId> {
            self.accept(now, listener, local, remote)
        }
    };
    (pipes) => {
        fn pipe_read(&mut self, now: Instant, pipe: PipeId, buf: &mut [u8]) -> Read {
            self.pipe_read(now, pipe, buf)
        }
        fn pipe_write(&mut self, now: Instant, pipe: PipeId, bytes: &[u8]) -> Write {
            self.pipe_write(now, pipe, bytes)
        }
        fn pipe_finish(&mut self, now: Instant, pipe: PipeId) {
            self.pipe_finish(now, pipe);
        }
        fn pipe_close(&mut self, now: Instant, pipe: PipeId) {
            self.pipe_close(now, pipe);
        }
    };
}

drive!(Relay, relay, accepts);
drive!(Client, client);
drive!(Gateway, gateway, pipes);
drive!(Connector, connector, pipes);
