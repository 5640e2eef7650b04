//! Entry points that keep the pressure of the VM for the sampler of `Penstock.VM`.

use crate::atoms;
use crate::entry::entries;
use crate::host::Beam;
use crate::node;
use crate::term::Term;

entries! {
    vm_set/2 => set,
    vm_get/0 => get,
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
