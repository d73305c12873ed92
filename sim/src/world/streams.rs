//! Streams, as an application at a pipe sees them.

use adit_core::io::PipeId;

use super::{Handle, World};
use crate::machine::Machine;
use crate::network::HostIndex;
use crate::party::{Party, Stream};

impl World {
    /// Seats an application at `pipe` that says nothing yet.
    pub fn attend<M: Machine>(&mut self, on: Handle<M>, pipe: PipeId) -> Stream {
        let stream = self.seat(on.host, pipe, Party::talker(self.present.now()));
        self.prod(on.host, pipe);
        stream
    }

    /// Says `bytes` into a stream, as fast as it takes them.
    pub fn say(&mut self, stream: Stream, bytes: &[u8]) {
        self.parties[stream.0].say(bytes);
        self.prod_stream(stream);
    }

    /// Finishes a stream when everything was said into it.
    pub fn finish(&mut self, stream: Stream) {
        self.parties[stream.0].finish();
        self.prod_stream(stream);
    }

    /// Drops a stream, as an application does that has lost interest: what was not said is lost.
    pub fn hang_up(&mut self, stream: Stream) {
        if let Some((host, pipe)) = self.seat_of(stream) {
            self.parties[stream.0].cut();
            self.hosts[host].pipes.remove(&pipe);
            self.open -= 1;
            self.input(host, |machine, now| machine.pipe_close(now, pipe));
        }
    }

    /// One end of a byte stream.
    pub fn party(&self, stream: Stream) -> &Party {
        &self.parties[stream.0]
    }

    /// All ends of byte streams so far, those of applications and those of targets, in the order of their making.
    pub fn parties(&self) -> &[Party] {
        &self.parties
    }

    /// Whether both directions of every stream have ended.
    pub fn all_streams_are_over(&self) -> bool {
        self.open == 0
    }

    /// The number of pipes that a host still has a party at.
    pub fn open_pipes<M: Machine>(&self, on: Handle<M>) -> usize {
        self.hosts[on.host].pipes.len()
    }

    fn seat_of(&self, stream: Stream) -> Option<(HostIndex, PipeId)> {
        let (host, pipe) = self.seats[stream.0];
        (self.hosts[host].pipes.get(&pipe) == Some(&stream)).then_some((host, pipe))
    }

    fn prod_stream(&mut self, stream: Stream) {
        if let Some((host, pipe)) = self.seat_of(stream) {
            self.prod(host, pipe);
        }
    }

    fn prod(&mut self, host: HostIndex, pipe: PipeId) {
        self.hosts[host].woken.push_back(pipe);
        self.settle(host);
    }
}
