//! One end: its sessions, where it is, whether it answers, and what it has said.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use super::config::{DownReason, EndId, Entropy, Output, Pinned, Role};
use crate::backbone::liveness::Liveness;
use crate::backbone::refusal::Refusal;
use crate::backbone::session::{Opened, Session};
use crate::fib::Prefix;
use crate::forward::Time;
use crate::wire::control::{CloseReason, Families, Header, Message};

/// So long the session before the current one is still heard, in microseconds.
const OVERLAP: u64 = 10_000_000;
/// So long an end that does not answer keeps its session, in microseconds.
const FORGET: u64 = 60_000_000;
/// What was not answered is said again after so long, in microseconds: at first, and at most.
const REPEAT: u64 = 500_000;
const REPEAT_MAX: u64 = 8_000_000;
/// What an end is like is told again after so long, in microseconds, at the earliest.
const QUIET: u64 = 200_000;
/// Who has a new session is given so long to answer, before it is dialed again.
pub(super) const GRACE: u64 = 5_000_000;
/// Who is not up yet but has answered is given so long to answer again.
const PAUSE: u64 = 1_000_000;

/// One end.
pub(super) struct End {
    pub id: EndId,
    pub role: Role,
    pub pinned: Option<Pinned>,
    pub address: Option<SocketAddr>,
    /// The session that messages are sealed with.
    current: Option<Session>,
    /// One that the other side has not used yet.
    fresh: Option<Session>,
    previous: Option<Session>,
    previous_until: Time,
    /// The current session is being renewed.
    pub is_renewing: bool,
    /// Numbers of sessions that are no more.
    pub gone: Vec<u32>,
    pub liveness: Liveness,
    /// Since when it does not answer, while it has a session.
    silent_since: Option<Time>,
    pub down_reason: DownReason,
    /// What it announces, as it says.
    pub announced: Vec<(IpAddr, u8)>,
    sequence_heard: Option<u32>,
    pub announcing: Repeated,
    pub naming_at: Option<Time>,
    pub lease: Option<IpAddr>,
    pub asking: Option<Asking>,
    /// What address it has asked for here and is still to be answered.
    pub wanted: Option<(Families, Option<IpAddr>)>,
    /// Its view may be another one than was told.
    pub is_changed: bool,
    pub told: Option<Told>,
    /// When it may be told again.
    pub quiet_until: Time,
    /// Addresses that are nobody else's: where it is, and where others take it to be.
    pub held: [Option<SocketAddr>; 2],
}

/// What others go by: where an end is, what it is near, and its lease.
pub(super) type Told = (SocketAddr, Vec<Prefix>, Option<IpAddr>);

/// A request for an address, until it is answered.
pub(super) struct Asking {
    pub families: Families,
    pub wish: Option<IpAddr>,
    pub repeated: Repeated,
}

/// Something that is said again until it is answered.
#[derive(Clone, Copy, Default)]
pub(super) struct Repeated {
    /// When; `None` once it is answered.
    pub at: Option<Time>,
    wait: u64,
}

impl Repeated {
    pub(super) fn start(now: Time) -> Repeated {
        Repeated { at: Some(now), wait: REPEAT }
    }

    /// Whether it is to be said now.
    pub(super) fn is_due(&mut self, now: Time) -> bool {
        let due = self.at.is_some_and(|at| at <= now);
        if due {
            self.at = Some(Time(now.0 + self.wait));
            self.wait = (self.wait * 2).min(REPEAT_MAX);
        }
        due
    }
}

impl End {
    pub(super) fn new(id: EndId, role: Role, pinned: Option<Pinned>) -> End {
        End {
            id,
            role,
            pinned,
            address: None,
            current: None,
            fresh: None,
            previous: None,
            previous_until: Time(0),
            is_renewing: false,
            gone: Vec::new(),
            liveness: Liveness::new(0),
            silent_since: None,
            down_reason: DownReason::Silent,
            announced: Vec::new(),
            sequence_heard: None,
            announcing: Repeated::default(),
            naming_at: None,
            lease: None,
            asking: None,
            wanted: None,
            is_changed: false,
            told: None,
            quiet_until: Time(0),
            held: [None; 2],
        }
    }

