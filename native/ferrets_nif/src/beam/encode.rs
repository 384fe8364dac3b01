//! Terms in the external term format, as `term_to_binary/1` makes it.
//!
//! The VM encodes a term into a binary of its own, from where it has to be copied. What most records are made of is written
//! straight to where it belongs; the VM is asked for other parts, one by one, and for each atom once.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::slice;

use rustler::sys::{enif_inspect_binary, enif_release_binary, enif_term_to_binary};
use rustler::{Env, Term};

use super::external::{
    BINARY_EXT, INTEGER_EXT, LARGE_TUPLE_EXT, LIST_EXT, MAP_EXT, NEW_FLOAT_EXT, SMALL_BIG_EXT, SMALL_INTEGER_EXT,
    SMALL_TUPLE_EXT, STRING_EXT, VERSION,
};
use super::layout::{is_known, raw, raw_word, small, target, Content, IMMEDIATE, LIST, TAG};
use super::term::float;

/// So many pending terms are room enough to be kept.
const PENDING_KEPT: usize = 1024;

/// What atoms look like, for so many of them. Others are asked for again.
const ATOMS: usize = 256;

thread_local! {
    static MEMORY: RefCell<Memory> = const { RefCell::new(Memory { atoms: Vec::new(), pending: Vec::new() }) };
}

/// What is kept from one term to the next.
struct Memory {
    /// Words of atoms, which stay for as long as the VM runs, and what they look like.
    atoms: Vec<(usize, Vec<u8>)>,
    /// Terms that are still to be written, the next one last. Kept for its memory only.
    pending: Vec<usize>,
}

impl Memory {
    /// The place in which an atom is, if it is known.
    #[inline]
    fn place(&mut self, word: usize) -> &mut (usize, Vec<u8>) {
        if self.atoms.is_empty() {
            self.atoms.resize(ATOMS, (0, Vec::new()));
        }
        // The lowest 6 bits say that it is an atom.
        &mut self.atoms[word / 64 % ATOMS]
    }
}

/// Appends the term in the external term format.
pub fn encode(term: Term<'_>, out: &mut Vec<u8>) {
    if !is_known() {
        return encode_by_vm(term, 0, out);
    }
    out.push(VERSION);
    MEMORY.with_borrow_mut(|memory| {
        let mut encoder = Encoder { env: term.get_env(), memory, out };
        // SAFETY: the term is alive.
        unsafe { encoder.run(raw_word(term.as_c_arg())) }
    });
}

/// Appends the VM's encoding of a term, but for so many bytes at its beginning.
pub(super) fn encode_by_vm(term: Term<'_>, skipped: usize, out: &mut Vec<u8>) {
    let mut binary = MaybeUninit::uninit();
    // SAFETY: `term` is alive, and is only read; the VM initialises the binary if it answers other than 0.
    if unsafe { enif_term_to_binary(term.get_env().as_c_arg(), term.as_c_arg(), binary.as_mut_ptr()) } == 0 {
        // The VM documents no case but lack of memory.
        return;
    }
    // SAFETY: initialised, as just checked.
    let mut binary = unsafe { binary.assume_init() };
    // SAFETY: data and size describe the binary, which we own until it is released below.
    let bytes = unsafe { slice::from_raw_parts(binary.data, binary.size) };
    out.extend_from_slice(bytes.get(skipped..).unwrap_or_default());
    // SAFETY: made by `enif_term_to_binary`, released once.
    unsafe { enif_release_binary(&mut binary) };
}

/// What stands in another term does without the version.
fn encode_part(term: Term<'_>, out: &mut Vec<u8>) {
    encode_by_vm(term, 1, out);
}

struct Encoder<'a, 'e> {
    env: Env<'a>,
    memory: &'e mut Memory,
    out: &'e mut Vec<u8>,
}

