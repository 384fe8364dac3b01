//! Terms from the external term format, as [`super::encode`] writes most of them, without the VM: into memory of our own, side by side.
//!
//! The VM needs an environment for that, and looks up each atom by its name. What is decoded here lies like a [block](super::block), and
//! is gone with the next [`Decoder::clear`]. Only what a block can be made of is known here; all else, whatever it is, and whatever is wrong, is
//! left to the VM: then the answer is nothing.

use std::cell::RefCell;

use rustler::{Env, Term};

use super::block::shift;
use super::external::{
    ATOM_EXT, ATOM_UTF8_EXT, BINARY_EXT, INTEGER_EXT, LARGE_TUPLE_EXT, LIST_EXT, MAP_EXT, NEW_FLOAT_EXT, NIL_EXT,
    SMALL_ATOM_EXT, SMALL_ATOM_UTF8_EXT, SMALL_BIG_EXT, SMALL_INTEGER_EXT, SMALL_TUPLE_EXT, STRING_EXT, VERSION,
};
use super::layout::{raw, raw_word, small_word, Headers, BOXED, IMMEDIATE, LIST, SUBTAG_BITS, TAG, TUPLE};
use super::scratch::{aside, nowhere};

const WORD: usize = size_of::<usize>();

/// A larger binary is one of those that are shared.
const BINARY_MAX: usize = 64;

/// Room for so many words is kept.
const WORDS_KEPT: usize = 64 * 1024;

/// So many atoms are known by their looks. Others are asked for again.
const ATOMS: usize = 256;

thread_local! {
    /// What atoms look like, and their words, which stay for as long as the VM runs.
    static ATOM_WORDS: RefCell<Vec<(Vec<u8>, usize)>> = const { RefCell::new(Vec::new()) };
}

/// A term in a decoder.
#[derive(Clone, Copy, Debug)]
pub struct Decoded {
    /// In which a pointer says how far from the beginning of the decoder's memory it points.
    word: usize,
    /// The words that the term takes in an arena.
    pub words: u32,
}

/// Words that are still to come: every second of them, or each.
#[derive(Clone, Copy, Debug)]
struct Gap {
    next: usize,
    step: usize,
    left: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Decoder {
    words: Vec<usize>,
    gaps: Vec<Gap>,
    /// How many terms the gaps are for.
    missing: usize,
    /// Up to here, pointers are addresses.
    settled: usize,
}

impl Decoder {
    /// Throws away all terms.
    pub fn clear(&mut self) {
        self.words.clear();
        self.words.shrink_to(WORDS_KEPT);
        self.settled = 0;
    }

    /// Decodes one term more. Nothing if that is for the VM to do; then no term has come.
    pub fn decode(&mut self, bytes: &[u8]) -> Option<Decoded> {
        self.decode_as(Headers::known()?, bytes)
    }

    /// The same before that is known to work.
    pub(super) fn decode_as(&mut self, headers: &Headers, bytes: &[u8]) -> Option<Decoded> {
        if self.settled > 0 {
            // What is there must not move any more.
            return None;
        }
        let begin = self.words.len();
        self.gaps.clear();
        self.missing = 0;
        let mut input = Input(bytes.strip_prefix(&[VERSION])?);
        let decoded = self.read_all(headers, &mut input).filter(|_| input.0.is_empty());
        let words = u32::try_from(self.words.len() - begin).ok();
        let decoded = decoded.and_then(|word| Some(Decoded { word, words: words? }));
        if decoded.is_none() {
            self.words.truncate(begin);
        }
        decoded
    }

    /// Has all terms stay where they are. To be called between the last of them and the first look at one.
    pub fn settle(&mut self) {
        let base = self.words.as_ptr() as usize;
        shift(&mut self.words[self.settled..], base);
        self.settled = self.words.len();
    }

    /// Looks at a term.
    ///
    /// # Panics
    /// If it has not been settled.
    pub fn view(&self, decoded: Decoded) -> Term<'_> {
        let Decoded { word, .. } = decoded;
        let word = if word & TAG == IMMEDIATE {
            word
        } else {
            assert!(self.settled > word / WORD, "a term that has not been settled");
            word + self.words.as_ptr() as usize
        };
        // SAFETY: the term is whole, since its last gap has been filled, and stays as long as the borrow does. The environment is
        // named for nothing but the lifetime: terms are only read.
        unsafe { Term::new(Env::new(self, nowhere()), raw(word)) }
    }

