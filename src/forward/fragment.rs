//! Fragments of a unicast copy that is too big for its link and whose sender allows it (IPv4 with
//! DF clear, WIRE.md R11). Copies in Xcast form are never fragmented.

use super::output::Output;
use super::packet::Parsed;
use super::replica::{LINK_HEADER_LEN, Replica, Span};
use crate::wire::ipv4;

/// Octets of payload in each fragment but the last, if packets can be cut for a link of this
/// MTU: the rewritten part of the transport header must stay whole.
pub(super) fn payload_len(parsed: &Parsed, mtu: usize) -> Option<usize> {
    let payload = mtu.checked_sub(parsed.xcast - parsed.ip)? & !7;
    (parsed.may_fragment && payload >= parsed.tail - parsed.transport && payload > 0)
        .then_some(payload)
}

/// Cuts a finished unicast copy, described by `whole`, into replicas with `size` octets of payload
/// each. The last one stands for the destination. Returns whether there was room for all.
pub(super) fn cut(parsed: &Parsed, whole: Replica, size: usize, out: &mut Output) -> bool {
    let Replica { head, tail, .. } = whole;
    let header_len = parsed.xcast - parsed.ip;
    let in_head = head.len as usize - LINK_HEADER_LEN - header_len;
    let payload_len = in_head + tail.len as usize;
    let first = out.replicas.len();
    for start in (0..payload_len).step_by(size) {
        let end = payload_len.min(start + size);
        let at = |offset: usize| tail.start as usize + offset - in_head;
        let fragment = match start {
            0 => (head, Span::new(at(in_head), at(end))),
            _ => match later_head(head, header_len, out) {
                Some(own) => (own, Span::new(at(start), at(end))),
                None => {
                    out.replicas.truncate(first);
                    return false;
                }
            },
        };
        let is_last = end == payload_len;
        let ip = &mut out.heads.of(fragment.0)[LINK_HEADER_LEN..];
        ipv4::make_fragment(ip, header_len, (end - start) as u16, start as u16, !is_last);
        let live = if is_last { whole.live } else { 0 };
        // An error quotes the beginning of a datagram, or nothing (RFC 1122 section 3.2.2).
        let answerable = whole.answerable && start == 0;
        out.replicas.push(Replica {
            live,
            answerable,
            head: fragment.0,
            tail: fragment.1,
            ..whole
        });
    }
    true
}

/// A head for a later fragment: the same headers, options kept that are to be copied.
fn later_head(first: Span, header_len: usize, out: &mut Output) -> Option<Span> {
    if out.is_full() {
        return None;
    }
    let length = LINK_HEADER_LEN + header_len;
    let (own, _) = out.heads.take(length)?;
    out.heads.copy(first, own);
    ipv4::blank_uncopied_options(&mut out.heads.of(own)[LINK_HEADER_LEN..][..header_len]);
    Some(own)
}