impl<'a> Encoder<'a, '_> {
    /// Without recursion: terms may be nested without bound.
    ///
    /// # Safety
    /// The word is a term of `env`, and terms are laid out as expected.
    unsafe fn run(&mut self, root: usize) {
        self.memory.pending.clear();
        self.memory.pending.push(root);
        while let Some(word) = self.memory.pending.pop() {
            // SAFETY: parts of a term are terms.
            unsafe { self.write(word) }
        }
        self.memory.pending.shrink_to(PENDING_KEPT);
    }

    fn term(&self, word: usize) -> Term<'a> {
        // SAFETY: only words of terms of `env` come here.
        unsafe { Term::new(self.env, raw(word)) }
    }

    /// Writes a term, or its beginning: what is to come behind it is put on top of what is pending.
    ///
    /// # Safety
    /// As for [`Encoder::run`].
    unsafe fn write(&mut self, word: usize) {
        match word & TAG {
            IMMEDIATE => self.immediate(word),
            // SAFETY: by contract.
            LIST => unsafe { self.list(word) },
            _ => {
                // SAFETY: what is neither in its word nor a list is a box, which has a first word.
                match Content::of(unsafe { target(word, 1) }[0]) {
                    Content::Terms(arity) => {
                        match u8::try_from(arity) {
                            Ok(arity) => self.out.extend([SMALL_TUPLE_EXT, arity]),
                            Err(_) => self.head(LARGE_TUPLE_EXT, arity),
                        }
                        // SAFETY: so many terms are behind the first word.
                        let elements = unsafe { &target(word, 1 + arity)[1..] };
                        if elements.iter().all(|element| element & TAG == IMMEDIATE) {
                            elements.iter().for_each(|element| self.immediate(*element));
                        } else {
                            // What is pending is written in reverse.
                            self.memory.pending.extend(elements.iter().rev());
                        }
                    }
                    Content::SmallMap => {
                        // SAFETY: the second word is how many keys there are, the third a tuple of them, and behind it are the values.
                        let (keys, values) = unsafe {
                            let pairs = target(word, 2)[1];
                            let map = target(word, 3 + pairs);
                            (&target(map[2], 1 + pairs)[1..], &map[3..])
                        };
                        self.head(MAP_EXT, keys.len());
                        self.memory
                            .pending
                            .extend(keys.iter().zip(values).rev().flat_map(|(key, value)| [*value, *key]));
                    }
                    Content::Opaque(_) => self.leaf(self.term(word)),
                    Content::Unknown => encode_part(self.term(word), self.out),
                }
            }
        }
    }

    fn head(&mut self, tag: u8, len: usize) {
        self.out.push(tag);
        self.out.extend((len as u32).to_be_bytes());
    }

    fn immediate(&mut self, word: usize) {
        if let Some(value) = small(word) {
            return self.integer(value as i64);
        }
        let place = self.memory.place(word);
        if place.0 != word {
            let term = self.term(word);
            if !term.is_atom() && !term.is_empty_list() {
                // Pids change their looks when the node gets a name.
                return encode_part(term, self.out);
            }
            let mut looks = Vec::new();
            encode_part(term, &mut looks);
            *self.memory.place(word) = (word, looks);
        }
        self.out.extend_from_slice(&self.memory.place(word).1);
    }

    fn integer(&mut self, value: i64) {
        if let Ok(value) = u8::try_from(value) {
            self.out.extend([SMALL_INTEGER_EXT, value]);
        } else if let Ok(value) = i32::try_from(value) {
            self.out.push(INTEGER_EXT);
            self.out.extend(value.to_be_bytes());
        } else {
            let magnitude = value.unsigned_abs().to_le_bytes();
            let len = 8 - value.unsigned_abs().leading_zeros() as usize / 8;
            self.out.extend([SMALL_BIG_EXT, len as u8, u8::from(value < 0)]);
            self.out.extend_from_slice(&magnitude[..len]);
        }
    }

    /// A float, a big integer or a small binary.
    fn leaf(&mut self, term: Term<'_>) {
        if let Some(value) = float(term) {
            self.out.push(NEW_FLOAT_EXT);
            return self.out.extend(value.to_be_bytes());
        }
        let mut binary = MaybeUninit::uninit();
        // SAFETY: `term` is alive, the out-pointer is valid. A small binary is shown where it is.
        if unsafe { enif_inspect_binary(term.get_env().as_c_arg(), term.as_c_arg(), binary.as_mut_ptr()) } == 0 {
            return encode_part(term, self.out);
        }
        // SAFETY: initialised, as just checked.
        let binary = unsafe { binary.assume_init() };
        self.head(BINARY_EXT, binary.size);
        // SAFETY: data and size describe the binary's bytes, which stay as long as it does.
        self.out.extend_from_slice(unsafe { slice::from_raw_parts(binary.data, binary.size) });
    }

    /// # Safety
    /// The word is a list cell's.
    unsafe fn list(&mut self, first: usize) {
        let (mut heads, mut rest) = (Vec::new(), first);
        while rest & TAG == LIST {
            // SAFETY: a cell has two words, of which the second is a term.
            let cell = unsafe { target(rest, 2) };
            heads.push(cell[0]);
            rest = cell[1];
        }
        let bytes = heads.iter().map_while(|head| small(*head).and_then(|value| u8::try_from(value).ok()));
        let is_proper = rest & TAG == IMMEDIATE && self.term(rest).is_empty_list();
        match u16::try_from(heads.len()) {
            Ok(len) if is_proper && bytes.clone().count() == heads.len() => {
                self.out.push(STRING_EXT);
                self.out.extend(len.to_be_bytes());
                self.out.extend(bytes);
            }
            _ => {
                self.head(LIST_EXT, heads.len());
                self.memory.pending.push(rest);
                self.memory.pending.extend(heads.iter().rev());
            }
        }
    }
}