    /// Whether it cannot be where this comes from.
    pub(super) fn is_elsewhere(&self, from: SocketAddr) -> bool {
        self.pinned.as_ref().is_some_and(|pinned| pinned.address.ip() != from.ip())
    }

    pub(super) fn has_session(&self) -> bool {
        self.current.is_some()
    }

    /// Until when it need not be dialed, if it need not be now.
    pub(super) fn served_until(&self, now: Time) -> Option<Time> {
        let current = self.current.as_ref()?;
        if self.liveness.is_up() {
            return Some(Time(u64::MAX));
        }
        // One that has just come back may have to answer for a while.
        let heard = self.liveness.heard().map(|heard| Time(heard.0 + PAUSE));
        let until = heard.max(Some(Time(current.since.0 + GRACE)));
        until.filter(|until| *until > now)
    }

    /// Whether this side has made its session, and not before this moment.
    pub(super) fn was_asked_since(&self, since: Time) -> bool {
        let current = self.current.as_ref();
        current.is_some_and(|session| session.is_initiator && session.since >= since)
    }

    /// When its session is to be renewed by this side.
    pub(super) fn renew_at(&self) -> Option<Time> {
        let current = self.current.as_ref()?;
        (current.is_initiator && !self.is_renewing).then(|| current.rekey_at())
    }

    /// A session that the other side is to use first.
    pub(super) fn offer(&mut self, session: Session) {
        let before = self.fresh.replace(session);
        self.gone.extend(before.map(|session| session.index));
    }

    /// Gives up a session that the other side has never used.
    pub(super) fn withdraw(&mut self, index: u32) {
        let offered = self.fresh.take_if(|session| session.index == index);
        self.gone.extend(offered.map(|session| session.index));
    }

    /// From now on messages are sealed with this session.
    pub(super) fn install(&mut self, session: Session, from: SocketAddr, now: Time) {
        let before = self.current.replace(session);
        let oldest = std::mem::replace(&mut self.previous, before);
        self.gone.extend(oldest.map(|session| session.index));
        self.previous_until = Time(now.0 + OVERLAP);
        self.is_renewing = false;
        self.move_to(from);
        self.sequence_heard = None;
        self.announcing = Repeated::start(now);
        self.naming_at = (self.role == Role::Relay).then_some(now);
        if let Some(asking) = &mut self.asking {
            asking.repeated = Repeated::start(now);
        }
        if !self.liveness.is_up() {
            self.silent_since = Some(now);
        }
        self.down_reason = DownReason::Silent;
        self.liveness.start(now);
    }

    fn move_to(&mut self, from: SocketAddr) {
        if self.address != Some(from) {
            self.address = Some(from);
            self.is_changed = true;
        }
    }

    /// Opens a sealed datagram; returns the message, and whether it came by the current session.
    pub(super) fn open(
        &mut self,
        from: SocketAddr,
        header: Header,
        body: &[u8],
        now: Time,
    ) -> Result<(Message, bool), Refusal> {
        let of_it = |session: &&mut Session| session.index == header.session;
        if let Some(session) = self.fresh.as_mut().filter(|session| of_it(session)) {
            let opened = session.open(header.counter, body)?;
            if let Some(session) = self.fresh.take() {
                self.install(session, from, now);
            }
            return Ok((opened.message, true));
        }
        if let Some(session) = self.current.as_mut().filter(|session| of_it(session)) {
            let Opened { message, is_latest } = session.open(header.counter, body)?;
            if is_latest {
                self.move_to(from);
            }
            return Ok((message, true));
        }
        let session = self.previous.as_mut().filter(|session| of_it(session));
        let session = session.ok_or(Refusal::UnknownEnd)?;
        Ok((session.open(header.counter, body)?.message, false))
    }

    /// It announces prefixes. What was overtaken by a later announcement is passed over.
    pub(super) fn hear(&mut self, sequence: u32, prefixes: Vec<(IpAddr, u8)>) {
        if self.sequence_heard.is_some_and(|heard| sequence <= heard) {
            return;
        }
        self.sequence_heard = Some(sequence);
        if self.announced != prefixes {
            self.announced = prefixes;
            self.is_changed = true;
        }
    }

