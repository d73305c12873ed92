//! The machines of `adit_core` as [`Machine`]s. Inherent methods win over those of the trait, so that each of these
//! calls the method of the same name.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Instant;

use adit_core::io::{
    Completion, Datagrams, Effect, Forwards, LinkId, PipeId, Read, SocketId, Transmit, Write,
};
use adit_core::time::{Deadline, UnixTime};
use adit_core::{connector, gateway, relay};

use crate::machine::{Leaving, Machine, Pipes};

macro_rules! machine {
    (guest) => {
        type Guest = std::convert::Infallible;
    };
    (guest $guest:path) => {
        type Guest = $guest;
    };
    ($module:ident::$machine:ident $(, $accept:ident, $guest:ident)?) => {
        impl Machine for $module::$machine {
            type Event = $module::Event;
            machine!(guest $($module::$guest)?);

            fn handle_datagrams(&mut self, now: Instant, batch: Datagrams<'_>, out: &mut Forwards) {
                self.handle_datagrams(now, batch, out);
            }
            $(fn $accept(
                &mut self,
                now: Instant,
                listener: SocketId,
                local: SocketAddr,
                remote: SocketAddr,
            ) -> Option<LinkId> {
                self.$accept(now, listener, local, remote)
            }
            fn depart(&mut self, event: $module::Event) -> Result<Leaving<$module::$guest>, $module::Event> {
                match event {
                    $module::Event::HandOver(handed) => {
                        let (to, link) = (handed.shard(), handed.link());
                        Ok(Leaving { to, link, guest: self.hand_over(handed) })
                    }
                    news => Err(news),
                }
            }
            fn arrive(&mut self, now: Instant, guest: $module::$guest) -> Option<LinkId> {
                self.take_in(now, guest)
            })?
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
            fn poll_transmit(
                &mut self,
                now: Instant,
                max_segments: NonZeroUsize,
                out: &mut Vec<u8>,
            ) -> Option<Transmit> {
                self.poll_transmit(now, max_segments, out)
            }
            fn poll_event(&mut self) -> Option<$module::Event> {
                self.poll_event()
            }
            fn poll_timeout(&self) -> Option<Deadline> {
                self.poll_timeout()
            }
            fn effect(event: $module::Event) -> Result<Effect, $module::Event> {
                match event {
                    $module::Event::Effect(effect) => Ok(effect),
                    news => Err(news),
                }
            }
        }
    };
}

macro_rules! pipes {
    ($module:ident::$machine:ident) => {
        impl Pipes for $module::$machine {
            fn pipe_read(&mut self, now: Instant, pipe: PipeId, buffer: &mut [u8]) -> Read {
                self.pipe_read(now, pipe, buffer)
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
        }
    };
}

machine!(connector::Connector);
pipes!(connector::Connector);

machine!(gateway::Gateway);
pipes!(gateway::Gateway);
machine!(relay::Relay, accept, Guest);