    /// Without recursion: terms may be nested without bound.
    fn read_all(&mut self, headers: &Headers, input: &mut Input<'_>) -> Option<usize> {
        let root = self.read(headers, input)?;
        while let Some(gap) = self.gaps.last_mut() {
            let place = gap.next;
            gap.next += gap.step;
            gap.left -= 1;
            self.missing -= 1;
            if gap.left == 0 {
                self.gaps.pop();
            }
            self.words[place] = self.read(headers, input)?;
        }
        Some(root)
    }

    /// Reads a term, or its beginning: what is to come behind it fills the last gap.
    #[inline]
    fn read(&mut self, headers: &Headers, input: &mut Input<'_>) -> Option<usize> {
        let begin = input.0;
        match input.byte()? {
            SMALL_INTEGER_EXT => small_word(i64::from(input.byte()?)),
            INTEGER_EXT => small_word(i64::from(i32::from_be_bytes(input.array()?))),
            SMALL_ATOM_UTF8_EXT | SMALL_ATOM_EXT => {
                let len = usize::from(input.byte()?);
                input.take(len)?;
                atom(&begin[..2 + len])
            }
            ATOM_UTF8_EXT | ATOM_EXT => {
                let len = usize::from(u16::from_be_bytes(input.array()?));
                input.take(len)?;
                atom(&begin[..3 + len])
            }
            SMALL_TUPLE_EXT => {
                let arity = input.byte()?;
                self.tuple(usize::from(arity), input)
            }
            LARGE_TUPLE_EXT => {
                let arity = input.len()?;
                self.tuple(arity, input)
            }
            BINARY_EXT => {
                let len = input.len().filter(|len| *len <= BINARY_MAX)?;
                Some(self.binary(headers, input.take(len)?))
            }
            NEW_FLOAT_EXT => {
                let bits = u64::from_be_bytes(input.array()?);
                f64::from_bits(bits).is_finite().then(|| self.leaf(headers.float, bits))
            }
            SMALL_BIG_EXT => self.big(headers, input),
            NIL_EXT => Some(headers.nil),
            STRING_EXT => {
                let len = u16::from_be_bytes(input.array()?);
                self.string(headers, input.take(usize::from(len))?)
            }
            LIST_EXT => {
                let len = input.len()?;
                self.list(len, input)
            }
            MAP_EXT => {
                // The order of several keys is the VM's secret.
                input.len().filter(|len| *len == 1 && self.may_miss(2, input))?;
                Some(self.map(headers))
            }
            _ => None,
        }
    }

    /// So many more terms are to come. False if there are not that many: each takes a byte at least, of what is left for all of them. So
    /// no more room is made than there are bytes for, whatever the lengths in them say.
    fn may_miss(&mut self, terms: usize, input: &Input<'_>) -> bool {
        self.missing += terms;
        self.missing <= input.0.len()
    }

    /// Makes room for so many words. Returns the place of the first.
    fn grow(&mut self, words: usize) -> usize {
        let place = self.words.len();
        self.words.resize(place + words, 0);
        place
    }

    fn leaf(&mut self, header: usize, bits: u64) -> usize {
        let place = self.words.len();
        self.words.extend([header, bits as usize]);
        pointer(place, BOXED)
    }

    fn tuple(&mut self, arity: usize, input: &Input<'_>) -> Option<usize> {
        // There is but one `{}` in some releases.
        if arity == 0 || !self.may_miss(arity, input) {
            return None;
        }
        let place = self.grow(1 + arity);
        self.words[place] = TUPLE | arity << SUBTAG_BITS;
        self.gaps.push(Gap { next: place + 1, step: 1, left: arity });
        Some(pointer(place, BOXED))
    }

