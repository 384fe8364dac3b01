//! Visits all parts of a term, without recursion: terms may be nested without bound.

use std::ops::ControlFlow;

use rustler::sys::ErlNifTerm;
use rustler::{Env, Term};

use super::kind::Type;
use super::term::{cell, each_pair, is_immediate, Elements};

/// A part of a term.
pub enum Part<'a> {
    /// A tuple of so many elements.
    Tuple(usize),
    /// A list cell.
    Cell,
    /// A map of so many pairs.
    Map(usize),
    /// Something without parts, or whose parts cannot be seen.
    Leaf(Term<'a>, Type),
}

/// Shows each part of a term, itself included, in no order, until told to stop. Those that are in a word are not shown.
pub fn each_part<'a>(term: Term<'a>, mut show: impl FnMut(Part<'a>) -> ControlFlow<()>) -> ControlFlow<()> {
    let mut pending = Pending::new(term.get_env());
    pending.show_or_keep(term, &mut show)?;
    'next: while let Some((term, kind)) = pending.pop() {
        match kind {
            Compound::Tuple => {
                let Some(elements) = Elements::of(term) else { continue };
                show(Part::Tuple(elements.len()))?;
                for element in elements.iter() {
                    pending.show_or_keep(element, &mut show)?;
                }
            }
            Compound::List => {
                let mut rest = term;
                while let Some((head, tail)) = cell(rest) {
                    show(Part::Cell)?;
                    if is_immediate(head) {
                        rest = tail;
                        continue;
                    }
                    let kind = Type::of(head);
                    if let Some(compound) = Compound::of(kind) {
                        // It has its turn before the rest, so that a long list does not fill the stack.
                        pending.push(tail, Compound::List);
                        pending.push(head, compound);
                        continue 'next;
                    }
                    show(Part::Leaf(head, kind))?;
                    rest = tail;
                }
                if !is_immediate(rest) {
                    pending.show_or_keep(rest, &mut show)?;
                }
            }
            Compound::Map => {
                let mut pairs = 0;
                let mut flow = ControlFlow::Continue(());
                each_pair(term, |key, value| {
                    pairs += 1;
                    if flow.is_continue() {
                        flow = pending.show_or_keep(key, &mut show);
                    }
                    if flow.is_continue() {
                        flow = pending.show_or_keep(value, &mut show);
                    }
                });
                flow?;
                show(Part::Map(pairs))?;
            }
        }
    }
    ControlFlow::Continue(())
}

#[derive(Clone, Copy)]
enum Compound {
    Tuple,
    List,
    Map,
}

impl Compound {
    fn of(kind: Type) -> Option<Self> {
        match kind {
            Type::Tuple => Some(Compound::Tuple),
            Type::List => Some(Compound::List),
            Type::Map => Some(Compound::Map),
            _ => None,
        }
    }
}

/// So many terms are kept without allocating.
const NEAR: usize = 8;

/// A stack of terms that have parts, which allocates for large terms only.
struct Pending<'a> {
    env: Env<'a>,
    near: [(ErlNifTerm, Compound); NEAR],
    len: usize,
    far: Vec<(ErlNifTerm, Compound)>,
}

impl<'a> Pending<'a> {
    fn new(env: Env<'a>) -> Self {
        Pending { env, near: [(ErlNifTerm::default(), Compound::Tuple); NEAR], len: 0, far: Vec::new() }
    }

    /// Shows a leaf at once, keeps what has parts for later.
    #[inline]
    fn show_or_keep(&mut self, term: Term<'a>, show: &mut impl FnMut(Part<'a>) -> ControlFlow<()>) -> ControlFlow<()> {
        if is_immediate(term) {
            return ControlFlow::Continue(());
        }
        let kind = Type::of(term);
        match Compound::of(kind) {
            Some(compound) => {
                self.push(term, compound);
                ControlFlow::Continue(())
            }
            None => show(Part::Leaf(term, kind)),
        }
    }

    #[inline]
    fn push(&mut self, term: Term<'a>, kind: Compound) {
        let item = (term.as_c_arg(), kind);
        match self.near.get_mut(self.len) {
            Some(place) => {
                *place = item;
                self.len += 1;
            }
            None => self.far.push(item),
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<(Term<'a>, Compound)> {
        let (raw, kind) = match self.far.pop() {
            Some(item) => item,
            None => {
                self.len = self.len.checked_sub(1)?;
                self.near[self.len]
            }
        };
        // SAFETY: only terms of `env` are pushed.
        Some((unsafe { Term::new(self.env, raw) }, kind))
    }
}
