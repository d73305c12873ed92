//! The world around the machines: links, NATs, clocks, names and targets, and what went wrong there.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use adit_core::io::{Id, PipeId};

use super::{Handle, Happening, World};
use crate::firewall::Firewall;
use crate::link::Link;
use crate::nat::Nat;
use crate::network::{Drop, Home, HostIndex, Packet};
use crate::party::Party;
use crate::target::Target;
use crate::trace::Trace;

impl World {
    /// Sets the links between hosts that have none of their own.
    pub fn set_usual_link(&mut self, link: Link) {
        self.network.ways.set_usual(link);
    }

    /// Sets the link between two hosts, in both directions.
    pub fn set_link<A, B>(&mut self, a: Handle<A>, b: Handle<B>, link: Link) {
        self.set_way(a, b, link);
        self.set_way(b, a, link);
    }

    /// Sets the link between two hosts in one direction.
    pub fn set_way<A, B>(&mut self, from: Handle<A>, to: Handle<B>, link: Link) {
        self.network.ways.set((from.host, to.host), link);
    }

    /// Cuts a host off from the network, or connects it again.
    pub fn set_cut<M>(&mut self, on: Handle<M>, cut: bool) {
        self.network.set_cut(on.host, cut);
    }

    /// Makes the NAT in front of a host forget its mappings, those of everybody behind it, as after a restart. Without
    /// a NAT there is nothing to forget.
    pub fn rebind<M>(&mut self, on: Handle<M>) {
        if let Some(home) = self.home_of(on) {
            self.restart_nat(home);
        }
    }

    /// Restarts a NAT: it has forgotten its mappings.
    pub fn restart_nat(&mut self, home: Home) {
        self.network.nat_mut(home).rebind();
    }

    /// The NAT of a private network.
    pub fn nat(&self, home: Home) -> &Nat {
        self.network.nat(home)
    }

    /// The private network that a host is in.
    pub fn home_of<M>(&self, on: Handle<M>) -> Option<Home> {
        self.network.home_of(on.host)
    }

    /// Puts a firewall in front of a host, instead of the one before. A new one knows of no flow.
    pub fn set_firewall<M>(&mut self, on: Handle<M>, firewall: Option<Firewall>) {
        self.network.set_firewall(on.host, firewall);
    }

    /// The firewall in front of a host.
    pub fn firewall<M>(&self, on: Handle<M>) -> Option<&Firewall> {
        self.network.firewall(on.host)
    }

    /// Sets the wall clock of a host forward, and tells its machine.
    pub fn jump<M>(&mut self, on: Handle<M>, forward: Duration) {
        let skew = &mut self.hosts[on.host].skew;
        skew.forward += forward;
        self.tell_clock(on.host);
    }

    /// Sets the wall clock of a host back, and tells its machine.
    pub fn jump_back<M>(&mut self, on: Handle<M>, backward: Duration) {
        self.hosts[on.host].skew.backward += backward;
        self.tell_clock(on.host);
    }

    /// Puts a host to sleep: what arrives is lost, and its timers come late. Afterwards it is told the time. Whoever
    /// sleeps already sleeps on, until the later of the two ends.
    pub fn sleep<M>(&mut self, on: Handle<M>, time: Duration) {
        let host = &mut self.hosts[on.host];
        let until = (self.present.now() + time).max(host.asleep.unwrap_or(self.present.now()));
        host.asleep = Some(until);
        self.schedule(on.host);
        self.queue.plan(until, Happening::Wakes { host: on.host });
    }

    pub(super) fn wake_up(&mut self, host: HostIndex) {
        if self.hosts[host].asleep.is_some_and(|until| until <= self.now()) {
            self.hosts[host].asleep = None;
            self.schedule(host);
            self.tell_clock(host);
        }
    }

    fn tell_clock(&mut self, host: HostIndex) {
        let clock = self.present.wall(self.hosts[host].skew);
        self.input(host, |machine, now| machine.handle_clock(now, clock.unix(now)));
    }

    /// Gives a name to addresses, for `Effect::Resolve`.
    pub fn name(&mut self, name: &str, addresses: &[IpAddr]) {
        self.directory.name(name, addresses);
    }

    /// Puts a target where gateways can dial it.
    pub fn place(&mut self, at: SocketAddr, target: Target) {
        self.directory.place(at, target);
    }

    /// Lets another program of a host have an address that its machine may want to bind.
    pub fn take<M>(&mut self, on: Handle<M>, addr: SocketAddr) {
        self.hosts[on.host].taken.push(addr);
    }

    /// The public addresses of a host, or of the NAT in front of it.
    pub fn addresses_of<M>(&self, on: Handle<M>) -> &[IpAddr] {
        self.network.addresses_of(on.host)
    }

    /// Every address that was dialled, in order.
    pub fn dialled(&self) -> impl Iterator<Item = SocketAddr> {
        self.dials.iter().map(|&(_, to)| to)
    }

    /// The targets' ends of the connections that a gateway dialled, in the order of their pipes.
    pub fn connections<M>(&self, on: Handle<M>) -> impl Iterator<Item = &Party> {
        let first = (on.host, PipeId::new(0, 0), 0);
        let here = self.connections.range(first..).take_while(move |&(&(host, ..), _)| host == on.host);
        here.map(|(_, stream)| &self.parties[stream.0])
    }

    /// The number of sockets that a host has bound.
    pub fn sockets<M>(&self, on: Handle<M>) -> usize {
        self.hosts[on.host].sockets.len()
    }

    /// Keeps every packet that leaves or reaches a host from now on, under its public addresses.
    pub fn capture<M>(&mut self, on: Handle<M>) {
        self.network.capture(on.host);
    }

    /// What was captured at a host.
    pub fn captured<M>(&self, on: Handle<M>) -> &[Packet] {
        self.network.captured(on.host)
    }

    /// Takes what was captured at a host so far.
    pub fn take_captured<M>(&mut self, on: Handle<M>) -> Vec<Packet> {
        self.network.take_captured(on.host)
    }

    /// Whether a host has a machine.
    pub fn is_running<M>(&self, on: Handle<M>) -> bool {
        self.hosts[on.host].machine.is_some()
    }

    /// How often a deadline has woken the machines of a host.
    pub fn wakes<M>(&self, on: Handle<M>) -> u64 {
        self.hosts[on.host].wakes
    }

    /// Lets a packet arrive that nobody sent, from wherever it says.
    pub fn inject(&mut self, packet: Packet) {
        match self.network.door(packet.to.ip()) {
            Some(door) => self.queue.plan(self.now(), Happening::Arrives { door, packet }),
            None => self.network.drop(Drop::NoHost),
        }
    }

    /// How many packets were dropped for that reason.
    pub fn dropped(&self, reason: Drop) -> u64 {
        self.network.dropped(reason)
    }

    /// How many packets were doubled on their way.
    pub fn doubled(&self) -> u64 {
        self.network.doubled()
    }

    /// The trace so far.
    pub fn trace(&self) -> &Trace {
        &self.network.trace
    }
}