    /// Seals a message and sends it, if there is a session.
    pub(super) fn send(&mut self, message: &Message, outputs: &mut VecDeque<Output>) {
        let (Some(session), Some(to)) = (&mut self.current, self.address) else { return };
        if let Some(bytes) = session.seal(message) {
            outputs.push_back(Output::Send { to, bytes });
        }
    }

    /// Ends all sessions; with `say`, the other side is told.
    pub(super) fn close(
        &mut self,
        reason: DownReason,
        say: Option<CloseReason>,
        now: Time,
        outputs: &mut VecDeque<Output>,
    ) {
        if let Some(say) = say {
            self.send(&Message::Close(say), outputs);
        }
        let sessions = [self.current.take(), self.fresh.take(), self.previous.take()];
        self.gone.extend(sessions.into_iter().flatten().map(|session| session.index));
        if self.liveness.is_up() {
            self.down_reason = reason;
        }
        self.liveness.stop(now);
        self.silent_since = None;
        self.announced.clear();
        self.wanted = None;
        self.announcing = Repeated::default();
        self.naming_at = None;
        self.is_changed = false;
    }

    /// Whether what it is like is to be told now. Whoever moves about or changes its lease at will
    /// makes work for others no more often than that.
    pub(super) fn take_change(&mut self, now: Time) -> bool {
        let is_up = self.liveness.is_up();
        let tell = self.is_changed && is_up && self.quiet_until <= now;
        self.is_changed &= is_up && !tell;
        tell
    }

    /// Others have been told what it is like; returns whether that is news.
    pub(super) fn note_told(&mut self, told: Told, is_up_first: bool, now: Time) -> bool {
        let is_news = is_up_first || self.told.as_ref() != Some(&told);
        if is_news && !is_up_first {
            self.quiet_until = Time(now.0 + QUIET);
        }
        self.told = Some(told);
        is_news
    }

    /// The end answers, or does so no more.
    pub(super) fn note_liveness(&mut self, is_up: bool, now: Time) {
        self.silent_since = (!is_up && self.current.is_some()).then_some(now);
    }

    /// Asks whether it is there, and forgets sessions whose time is over.
    pub(super) fn handle_timeout(
        &mut self,
        now: Time,
        entropy: &mut Entropy,
        outputs: &mut VecDeque<Output>,
    ) {
        let old = self.previous.take_if(|_| self.previous_until <= now);
        self.gone.extend(old.map(|session| session.index));
        let ended = self.current.as_ref().is_some_and(|session| session.ends_at() <= now);
        if ended || self.silent_since.is_some_and(|since| since.0 + FORGET <= now.0) {
            self.close(DownReason::Silent, None, now, outputs);
            return;
        }
        let mut random = || {
            let mut octets = [0; 8];
            entropy(&mut octets);
            u64::from_be_bytes(octets)
        };
        while let Some(number) = self.liveness.poll_send_with(now, &mut random) {
            self.send(&Message::Ping(number), outputs);
        }
        if let Some(asking) = &mut self.asking
            && self.current.is_some()
            && asking.repeated.is_due(now)
        {
            let request = Message::LeaseRequest { families: asking.families, wish: asking.wish };
            self.send(&request, outputs);
        }
    }

    /// When there is something to do.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let current = self.current.as_ref()?;
        let asking = self.asking.as_ref().and_then(|asking| asking.repeated.at);
        let forget = self.silent_since.map(|since| Time(since.0 + FORGET));
        let previous = self.previous.as_ref().map(|_| self.previous_until);
        let times = [
            self.liveness.poll_timeout(),
            self.announcing.at,
            self.naming_at,
            self.renew_at(),
            asking,
            forget,
            previous,
            self.is_changed.then_some(self.quiet_until),
            Some(current.ends_at()),
        ];
        times.into_iter().flatten().min()
    }

    /// How many sessions it has.
    #[cfg(test)]
    pub(super) fn sessions(&self) -> usize {
        [&self.current, &self.fresh, &self.previous].into_iter().flatten().count()
    }
}
