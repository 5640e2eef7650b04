//! Puts large tables in huge pages, because the TLB of a processor holds too few ordinary pages:
//! the table of a million keys fills 8,000 of these.

use std::alloc::{GlobalAlloc, Layout, System};

use crate::count;

/// Maps memory from the kernel for a request of at least a huge page. Takes the memory of any
/// other request from the system's allocator.
#[derive(Debug)]
pub(crate) struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

// SAFETY: an allocator must return memory that fits the layout, and must free only its own.
// `System` and `map` return such memory. Memory is freed where it came from: the caller of
// `dealloc` and `realloc` passes the layout of the allocation, and `fit` depends on that alone.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count::add(layout.size());
        if pages::fit(layout) {
            return pages::map(layout.size());
        }
        // SAFETY: the caller makes the same guarantee to this function.
        unsafe { System.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count::add(layout.size());
        if pages::fit(layout) {
            // The kernel zeroes the pages of a new mapping.
            return pages::map(layout.size());
        }
        // SAFETY: the caller makes the same guarantee to this function.
        unsafe { System.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count::sub(layout.size());
        if pages::fit(layout) {
            // SAFETY: `map` must have returned the place for this size. The caller guarantees
            // that `alloc` returned it for this layout, and `alloc` calls `map` for layouts that
            // fit. The caller also guarantees that it no longer uses the place.
            return unsafe { pages::unmap(place, layout.size()) };
        }
        // SAFETY: the caller makes the same guarantee to this function.
        unsafe { System.dealloc(place, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller guarantees that the size is valid with this alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if !pages::fit(layout) && !pages::fit(wanted) {
            count::sub(layout.size());
            count::add(size);
            // SAFETY: the caller makes the same guarantee to this function.
            return unsafe { System.realloc(place, layout, size) };
        }
        // SAFETY: the copy is no longer than the old memory, nor than the new memory. The caller
        // guarantees that the old memory is valid, and `alloc` has just returned the new one. So
        // the two do not overlap. If this function returns a new place, the caller no longer
        // uses the old one.
        unsafe {
            let new = self.alloc(wanted);
            if !new.is_null() {
                new.copy_from_nonoverlapping(place, layout.size().min(size));
                self.dealloc(place, layout);
            }
            new
        }
    }
}

#[cfg(all(target_os = "linux", not(system_allocator)))]
mod pages {
    use std::alloc::Layout;
    use std::ptr;

    use libc::{c_void, MADV_HUGEPAGE, MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_READ, PROT_WRITE};

    /// The bytes of a huge page. A kernel that has only larger huge pages may leave a table in
    /// ordinary pages.
    const HUGE: usize = 2 << 20;

    #[inline(always)]
    pub(super) fn fit(layout: Layout) -> bool {
        layout.size() >= HUGE && layout.align() <= HUGE
    }

    /// Returns the bytes of the mapping of a table: whole ordinary pages, not whole huge pages.
    /// Some kernels grant huge pages to each mapping, unasked. There, a mapping of whole huge
    /// pages would take more memory than the table needs.
    fn mapped(bytes: usize) -> usize {
        // SAFETY: the call has no precondition. It returns a number that never changes.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        bytes.next_multiple_of(usize::try_from(page).unwrap_or(HUGE))
    }

    /// Maps zeroed memory that begins at a border of huge pages. Returns null if the kernel
    /// grants no memory.
    #[cold]
    pub(super) fn map(bytes: usize) -> *mut u8 {
        // A layout has at most `isize::MAX` bytes, so neither this sum nor `mapped` overflows.
        let length = mapped(bytes);
        let with_slack = length + HUGE;
        // SAFETY: without MAP_FIXED, the kernel chooses a place where no other mapping is.
        let begin = unsafe {
            libc::mmap(ptr::null_mut(), with_slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        };
        if begin == MAP_FAILED {
            return ptr::null_mut();
        }

        let before = begin.cast::<u8>().align_offset(HUGE);
        let after = HUGE - before;
        // SAFETY: the unmapped parts must be unused and lie in the mapping. They lie in it, since
        // `before` and `after` add up to the slack. They are unused, since this function returns
        // only the part between them.
        unsafe {
            let place = begin.cast::<u8>().add(before);
            if before > 0 {
                libc::munmap(begin, before);
            }
            libc::munmap(place.add(length).cast::<c_void>(), after);
            // The advice covers whole huge pages only. A failure of the call does no harm.
            libc::madvise(place.cast::<c_void>(), bytes / HUGE * HUGE, MADV_HUGEPAGE);
            place
        }
    }

    /// Gives a mapping back to the kernel.
    ///
    /// # Safety
    ///
    /// `map` returned `place` for the same `bytes`, and no reference to it is left.
    #[cold]
    pub(super) unsafe fn unmap(place: *mut u8, bytes: usize) {
        // SAFETY: the caller guarantees that this is a whole mapping of `map`, and unused.
        unsafe { libc::munmap(place.cast::<c_void>(), mapped(bytes)) };
    }
}

/// Leaves all memory to the system's allocator, for two reasons. Systems other than Linux choose
/// the size of pages by themselves. AddressSanitizer checks only memory of the system's
/// allocator, so `script/sanitize asan` sets `system_allocator`.
#[cfg(any(not(target_os = "linux"), system_allocator))]
mod pages {
    use std::alloc::Layout;

    #[inline(always)]
    pub(super) fn fit(_layout: Layout) -> bool {
        false
    }

    pub(super) fn map(_bytes: usize) -> *mut u8 {
        std::ptr::null_mut()
    }

    /// # Safety
    ///
    /// Never called, because `fit` returns `false`.
    pub(super) unsafe fn unmap(_place: *mut u8, _bytes: usize) {}
}
