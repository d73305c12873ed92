//! What a hub has moved, and what it has dropped and why.

use std::ops::AddAssign;

/// Counters of one hub since it was made. Datagrams are counted after segmentation. A link is a TCP connection of the
/// machine's own.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that arrived.
    pub received: u64,
    /// Calls to the kernel that brought them.
    pub receive_calls: u64,
    /// Datagrams that the kernel took.
    pub sent: u64,
    /// Calls to the kernel that took them.
    pub send_calls: u64,
    /// Datagrams dropped because their socket's queue was full.
    pub dropped_full: u64,
    /// Datagrams dropped because they named a socket that is closed, or pieces for a link that is.
    pub dropped_unbound: u64,
    /// Datagrams dropped because they were larger than the path takes.
    pub dropped_large: u64,
    /// Datagrams from or to port 0, or between address families, neither of which the kernel sends.
    pub dropped_unsendable: u64,
    /// Datagrams dropped because the kernel refused them for another reason.
    pub dropped_error: u64,
    /// Receive calls that failed for another reason than that there was nothing.
    pub receive_errors: u64,
    /// Errors of earlier datagrams that the kernel told: what ICMP says, mostly.
    pub transport_errors: u64,
    /// Links that came to a listener.
    pub links_accepted: u64,
    /// Connections that the machine did not want, and that were reset.
    pub links_refused: u64,
    /// Calls to accept that failed: for want of descriptors, say.
    pub accept_errors: u64,
    /// Links that were opened from here.
    pub links_opened: u64,
    /// Links that ended with an error, or could not be opened.
    pub links_broken: u64,
    /// Bytes that links brought.
    pub link_received: u64,
    /// Bytes that the kernel took for links.
    pub link_sent: u64,
    /// Times that the wall clock was found to have been set, or the machine to have slept.
    pub clock_steps: u64,
    /// Events that the application was too slow to fetch.
    pub events_lost: u64,
    /// Clients, or what they sent, that were to go to another shard, which took no more.
    pub departures_lost: u64,
}

impl Counters {
    /// Each of them. The compiler sees to it that none is forgotten.
    fn all(&mut self) -> [&mut u64; 21] {
        let Self {
            received,
            receive_calls,
            sent,
            send_calls,
            dropped_full,
            dropped_unbound,
            dropped_large,
            dropped_unsendable,
            dropped_error,
            receive_errors,
            transport_errors,
            links_accepted,
            links_refused,
            accept_errors,
            links_opened,
            links_broken,
            link_received,
            link_sent,
            clock_steps,
            events_lost,
            departures_lost,
        } = self;
        [
            received,
            receive_calls,
            sent,
            send_calls,
            dropped_full,
            dropped_unbound,
            dropped_large,
            dropped_unsendable,
            dropped_error,
            receive_errors,
            transport_errors,
            links_accepted,
            links_refused,
            accept_errors,
            links_opened,
            links_broken,
            link_received,
            link_sent,
            clock_steps,
            events_lost,
            departures_lost,
        ]
    }
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        let mine = self.all();
        for (mine, theirs) in mine.into_iter().zip({ other }.all()) {
            *mine += *theirs;
        }
    }
}
