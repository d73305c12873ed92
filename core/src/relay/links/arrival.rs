//! Links that come from another shard (see `hand_over`).

use std::time::Instant;

use super::super::Relay;
use super::super::counters::LinkEnd;
use super::link::{Link, Stage};
use super::{Links, Timer};
use crate::io::{Close, LinkId};

impl Links {
    /// Takes in a link that another shard has accepted, and whose client has spoken there.
    ///
    /// # Errors
    /// The limit that is reached.
    pub(in super::super) fn adopt(&mut self, now: Instant, mut link: Link) -> Result<LinkId, LinkEnd> {
        if self.len() >= self.limits.total {
            return Err(LinkEnd::TooMany);
        }
        (link.is_queued, link.is_watched) = (false, link.handed_over.is_some());
        let (source, watched) = (link.source, link.is_watched);
        self.waiting += link.waiting();
        let id = self.links.insert(link);
        self.shares.add(source);
        self.timers.set(Timer::Silence(id), now + self.limits.idle);
        if watched {
            self.timers.set(Timer::Write(id), now + self.limits.write);
        }
        self.note_ready(id);
        Ok(id)
    }
}

impl Relay {
    /// Goes on with a link that another shard has handed over, and with what that had read of it.
    pub(in super::super) fn resume(&mut self, now: Instant, link: LinkId, bytes: &[u8]) {
        let (Some(path), Some(entry)) = (self.links.path(link), self.links.links.get_mut(link)) else {
            return;
        };
        let mut stage = std::mem::replace(&mut entry.stage, Stage::New);
        let whole = match &mut stage {
            Stage::New => true,
            Stage::Plain(splitter) => self.split(now, path, link, splitter, bytes),
            Stage::Secured(secured) => self.split(now, path, link, &mut secured.splitter, bytes),
        };
        self.put_back(now, link, stage, (!whole).then_some((Close::Reset, LinkEnd::Garbage)));
    }
}
