//! The tree as its root keeps it: who is whose child, how many children each may have, and who has been
//! told so.
//!
//! A tree that somebody has planned ([`crate::alm`]) is taken as it is. Who has no place in it, or has
//! lost its parent, goes under the host nearest to the root that has room and that nobody has called
//! silent lately; what is below it stays below it. Who is called silent changes places with a host that
//! has no children, so a tree gets no higher by being mended. Nobody is put out on another's word: only
//! who does not answer the root itself.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::config::{CHILDREN_MAX, Config, PLACE_TRIES, SEATS_MAX};
use super::message::Place;
use crate::alm::SessionId;
use crate::contact::Contact;
use crate::drops::DropReason;
use crate::id::PeerId;
use crate::time::Time;

/// For so long who was called silent gets children only if nobody else can.
const SUSPECTED: Duration = Duration::from_secs(30);

/// Somebody in a session, as its root wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Who it is.
    pub contact: Contact,
    /// Its parent; without, or if that is impossible, the root finds one.
    pub parent: Option<PeerId>,
    /// Children that it may have; at most [`CHILDREN_MAX`].
    pub slots: usize,
    /// Whether it receives, or helps only.
    pub receives: bool,
}

#[derive(Clone, Debug)]
struct Kept {
    seat: Seat,
    first: u64,
    version: u32,
    /// It has said that it knows the version.
    is_told: bool,
    /// Since when it has not answered, how often it was told since, and when it is told again.
    since: Time,
    tries: u8,
    at: Time,
    /// Until then.
    suspected: Time,
    /// When it has been answered last that it hears nothing.
    heeded: Option<Time>,
}

/// The hosts of a session but the root.
#[derive(Clone, Debug)]
pub(super) struct Roster {
    session: SessionId,
    root: Contact,
    slots: usize,
    seats: BTreeMap<PeerId, Kept>,
    /// Of all places together: who comes back is told a later one than it may still know.
    version: u32,
    /// The root's own children may be others.
    is_changed: bool,
}

impl Roster {
    /// The root alone.
    pub(super) fn new(session: SessionId, root: Contact, slots: usize) -> Roster {
        let (slots, seats) = (slots.min(CHILDREN_MAX), BTreeMap::new());
        let root = Contact { swap: None, ..root };
        Roster { session, root, slots, seats, version: 0, is_changed: true }
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }

    /// The tree of these from now on, in which they get everything from `first` on, who have been in it
    /// before everything that they would have got. Returns who is not part of it any more.
    ///
    /// # Errors
    /// There are too many; nothing is changed.
    pub(super) fn arrange(
        &mut self,
        seats: Vec<Seat>,
        first: u64,
        now: Time,
    ) -> Result<Vec<Contact>, DropReason> {
        if seats.len() > SEATS_MAX {
            return Err(DropReason::SessionFull);
        }
        let mut before = core::mem::take(&mut self.seats);
        self.version = self.version.wrapping_add(1);
        let version = self.version;
        for seat in seats.into_iter().filter(|seat| seat.contact.id != self.root.id) {
            let id = seat.contact.id;
            let old = before.remove(&id);
            self.seats.entry(id).or_insert_with(|| kept(seat, old, (first, version), now));
        }
        self.mend();
        self.is_changed = true;
        Ok(before.into_values().map(|kept| kept.seat.contact).collect())
    }

    /// One more, or one that is otherwise from now on.
    ///
    /// # Errors
    /// There are too many.
    pub(super) fn join(&mut self, seat: Seat, first: u64, now: Time) -> Result<(), DropReason> {
        let id = seat.contact.id;
        if self.seats.len() >= SEATS_MAX || id == self.root.id {
            return Err(DropReason::SessionFull);
        }
        let old = self.seats.remove(&id);
        let before = old.as_ref().and_then(|old| old.seat.parent);
        let wanted = seat.parent;
        let kept = kept(Seat { parent: None, ..seat }, old, (first, self.version), now);
        self.seats.insert(id, kept);
        let parent =
            wanted.filter(|parent| self.can_take(id, *parent)).or_else(|| self.find(id, now));
        self.put(id, parent, now);
        before.into_iter().for_each(|before| self.touch(before, now));
        Ok(())
    }

    /// One less; who it was.
    pub(super) fn leave(&mut self, id: PeerId, now: Time) -> Option<Contact> {
        let gone = self.seats.remove(&id)?.seat;
        gone.parent.into_iter().for_each(|parent| self.touch(parent, now));
        self.scatter(id, now);
        Some(gone.contact)
    }