    fn binary(&mut self, headers: &Headers, bytes: &[u8]) -> usize {
        let words = bytes.len().div_ceil(WORD);
        let place = self.words.len();
        self.words.extend([headers.binary | (1 + words) << SUBTAG_BITS, bytes.len() * headers.binary_unit]);
        for part in bytes.chunks(WORD) {
            let mut word = [0; WORD];
            word[..part.len()].copy_from_slice(part);
            self.words.push(usize::from_ne_bytes(word));
        }
        pointer(place, BOXED)
    }

    fn big(&mut self, headers: &Headers, input: &mut Input<'_>) -> Option<usize> {
        let len = usize::from(input.byte()?);
        let is_negative = input.byte()? != 0;
        let mut magnitude = [0; WORD];
        magnitude.get_mut(..len)?.copy_from_slice(input.take(len)?);
        let magnitude = u64::from_le_bytes(magnitude);
        let value = i128::from(magnitude) * if is_negative { -1 } else { 1 };
        if let Some(word) = i64::try_from(value).ok().and_then(small_word) {
            return Some(word);
        }
        Some(self.leaf(if is_negative { headers.negative } else { headers.positive }, magnitude))
    }

    /// Cells for so many elements, one behind the other. Returns the place of the first.
    fn cells(&mut self, len: usize) -> usize {
        let place = self.grow(2 * len);
        for cell in 1..len {
            self.words[place + 2 * cell - 1] = pointer(place + 2 * cell, LIST);
        }
        place
    }

    fn string(&mut self, headers: &Headers, bytes: &[u8]) -> Option<usize> {
        if bytes.is_empty() {
            return Some(headers.nil);
        }
        let place = self.cells(bytes.len());
        for (at, byte) in bytes.iter().enumerate() {
            self.words[place + 2 * at] = small_word(i64::from(*byte))?;
        }
        self.words[place + 2 * bytes.len() - 1] = headers.nil;
        Some(pointer(place, LIST))
    }

    fn list(&mut self, len: usize, input: &Input<'_>) -> Option<usize> {
        if len == 0 || !self.may_miss(len + 1, input) {
            return None;
        }
        let place = self.cells(len);
        self.gaps.push(Gap { next: place + 2 * len - 1, step: 1, left: 1 });
        self.gaps.push(Gap { next: place, step: 2, left: len });
        Some(pointer(place, LIST))
    }

    /// A map of one pair.
    fn map(&mut self, headers: &Headers) -> usize {
        let place = self.words.len();
        let keys = place + 4;
        self.words.extend([headers.small_map, 1, pointer(keys, BOXED), 0, TUPLE | 1 << SUBTAG_BITS, 0]);
        self.gaps.push(Gap { next: place + 3, step: 1, left: 1 });
        self.gaps.push(Gap { next: keys + 1, step: 1, left: 1 });
        pointer(place, BOXED)
    }
}

/// A pointer that is not settled.
fn pointer(place: usize, tag: usize) -> usize {
    (place * WORD) | tag
}

/// Bytes that are still to be read.
struct Input<'b>(&'b [u8]);

impl<'b> Input<'b> {
    #[inline]
    fn take(&mut self, len: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    #[inline]
    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn len(&mut self) -> Option<usize> {
        usize::try_from(u32::from_be_bytes(self.array()?)).ok()
    }
}

/// The word of the atom that looks like this.
#[inline]
fn atom(looks: &[u8]) -> Option<usize> {
    ATOM_WORDS.with_borrow_mut(|atoms| {
        if atoms.is_empty() {
            atoms.resize(ATOMS, (Vec::new(), 0));
        }
        let known = &mut atoms[place(looks)];
        if known.0 != looks {
            *known = (looks.to_vec(), atom_by_vm(looks)?);
        }
        Some(known.1)
    })
}

/// Where an atom is among those that are known, by its first and last bytes: nodes' names differ there.
#[inline]
fn place(looks: &[u8]) -> usize {
    let word = |part: &[u8]| part.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let (first, last) = (&looks[..looks.len().min(8)], &looks[looks.len().saturating_sub(8)..]);
    let mixed = (word(first) ^ word(last).rotate_left(29)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 32) as usize % ATOMS
}

fn atom_by_vm(looks: &[u8]) -> Option<usize> {
    let external = [&[VERSION], looks].concat();
    aside(|env| env.binary_to_term(&external).map(|(atom, _)| raw_word(atom.as_c_arg())))
}
