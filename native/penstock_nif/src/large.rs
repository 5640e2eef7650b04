//! Large tables in huge pages: those of a million keys fill 8,000 ordinary pages, more than a
//! processor's TLB knows.

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, but for tables that fill a huge page.
#[derive(Debug)]
pub(crate) struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

// SAFETY: both allocators give memory as asked for, and which one did follows from the layout, that the
// caller passes again.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if pages::fit(layout) {
            return pages::map(layout.size());
        }
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if pages::fit(layout) {
            // What the kernel maps is zero.
            return pages::map(layout.size());
        }
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        if pages::fit(layout) {
            // SAFETY: `map` gave the place for that size, and the caller is done with it.
            return unsafe { pages::unmap(place, layout.size()) };
        }
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(place, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the size is valid with this alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if !pages::fit(layout) && !pages::fit(wanted) {
            // SAFETY: the caller's promise is the same.
            return unsafe { System.realloc(place, layout, size) };
        }
        // SAFETY: the new memory is another's than the old, and both hold what is copied.
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

#[cfg(target_os = "linux")]
mod pages {
    use std::alloc::Layout;
    use std::ptr;

    use libc::{c_void, MADV_HUGEPAGE, MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_READ, PROT_WRITE};

    /// Bytes of a huge page. A kernel that has only larger ones leaves a table in ordinary pages.
    const HUGE: usize = 2 << 20;

    #[inline(always)]
    pub(super) fn fit(layout: Layout) -> bool {
        layout.size() >= HUGE && layout.align() <= HUGE
    }

    /// Mappings are whole huge pages; what a table does not reach of the last is never touched, and so
    /// takes no memory.
    fn mapped(bytes: usize) -> usize {
        bytes.next_multiple_of(HUGE)
    }

    /// Zeroed memory that begins with a huge page, or null if there is none.
    #[cold]
    pub(super) fn map(bytes: usize) -> *mut u8 {
        // A layout has at most `isize::MAX` bytes, so none of this overflows.
        let bytes_mapped = mapped(bytes);
        let with_slack = bytes_mapped + HUGE;
        // SAFETY: a mapping at a place of the kernel's choice touches no other.
        let begin = unsafe {
            libc::mmap(ptr::null_mut(), with_slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        };
        if begin == MAP_FAILED {
            return ptr::null_mut();
        }

        let before = begin.cast::<u8>().align_offset(HUGE);
        let after = HUGE - before;
        // SAFETY: all three parts lie in the mapping, and only the middle one becomes known outside.
        unsafe {
            let place = begin.cast::<u8>().add(before);
            if before > 0 {
                libc::munmap(begin, before);
            }
            libc::munmap(place.add(bytes_mapped).cast::<c_void>(), after);
            // The part of a last page stays ordinary, so it takes no more memory than it fills. It is
            // advice: without it, all works as well.
            libc::madvise(place.cast::<c_void>(), bytes / HUGE * HUGE, MADV_HUGEPAGE);
            place
        }
    }

    /// Gives a mapping back to the kernel.
    ///
    /// # Safety
    ///
    /// `map` gave the place for so many bytes, and nothing refers to it.
    #[cold]
    pub(super) unsafe fn unmap(place: *mut u8, bytes: usize) {
        // SAFETY: it is a whole mapping, which nothing refers to.
        unsafe { libc::munmap(place.cast::<c_void>(), mapped(bytes)) };
    }
}

#[cfg(not(target_os = "linux"))]
mod pages {
    use std::alloc::Layout;

    /// Other systems choose the size of pages by themselves.
    #[inline(always)]
    pub(super) fn fit(_layout: Layout) -> bool {
        false
    }

    pub(super) fn map(_bytes: usize) -> *mut u8 {
        std::ptr::null_mut()
    }

    /// # Safety
    ///
    /// Never called, as nothing fits.
    pub(super) unsafe fn unmap(_place: *mut u8, _bytes: usize) {}
}