    /// `sender` hears nothing from `peer`, or has no parent.
    ///
    /// # Errors
    /// It has said so a moment ago.
    pub(super) fn silent(
        &mut self,
        sender: PeerId,
        (version, peer): (u32, Option<PeerId>),
        config: &Config,
        now: Time,
    ) -> Result<(), DropReason> {
        if let Some(kept) = self.seats.get(&sender) {
            let is_known = kept.version == version;
            if is_known && kept.seat.parent == peer {
                self.heed(sender, config, now)?;
                peer.into_iter().for_each(|peer| self.demote(peer, now));
                self.move_on(sender, peer, now);
                return Ok(());
            }
            if !is_known {
                return self.repeat(sender, config, now);
            }
        }
        let Some(peer) = peer else { return Ok(()) };
        if self.seats.get(&peer).is_some_and(|kept| kept.seat.parent == Some(sender)) {
            self.suspect(peer, now);
            self.put(peer, None, now);
            self.touch(sender, now);
            self.scatter(peer, now);
            return Ok(());
        }
        self.repeat(sender, config, now)
    }

    /// Somebody knows its place.
    pub(super) fn told(&mut self, sender: PeerId, version: u32) {
        if let Some(kept) = self.seats.get_mut(&sender) {
            // An answer to an earlier version is one too.
            kept.is_told |= kept.version == version;
            kept.tries = 0;
        }
    }

    /// Whether somebody is part of it.
    pub(super) fn contains(&self, id: PeerId) -> bool {
        self.seats.contains_key(&id)
    }

    /// When somebody is to be told its place.
    pub(super) fn due_at(&self) -> Option<Time> {
        let untold = self.seats.values().filter(|kept| !kept.is_told);
        untold.map(|kept| kept.at).min()
    }

    /// Whom to tell what, now; and who has not answered often enough, and is not part of it any more.
    pub(super) fn due(
        &mut self,
        config: &Config,
        now: Time,
    ) -> (Vec<(Contact, Place)>, Vec<PeerId>) {
        let is_due = |kept: &&Kept| !kept.is_told && kept.at <= now;
        let due = |seats: &BTreeMap<PeerId, Kept>, is_lost| -> Vec<PeerId> {
            let due = seats.iter().filter(|(_, kept)| is_due(kept));
            due.filter(|(_, kept)| kept.is_lost(config, now) == is_lost)
                .map(|(id, _)| *id)
                .collect()
        };
        let lost = due(&self.seats, true);
        for id in &lost {
            self.leave(*id, now);
        }
        // Others stand otherwise now.
        let due = due(&self.seats, false);
        let mut children = self.children();
        let mut places = Vec::new();
        for id in due {
            let parent = self.seats.get(&id).and_then(|kept| kept.seat.parent);
            let parent = parent.and_then(|parent| self.contact(parent));
            let children = children.remove(&id).unwrap_or_default();
            let children = children.into_iter().filter_map(|child| self.contact(child)).collect();
            let session = self.session;
            let Some(kept) = self.seats.get_mut(&id) else { continue };
            kept.at = now + config.wait(kept.tries);
            kept.tries = kept.tries.saturating_add(1);
            let (first, receives, version) = (kept.first, kept.seat.receives, kept.version);
            let place = Place { session, first, receives, version, parent, children };
            places.push((kept.seat.contact.clone(), place));
        }
        (places, lost)
    }

    /// The root's children, if they may be others than when this was last asked.
    pub(super) fn changed(&mut self) -> Option<Vec<Contact>> {
        if !core::mem::take(&mut self.is_changed) {
            return None;
        }
        let own = self.children().remove(&self.root.id).unwrap_or_default();
        Some(own.into_iter().filter_map(|child| self.contact(child)).collect())
    }

