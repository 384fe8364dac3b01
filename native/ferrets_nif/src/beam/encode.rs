//! Terms in the external term format, as `term_to_binary/1` makes it.
//!
//! The VM encodes a term into a binary of its own, from where it has to be copied. What most records are made of is written
//! straight to where it belongs; the VM is asked for other parts, one by one, and for each atom once.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::slice;

use rustler::sys::{enif_inspect_binary, enif_release_binary, enif_term_to_binary};
use rustler::{Env, Term};

use super::layout::{is_known, raw, small, target, Content, IMMEDIATE, LIST, TAG};
use super::term::{float, raw_word};

const VERSION: u8 = 131;
const NEW_FLOAT: u8 = 70;
const SMALL_INTEGER: u8 = 97;
const INTEGER: u8 = 98;
const SMALL_TUPLE: u8 = 104;
const LARGE_TUPLE: u8 = 105;
const STRING: u8 = 107;
const LIST_OF: u8 = 108;
const BINARY: u8 = 109;
const SMALL_BIG: u8 = 110;
const MAP: u8 = 116;

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
        return encode_whole(term, out);
    }
    out.push(VERSION);
    MEMORY.with_borrow_mut(|memory| {
        let mut encoder = Encoder { env: term.get_env(), memory, out };
        // SAFETY: the term is alive.
        unsafe { encoder.run(raw_word(term.as_c_arg())) }
    });
}

/// The VM's encoding of a term.
fn with_encoded<R>(term: Term<'_>, show: impl FnOnce(&[u8]) -> R) -> Option<R> {
    let mut binary = MaybeUninit::uninit();
    // SAFETY: `term` is alive, and is only read; the VM initialises the binary if it answers other than 0.
    if unsafe { enif_term_to_binary(term.get_env().as_c_arg(), term.as_c_arg(), binary.as_mut_ptr()) } == 0 {
        // The VM documents no case but lack of memory.
        return None;
    }
    // SAFETY: initialised, as just checked.
    let mut binary = unsafe { binary.assume_init() };
    // SAFETY: data and size describe the binary, which we own until it is released below.
    let shown = show(unsafe { slice::from_raw_parts(binary.data, binary.size) });
    // SAFETY: made by `enif_term_to_binary`, released once.
    unsafe { enif_release_binary(&mut binary) };
    Some(shown)
}

fn encode_whole(term: Term<'_>, out: &mut Vec<u8>) {
    with_encoded(term, |encoded| out.extend_from_slice(encoded));
}

fn encode_part(term: Term<'_>, out: &mut Vec<u8>) {
    with_encoded(term, |encoded| out.extend_from_slice(encoded.get(1..).unwrap_or_default()));
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
                            Ok(arity) => self.out.extend([SMALL_TUPLE, arity]),
                            Err(_) => self.head(LARGE_TUPLE, arity),
                        }
                        // SAFETY: so many terms are behind the first word.
                        let elements = unsafe { &target(word, 1 + arity)[1..] };
                        match elements {
                            // Most elements are in their words. What is pending is written in reverse.
                            _ if elements.iter().all(|element| element & TAG == IMMEDIATE) => {
                                elements.iter().for_each(|element| self.immediate(*element));
                            }
                            _ => self.memory.pending.extend(elements.iter().rev()),
                        }
                    }
                    Content::SmallMap => {
                        // SAFETY: the second word is how many keys there are, the third a tuple of them, and behind it are the values.
                        let (keys, values) = unsafe {
                            let pairs = target(word, 2)[1];
                            let map = target(word, 3 + pairs);
                            (&target(map[2], 1 + pairs)[1..], &map[3..])
                        };
                        self.head(MAP, keys.len());
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
            self.out.extend([SMALL_INTEGER, value]);
        } else if let Ok(value) = i32::try_from(value) {
            self.out.push(INTEGER);
            self.out.extend(value.to_be_bytes());
        } else {
            let magnitude = value.unsigned_abs().to_le_bytes();
            let len = 8 - value.unsigned_abs().leading_zeros() as usize / 8;
            self.out.extend([SMALL_BIG, len as u8, u8::from(value < 0)]);
            self.out.extend_from_slice(&magnitude[..len]);
        }
    }

    /// A float, a big integer or a small binary.
    fn leaf(&mut self, term: Term<'_>) {
        if let Some(value) = float(term) {
            self.out.push(NEW_FLOAT);
            return self.out.extend(value.to_be_bytes());
        }
        let mut binary = MaybeUninit::uninit();
        // SAFETY: `term` is alive, the out-pointer is valid. A small binary is shown where it is.
        if unsafe { enif_inspect_binary(term.get_env().as_c_arg(), term.as_c_arg(), binary.as_mut_ptr()) } == 0 {
            return encode_part(term, self.out);
        }
        // SAFETY: initialised, as just checked.
        let binary = unsafe { binary.assume_init() };
        self.head(BINARY, binary.size);
        // SAFETY: data and size describe the binary's bytes, which stay as long as it does.
        self.out.extend_from_slice(unsafe { slice::from_raw_parts(binary.data, binary.size) });
    }

    /// # Safety
    /// The word is a list cell's.
    unsafe fn list(&mut self, first: usize) {
        // SAFETY: a cell has two words, of which the second is a term.
        let cell = |word| unsafe { target(word, 2) };
        let (mut len, mut are_bytes, mut rest) = (0, true, first);
        while rest & TAG == LIST {
            len += 1;
            are_bytes &= small(cell(rest)[0]).is_some_and(|value| u8::try_from(value).is_ok());
            rest = cell(rest)[1];
        }
        let is_proper = rest & TAG == IMMEDIATE && self.term(rest).is_empty_list();
        let mut heads = Vec::new();
        let mut at = first;
        while at & TAG == LIST {
            heads.push(cell(at)[0]);
            at = cell(at)[1];
        }
        match u16::try_from(len) {
            Ok(short) if is_proper && are_bytes => {
                self.out.push(STRING);
                self.out.extend(short.to_be_bytes());
                self.out.extend(heads.iter().map(|word| small(*word).unwrap_or(0) as u8));
            }
            _ => {
                self.head(LIST_OF, len);
                self.memory.pending.push(rest);
                self.memory.pending.extend(heads.iter().rev());
            }
        }
    }
}
