//! What arrives.

use std::net::SocketAddr;

use super::config::{DownReason, Output, Role};
use super::dial::{Dial, Origin, Stage};
use super::end::GRACE;
use super::{Peers, SESSIONS_MAX};
use crate::backbone::handshake::Responder;
use crate::backbone::keys::PublicKey;
use crate::backbone::refusal::Refusal;
use crate::backbone::session::Session;
use crate::forward::Time;
use crate::wire::control::{Header, Kind, Lease, Message, RelayAddress};

impl Peers {
    /// A datagram has come that is not an IP packet. What is not taken is counted.
    pub fn handle_datagram(&mut self, from: SocketAddr, bytes: &[u8], now: Time) {
        let taken = match Header::parse(bytes) {
            None => Err(Refusal::Malformed),
            Some((header, body)) => match header.kind {
                Kind::Initiation => self.take_initiation(from, body, now),
                Kind::Response => self.take_response(from, header.session, body, now),
                Kind::Confirmation => self.take_confirmation(from, header.session, body, now),
                Kind::Sealed => self.take_sealed(from, header, body, now),
            },
        };
        if let Err(refusal) = taken {
            self.counters.add(refusal);
        }
    }

    fn take_initiation(&mut self, from: SocketAddr, body: &[u8], now: Time) -> Result<(), Refusal> {
        if let Some(response) = self.pending.repeat(from, body, now) {
            let bytes = response?;
            self.outputs.push_back(Output::Send { to: from, bytes });
            return Ok(());
        }
        let of_ends = self.ends.values().filter_map(|end| end.address);
        let of_dials = self.dials.iter().map(|dial| dial.address);
        let known = || of_ends.chain(of_dials).map(|address| address.ip()).collect();
        if !self.pending.admit(from.ip(), now, known) {
            return Err(Refusal::RateLimit);
        }
        let (index, seed) = (self.number(), self.octets());
        let responder = Responder::new(&self.config.private_key, index, seed, body)?;
        let bytes = responder.response.clone();
        self.pending.insert(from, responder, now);
        self.outputs.push_back(Output::Send { to: from, bytes });
        Ok(())
    }

    fn take_response(
        &mut self,
        from: SocketAddr,
        number: u32,
        body: &[u8],
        now: Time,
    ) -> Result<(), Refusal> {
        let own = &self.config.private_key;
        let place = self.dials.iter().position(|dial| dial.is_asking_for(number));
        let Some(place) = place else {
            // A repeated answer to what has been confirmed already.
            let answered = self.sessions.contains_key(&number);
            return Err(if answered { Refusal::Replay } else { Refusal::UnknownEnd });
        };
        let dial = &mut self.dials[place];
        let Stage::Asking { initiator, .. } = &dial.stage else { return Err(Refusal::UnknownEnd) };
        let answered = match initiator.read(own, body) {
            Ok(answered) => answered,
            Err(refusal) => {
                if dial.forged() {
                    let jitter = self.random();
                    self.dials[place].fail(now, jitter);
                }
                return Err(refusal);
            }
        };
        let key = answered.key;
        if key == own.public() {
            dial.is_own = true;
            dial.rest(None);
            return Ok(());
        }
        let end = self.ends.get_mut(&key).filter(|end| !end.is_elsewhere(from));
        let Some(end) = end.filter(|_| dial.expected.is_none_or(|expected| expected == key)) else {
            let jitter = self.random();
            self.dials[place].fail(now, jitter);
            return Err(Refusal::BadKey);
        };
        dial.found = Some(key);
        let served = end.served_until(now).filter(|_| dial.origin != Origin::Rekey);
        let confirming = self.dials.iter().any(|dial| dial.is_confirming(&key));
        let confirming = confirming || self.is_full(&key);
        let dial = &mut self.dials[place];
        if served.is_some() || confirming {
            // It was faster, or has several addresses, or there is no room for it.
            let again = served.filter(|until| until.0 != u64::MAX);
            dial.rest(again.or(confirming.then_some(Time(now.0 + GRACE))));
            return Ok(());
        }
        let Some((session, datagram)) = answered.finish(now) else { return Err(Refusal::BadKey) };
        self.sessions.insert(number, key);
        if let Some(end) = self.ends.get_mut(&key) {
            end.offer(session);
        }
        dial.confirm(key, number, datagram, now);
        self.settle(key, now);
        self.dial(place, now);
        Ok(())
    }

    fn take_confirmation(
        &mut self,
        from: SocketAddr,
        number: u32,
        body: &[u8],
        now: Time,
    ) -> Result<(), Refusal> {
        let own = &self.config.private_key;
        let Some(responder) = self.pending.find(number) else {
            let known = self.sessions.contains_key(&number);
            return Err(if known { Refusal::Replay } else { Refusal::UnknownEnd });
        };
        let confirmed = match responder.read(own, body) {
            Ok(confirmed) => confirmed,
            Err(refusal) => {
                self.pending.refused(number);
                return Err(refusal);
            }
        };
        let key = confirmed.key;
        if self.ends.get(&key).is_none_or(|end| end.is_elsewhere(from)) {
            self.pending.remove(number);
            return Err(Refusal::BadKey);
        }
        if self.is_taken(from, &key) {
            // The other one may be gone when the confirmation comes again.
            self.pending.refused(number);
            return Err(Refusal::UnknownEnd);
        }
        if self.is_full(&key) {
            self.pending.remove(number);
            return Err(Refusal::RateLimit);
        }
        // Both have dialed at once: the session that the smaller key has asked for is the one. The
        // other stays pending, should ours come to nothing.
        let since = self.pending.since(number).unwrap_or(now);
        let asked = |end: &super::End| end.was_asked_since(since);
        let is_ours = self.ends.get(&key).is_some_and(asked)
            || self.dials.iter().any(|dial| dial.is_confirming(&key));
        if own.public() < key && is_ours {
            return Ok(());
        }
        self.pending.remove(number);
        let Some(session) = confirmed.finish(now) else { return Err(Refusal::BadKey) };
        self.sessions.insert(number, key);
        self.take_session(key, session, from, now);
        Ok(())
    }