    /// From child to parent.
    pub(super) fn links(&self) -> impl Iterator<Item = (PeerId, PeerId)> + '_ {
        self.seats.iter().filter_map(|(id, kept)| Some((*id, kept.seat.parent?)))
    }

    /// Where everybody but the root is.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (PeerId, SocketAddr)> + '_ {
        self.seats.iter().map(|(id, kept)| (*id, kept.seat.contact.address))
    }

    fn children(&self) -> BTreeMap<PeerId, Vec<PeerId>> {
        let mut children: BTreeMap<PeerId, Vec<PeerId>> = BTreeMap::new();
        for (child, parent) in self.links() {
            children.entry(parent).or_default().push(child);
        }
        children
    }

    fn contact(&self, id: PeerId) -> Option<Contact> {
        match id == self.root.id {
            true => Some(self.root.clone()),
            false => self.seats.get(&id).map(|kept| kept.seat.contact.clone()),
        }
    }

    fn slots(&self, id: PeerId) -> usize {
        match id == self.root.id {
            true => self.slots,
            false => self.seats.get(&id).map_or(0, |kept| kept.seat.slots),
        }
    }

    /// Everybody with a way from the root, nearest first, each with its depth and its children.
    fn reached(&self) -> Vec<(PeerId, usize, usize)> {
        let mut children = self.children();
        let mut reached = alloc::vec![(self.root.id, 0, 0)];
        let mut at = 0;
        while let Some((id, depth, _)) = reached.get(at).copied() {
            let below = children.remove(&id).unwrap_or_default();
            reached[at].2 = below.len();
            reached.extend(below.into_iter().map(|child| (child, depth + 1, 0)));
            at += 1;
        }
        reached
    }

    /// Whether `parent` has a way from the root and room.
    fn can_take(&self, child: PeerId, parent: PeerId) -> bool {
        let mut reached = self.reached().into_iter();
        let found = reached.find(|(id, ..)| *id == parent && *id != child);
        found.is_some_and(|(id, _, count)| count < self.slots(id))
    }

    /// A parent for who has none.
    fn find(&self, child: PeerId, now: Time) -> Option<PeerId> {
        let free =
            |(id, _, count): &(PeerId, usize, usize)| *id != child && *count < self.slots(*id);
        let reached = self.reached();
        let free = reached.into_iter().filter(free);
        let best = free
            .min_by_key(|(id, depth, count)| (self.is_suspected(*id, now), *depth, *count, *id));
        best.map(|(id, ..)| id)
    }

    /// Somebody gets another parent than the one that it calls silent.
    fn move_on(&mut self, id: PeerId, silent: Option<PeerId>, now: Time) {
        if let Some(kept) = self.seats.get_mut(&id) {
            kept.seat.parent = None;
        }
        // Its own parent would be found again only where nobody else has room.
        let parent = self.find(id, now);
        self.put(id, parent, now);
        silent.into_iter().for_each(|silent| self.touch(silent, now));
    }

    /// Whoever is below somebody who is gone gets another parent.
    fn scatter(&mut self, id: PeerId, now: Time) {
        for child in self.children().remove(&id).unwrap_or_default() {
            self.move_on(child, None, now);
        }
        self.touch(id, now);
    }

    /// Takes parents away that cannot be, and finds others for who has none.
    fn mend(&mut self) {
        let mut left: BTreeMap<PeerId, usize> = BTreeMap::new();
        let ids: Vec<PeerId> = self.seats.keys().copied().collect();
        for id in &ids {
            let parent = self.seats[id].seat.parent;
            let Some(parent) = parent else { continue };
            let slots = self.slots(parent);
            let count = left.entry(parent).or_insert(slots);
            match count.checked_sub(1).filter(|_| parent != *id) {
                Some(rest) => *count = rest,
                None => self.unlink(*id),
            }
        }
        let mut seen = BTreeSet::new();
        loop {
            let reached: BTreeSet<PeerId> = self.reached().into_iter().map(|(id, ..)| id).collect();
            let is_top = |id: &&PeerId| {
                !reached.contains(*id) && !seen.contains(*id) && !self.is_below_orphan(**id)
            };
            let Some(top) = ids.iter().find(is_top).copied() else { return };
            seen.insert(top);
            self.unlink(top);
            let parent = self.find(top, Time(0));
            if let Some(kept) = self.seats.get_mut(&top) {
                kept.seat.parent = parent;
            }
        }
    }

    fn unlink(&mut self, id: PeerId) {
        if let Some(kept) = self.seats.get_mut(&id) {
            kept.seat.parent = None;
        }
    }

    /// Whether somebody above it has no parent, which is to be found first.
    fn is_below_orphan(&self, id: PeerId) -> bool {
        let mut at = self.seats.get(&id).and_then(|kept| kept.seat.parent);
        for _ in 0..self.seats.len() {
            let Some(above) = at.and_then(|id| self.seats.get(&id)) else { return false };
            if above.seat.parent.is_none() {
                return true;
            }
            at = above.seat.parent;
        }
        false // It is above itself.
    }

    fn put(&mut self, id: PeerId, parent: Option<PeerId>, now: Time) {
        if let Some(kept) = self.seats.get_mut(&id) {
            kept.seat.parent = parent;
        }
        self.touch(id, now);
        parent.into_iter().for_each(|parent| self.touch(parent, now));
    }

    fn is_suspected(&self, id: PeerId, now: Time) -> bool {
        self.seats.get(&id).is_some_and(|kept| kept.suspected > now)
    }

    /// Who is called silent changes places with somebody farther from the root who has no children:
    /// whoever was below it then finds room as near to the root as before.
    fn demote(&mut self, id: PeerId, now: Time) {
        let was_suspected = self.is_suspected(id, now);
        self.suspect(id, now);
        let children = self.children().get(&id).map_or(0, Vec::len);
        let above = self.seats.get(&id).and_then(|kept| kept.seat.parent);
        let Some(above) = above.filter(|_| !was_suspected) else { return };
        self.unlink(id);
        // Without those below it.
        let reached = self.reached();
        let depth = reached.iter().find(|(other, ..)| *other == above).map(|(_, depth, _)| *depth);
        let fits = |(leaf, at, count): &&(PeerId, usize, usize)| {
            *count == 0
                && depth.is_some_and(|depth| *at > depth + 1)
                && !self.is_suspected(*leaf, now)
        };
        let room = |leaf: PeerId| self.slots(leaf).min(children);
        let leaves = reached.iter().filter(fits).filter(|(leaf, ..)| room(*leaf) > 0);
        let leaf = leaves.max_by_key(|(leaf, at, _)| (room(*leaf), *at, *leaf));
        let below = leaf.and_then(|(leaf, ..)| Some((*leaf, self.seats.get(leaf)?.seat.parent?)));
        if let Some((leaf, below)) = below {
            self.put(leaf, Some(above), now);
            self.put(id, Some(below), now);
        } else if let Some(kept) = self.seats.get_mut(&id) {
            kept.seat.parent = Some(above);
        }
    }

    fn suspect(&mut self, id: PeerId, now: Time) {
        if let Some(kept) = self.seats.get_mut(&id) {
            kept.suspected = now + SUSPECTED;
        }
    }

    /// It stands otherwise, and is to be told.
    fn touch(&mut self, id: PeerId, now: Time) {
        self.is_changed |= id == self.root.id;
        self.version = self.version.wrapping_add(1);
        if let Some(kept) = self.seats.get_mut(&id) {
            // Who does not answer is not tried longer because the tree changes around it.
            if kept.is_told {
                (kept.tries, kept.since) = (0, now);
            }
            // Nor less long: an answer may be on its way.
            if kept.tries < PLACE_TRIES {
                kept.at = now;
            }
            (kept.is_told, kept.version) = (false, self.version);
        }
    }

    /// It asks, and knows less than it was told.
    fn repeat(&mut self, id: PeerId, config: &Config, now: Time) -> Result<(), DropReason> {
        self.heed(id, config, now)?;
        if let Some(kept) = self.seats.get_mut(&id) {
            (kept.is_told, kept.at, kept.tries, kept.since) = (false, now, 0, now);
        }
        Ok(())
    }

    /// Whether somebody is to be answered who hears nothing: who says so all the time costs little.
    fn heed(&mut self, id: PeerId, config: &Config, now: Time) -> Result<(), DropReason> {
        let Some(kept) = self.seats.get_mut(&id) else { return Ok(()) };
        match kept.heeded.is_some_and(|at| now.since(at) < config.retry / 2) {
            true => Err(DropReason::SessionFull),
            false => {
                kept.heeded = Some(now);
                Ok(())
            }
        }
    }
}

impl Kept {
    /// Whether it has been told often enough, for long enough: it may be told often in a moment.
    fn is_lost(&self, config: &Config, now: Time) -> bool {
        self.tries >= PLACE_TRIES && now.since(self.since) >= config.child_silence
    }
}

fn kept(seat: Seat, old: Option<Kept>, (first, version): (u64, u32), now: Time) -> Kept {
    let contact = Contact { swap: None, ..seat.contact };
    let (first, suspected, heeded) = match old {
        Some(old) => (old.first, old.suspected, old.heeded),
        None => (first, Time(0), None),
    };
    let seat = Seat { contact, slots: seat.slots.min(CHILDREN_MAX), ..seat };
    Kept { seat, first, version, is_told: false, since: now, tries: 0, at: now, suspected, heeded }
}
