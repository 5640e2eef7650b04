//! Entry points for the sampler of `Penstock.VM`: it keeps the pressure here, and reads files.

use std::fs::File;
use std::io::Read;

use penstock_core::Host;

use crate::atoms;
use crate::clock;
use crate::entry::entries;
use crate::host::Beam;
use crate::node;
use crate::term::Term;

entries! {
    vm_set/2 => set,
    vm_get/0 => get,
    vm_read/1 => read (dirty),
    vm_read_at_once/1 => read_at_once,
}

fn set(beam: &Beam, [levels, delay]: [Term; 2]) -> Term {
    let word = |term| beam.env.u64(term).and_then(|word| u32::try_from(word).ok());
    let (Some(levels), Some(delay)) = (word(levels), word(delay)) else { return atoms::badarg() };
    node::set_vm_levels(levels, delay);
    atoms::ok()
}

fn get(beam: &Beam, []: [Term; 0]) -> Term {
    let (levels, delay) = node::vm_levels();
    beam.env.tuple(&[levels, delay].map(|word| beam.env.make_u64(word.into())))
}

/// The most files of one call. A sample needs fewer than ten.
const MOST_FILES: usize = 16;
/// The largest size of a file in bytes. Those of a sample have less than a tenth of it.
const MOST_BYTES: u64 = 65_536;

/// Reads all files of a list in one call. Each call of the VM's own functions on a file wakes up
/// another scheduler, which costs more than the read.
fn read(beam: &Beam, [paths]: [Term; 1]) -> Term {
    let (mut texts, mut count, mut rest) = ([atoms::nil(); MOST_FILES], 0, paths);
    while let Some((path, next)) = beam.env.cell(rest) {
        let Some(path) = beam.env.binary(path) else { return atoms::badarg() };
        if count == MOST_FILES {
            return atoms::badarg();
        }
        if let Some(text) = contents(path) {
            texts[count] = beam.env.make_binary(&text);
        }
        (count, rest) = (count + 1, next);
    }
    if beam.env.is_empty_list(rest) {
        beam.env.list(&texts[..count])
    } else {
        atoms::badarg()
    }
}

/// Reads one file without a dirty scheduler. Only for files that the kernel itself
/// makes up in some µs.
fn read_at_once(beam: &Beam, [path]: [Term; 1]) -> Term {
    /// The ns of one unit of work.
    const UNIT: u64 = 20;
    let Some(path) = beam.env.binary(path) else { return atoms::badarg() };
    let began = clock::now_ns();
    let text = contents(path).map_or_else(atoms::nil, |text| beam.env.make_binary(&text));
    beam.worked((clock::now_ns().saturating_sub(began) / UNIT) as usize);
    text
}

#[cfg(unix)]
fn contents(path: &[u8]) -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    let file = File::open(std::ffi::OsStr::from_bytes(path)).ok()?;
    let mut text = Vec::with_capacity(4_096);
    let read = file.take(MOST_BYTES + 1).read_to_end(&mut text).ok()?;
    (read as u64 <= MOST_BYTES).then_some(text)
}

/// Only Unix has the files.
#[cfg(not(unix))]
fn contents(_path: &[u8]) -> Option<Vec<u8>> {
    None
}
