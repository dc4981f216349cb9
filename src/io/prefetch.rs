//! Memory that will be wanted soon.

/// What a processor fetches at once, in octets.
const LINE: usize = 64;

/// Has the processor fetch an object while something else is done: nothing but time changes. It
/// pays where many objects are wanted in an order that only the caller knows, and are far too many
/// for the caches.
#[inline]
pub fn prefetch<T: ?Sized>(object: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = std::ptr::from_ref(object).cast::<i8>();
        for offset in (0..size_of_val(object)).step_by(LINE) {
            // SAFETY: a hint, whatever the address; `wrapping_add` computes it without a claim, and
            // it lies within the object anyway.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(offset)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _unchanged = object;
}

/// The same of one of many objects, where it begins.
#[inline(always)]
pub fn prefetch_at<T>(objects: &[T], index: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, whatever the address; `wrapping_add` computes it without a claim.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(objects.as_ptr().wrapping_add(index).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _unchanged = (objects, index);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_changes() {
        let octets: Vec<u8> = (0..200).collect();
        prefetch(octets.as_slice());
        prefetch::<[u8]>(&[]);
        prefetch_at(&octets, 100);
        prefetch_at(&octets, usize::MAX);
        assert_eq!(octets, (0..200).collect::<Vec<u8>>());
    }
}