    /// Whether there is no room for a session with an end that has none.
    fn is_full(&self, key: &PublicKey) -> bool {
        let with_session = || self.ends.values().filter(|end| end.has_session()).count();
        let has_session = self.ends.get(key).is_some_and(super::End::has_session);
        !has_session && with_session() >= SESSIONS_MAX
    }

    /// An end has made a session with us.
    fn take_session(&mut self, key: PublicKey, session: Session, from: SocketAddr, now: Time) {
        let Some(end) = self.ends.get_mut(&key) else { return };
        for dial in &mut self.dials {
            if let Stage::Confirming { key: of, index, .. } = dial.stage
                && of == key
            {
                end.withdraw(index);
                dial.rest(Some(Time(now.0 + GRACE)));
            }
        }
        end.install(session, from, now);
        self.end_timeout(key, now);
        self.settle(key, now);
    }

    fn take_sealed(
        &mut self,
        from: SocketAddr,
        header: Header,
        body: &[u8],
        now: Time,
    ) -> Result<(), Refusal> {
        let key = *self.sessions.get(&header.session).ok_or(Refusal::UnknownEnd)?;
        if self.is_taken(from, &key) {
            return Err(Refusal::UnknownEnd);
        }
        let end = self.ends.get_mut(&key).filter(|end| !end.is_elsewhere(from));
        let end = end.ok_or(Refusal::UnknownEnd)?;
        let opened = end.open(from, header, body, now);
        if opened.is_ok() {
            let confirmed = |dial: &&mut Dial| dial.is_confirming_as(header.session);
            self.dials
                .iter_mut()
                .filter(confirmed)
                .for_each(|dial| dial.succeed(Time(now.0 + GRACE)));
        }
        let taken = opened.and_then(|(message, is_current)| {
            self.take_message((key, from), message, is_current, now)
        });
        self.settle(key, now);
        taken
    }

    fn take_message(
        &mut self,
        (key, from): (PublicKey, SocketAddr),
        message: Message,
        is_current: bool,
        now: Time,
    ) -> Result<(), Refusal> {
        let Some(end) = self.ends.get_mut(&key) else { return Err(Refusal::UnknownEnd) };
        match message {
            Message::Ping(number) => end.send(&Message::Pong(number), &mut self.outputs),
            // It says that the end is where it is.
            Message::Pong(_) if end.address != Some(from) => return Err(Refusal::UnknownEnd),
            Message::Pong(number) => end.liveness.handle_answer(number, now),
            // A host's word does not make routes.
            Message::Announce { .. } | Message::Relays(_) if end.role == Role::Host => {
                return Err(Refusal::BadKey);
            }
            Message::Announce { sequence, prefixes } => {
                // Its sequence numbers begin anew with each session.
                if is_current {
                    end.hear(sequence, prefixes);
                    end.send(&Message::AnnounceAck(sequence), &mut self.outputs);
                }
            }
            Message::AnnounceAck(sequence) => {
                if sequence == self.announcement.0 {
                    end.announcing.at = None;
                }
            }
            Message::Relays(relays) => self.learn(&relays, now),
            Message::LeaseRequest { families, wish } => {
                end.wanted = Some((families, wish));
                self.grant_lease(key, now);
            }
            Message::Lease(lease) => {
                end.asking = None;
                self.outputs.push_back(Output::Leased(end.id, lease));
            }
            Message::Close(reason) => {
                let reason = DownReason::Closed(reason);
                end.close(reason, None, now, &mut self.outputs);
            }
        }
        Ok(())
    }

    /// Leases an end what it has asked for, once it is up: packets are not taken from it before.
    pub(super) fn grant_lease(&mut self, key: PublicKey, now: Time) {
        let Some(end) = self.ends.get_mut(&key).filter(|end| end.liveness.is_up()) else { return };
        let Some((families, wish)) = end.wanted.take() else { return };
        let address = self.leases.grant(key, families, wish, now);
        end.is_changed |= end.lease != address;
        end.lease = address;
        let seconds = if address.is_some() { super::leases::SECONDS } else { 0 };
        let lease = Lease { address, seconds, relay: self.config.name.clone() };
        end.send(&Message::Lease(lease), &mut self.outputs);
    }

    /// Dials relays that another one knows, if they are allowed.
    fn learn(&mut self, relays: &[RelayAddress], now: Time) {
        if self.config.role == Role::Host {
            return;
        }
        for relay in relays {
            let key = PublicKey(relay.key);
            let end = self.ends.get(&key);
            let served = |end: &&super::End| end.served_until(now).is_some();
            let ip = relay.address.ip();
            let usable = relay.address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast();
            if !usable || end.is_none_or(|end| end.role == Role::Host || served(&end)) {
                continue;
            }
            match self.dials.iter_mut().find(|dial| dial.key() == Some(key)) {
                None => {
                    self.dials.push(Dial::new(relay.address, Some(key), Origin::Learned, now));
                }
                Some(dial) => dial.relearn(relay.address, now),
            }
        }
    }
}
