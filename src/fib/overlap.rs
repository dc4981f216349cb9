//! Lookups of many addresses whose waits for memory overlap. (A processor by itself looks ahead no
//! farther than a few lookups.)

use std::ops::Range;

/// Items that go through a pass together.
const GROUP: usize = 16;
/// Groups that a pass is ahead of the next one.
const AHEAD: usize = 2;

/// Takes items 0 to `len` through so many passes in groups. A pass comes to a group when the next
/// one is still some groups behind: so what one has fetched has had time to come when the next
/// one reads it, and memory is always at work.
#[inline(always)]
pub(super) fn overlap(passes: usize, len: usize, mut pass: impl FnMut(usize, Range<usize>)) {
    let groups = len.div_ceil(GROUP);
    for turn in 0..groups + (passes - 1) * AHEAD {
        for number in 0..passes {
            let Some(group) = turn.checked_sub(number * AHEAD) else { break };
            if group < groups {
                let start = group * GROUP;
                pass(number, start..len.min(start + GROUP));
            }
        }
    }
}
