//! The machine: runs the steps of guards and bodies on a record.

use rustler::{Encoder, Term};

use crate::beam::build::{binary_part, map, tuple};
use crate::beam::inspect::{
    bit_len, fun_arity, is_binary, is_local_pid, list_len, map_get, map_len, native_record, node_of,
};
use crate::beam::kind::{has_native_records, Type};
use crate::beam::term::{cell, cons, nil, Elements};

use super::expression::{Expression, Step};
use super::function::{Function, Kind, Relation};
use super::numbers;
use super::value::{Heap, Value};

mod atoms {
    rustler::atoms! { exit = "EXIT" }
}

/// So deep a stack needs no allocation.
const NEAR: usize = 8;

/// What steps refer to.
#[derive(Clone, Copy)]
pub struct Frame<'f, 'b> {
    /// The record.
    pub record: Term<'b>,
    /// The program's literals.
    pub literals: &'f [Term<'b>],
    /// What each variable is bound to, by slot.
    pub bound: &'f [Term<'b>],
    /// The slots, in the order of the variables' numbers.
    pub order: &'f [u32],
    /// The process that asks.
    pub itself: Term<'b>,
    /// Its node, if the program asks for nodes.
    pub here: Option<Term<'b>>,
    /// Where terms are made.
    pub heap: Heap<'b>,
}

/// An exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised;

impl<'b> Frame<'_, 'b> {
    /// Whether all guards are `true`.
    #[inline]
    pub fn holds(&self, guards: &Expression) -> bool {
        guards.steps.is_empty() || self.run(guards, None).is_ok()
    }

    /// What a body is worth.
    #[inline]
    pub fn value(&self, body: &Expression) -> Value<'b> {
        let exit = Value::Term(atoms::exit().encode(self.heap.env_of_words()));
        self.run(body, Some(exit)).ok().flatten().unwrap_or(exit)
    }

    fn run(&self, expression: &Expression, caught: Option<Value<'b>>) -> Result<Option<Value<'b>>, Raised> {
        let mut near = [Value::Boolean(false); NEAR];
        if expression.depth <= NEAR {
            self.run_on(&mut near, &expression.steps, caught)
        } else {
            self.run_on(&mut vec![Value::Boolean(false); expression.depth], &expression.steps, caught)
        }
    }

    /// Runs the steps; the result is what is left on the stack. Each exception is worth `caught`, if that is given.
    fn run_on(
        &self,
        stack: &mut [Value<'b>],
        steps: &[Step],
        caught: Option<Value<'b>>,
    ) -> Result<Option<Value<'b>>, Raised> {
        let mut len = 0;
        let mut at = 0;
        while let Some(step) = steps.get(at) {
            at += 1;
            let (taken, result) = match *step {
                Step::Integer(value) => (0, Ok(Value::Integer(value))),
                Step::Float(value) => (0, Ok(Value::Float(value))),
                Step::Literal(number) => (0, get(self.literals, number)),
                Step::Variable(slot) => (0, get(self.bound, slot)),
                Step::Record => (0, Ok(Value::Term(self.record))),
                Step::Bindings => (0, Ok(Value::Term(self.bindings()))),
                Step::Call(function, arity) => (arity, self.call(function, &stack[len - arity..len]).ok_or(Raised)),
                Step::Tuple(arity) => (arity, Ok(self.tuple(&stack[len - arity..len]))),
                Step::Cell => (2, Ok(self.cell(stack[len - 2], stack[len - 1]))),
                Step::Map(pairs) => (2 * pairs, Ok(self.map(&stack[len - 2 * pairs..len]))),
                Step::And(arity) => (arity, all(&stack[len - arity..len], true).ok_or(Raised)),
                Step::Or(arity) => (arity, all(&stack[len - arity..len], false).ok_or(Raised)),
                Step::Discard => {
                    len -= 1;
                    continue;
                }
                Step::Require => {
                    len -= 1;
                    if stack[len].boolean() != Some(true) {
                        return Err(Raised);
                    }
                    continue;
                }
                Step::AndAlso(end) | Step::OrElse(end) => {
                    let goes_on = matches!(step, Step::AndAlso(_));
                    let value = stack[len - 1].boolean();
                    if value == Some(goes_on) {
                        len -= 1;
                        continue;
                    }
                    at = end;
                    (1, value.map(Value::Boolean).ok_or(Raised))
                }
            };
            let result = match (result, caught) {
                (Ok(value), _) | (Err(_), Some(value)) => value,
                (Err(raised), None) => return Err(raised),
            };
            len -= taken;
            stack[len] = result;
            len += 1;
        }
        Ok(len.checked_sub(1).and_then(|top| stack.get(top)).copied())
    }

    fn bindings(&self) -> Term<'b> {
        let env = self.heap.env();
        let terms = self.order.iter().rev().filter_map(|&slot| self.bound.get(slot as usize));
        terms.fold(nil(env), |tail, &term| cons(env, term, tail))
    }

    fn tuple(&self, elements: &[Value<'b>]) -> Value<'b> {
        Value::Term(tuple(self.heap.env(), elements.len(), |at| elements[at].term(self.heap)))
    }

    fn cell(&self, head: Value<'b>, tail: Value<'b>) -> Value<'b> {
        Value::Term(cons(self.heap.env(), head.term(self.heap), tail.term(self.heap)))
    }

    fn map(&self, parts: &[Value<'b>]) -> Value<'b> {
        let term = |at: usize| parts[at].term(self.heap);
        Value::Term(map(self.heap.env(), parts.len() / 2, |at| (term(2 * at), term(2 * at + 1))))
    }

    fn call(&self, function: Function, arguments: &[Value<'b>]) -> Option<Value<'b>> {
        match (function, arguments) {
            (Function::Is(kind), &[value]) => Some(Value::Boolean(self.is(kind, value))),
            (Function::IsIntegerWithin, &[value, low, high]) => {
                let are_bounds = self.is(Kind::Integer, low) && self.is(Kind::Integer, high);
                let ascend = |a, b| self.compare(Relation::LessOrEqual, a, b);
                let is_within = || self.is(Kind::Integer, value) && ascend(low, value) && ascend(value, high);
                are_bounds.then(|| Value::Boolean(is_within()))
            }
            (Function::Compare(relation), &[a, b]) => Some(Value::Boolean(self.compare(relation, a, b))),
            (Function::Unary(function), &[value]) => numbers::unary(function, value, self.heap),
            (Function::Binary(function), &[a, b]) => numbers::binary(function, a, b, self.heap),
            (Function::Not, &[value]) => Some(Value::Boolean(!value.boolean()?)),
            (Function::Xor, &[a, b]) => Some(Value::Boolean(a.boolean()? != b.boolean()?)),
            (Function::Max, &[a, b]) => Some(if a.compare(b, self.heap).is_lt() { b } else { a }),
            (Function::Min, &[a, b]) => Some(if a.compare(b, self.heap).is_gt() { b } else { a }),
            (Function::Itself, []) => Some(Value::Term(self.itself)),
            (Function::ThisNode, []) => self.here.map(Value::Term),
            _ => self.look(function, arguments),
        }
    }

    /// Functions that look into compound terms.
    fn look(&self, function: Function, arguments: &[Value<'b>]) -> Option<Value<'b>> {
        let term = |at: usize| arguments.get(at).map(|value| value.term(self.heap));
        let size = |size: usize| Some(Value::Integer(size as i64));
        match function {
            Function::Element => {
                let Value::Integer(position) = arguments.first()?.simple() else { return None };
                let position = usize::try_from(position).ok()?.checked_sub(1)?;
                Elements::of(term(1)?)?.get(position).map(Value::Term)
            }
            Function::Head => cell(term(0)?).map(|(head, _)| Value::Term(head)),
            Function::Tail => cell(term(0)?).map(|(_, tail)| Value::Term(tail)),
            Function::Length => size(list_len(term(0)?)?),
            Function::TupleSize => size(Elements::of(term(0)?)?.len()),
            Function::MapSize => size(map_len(term(0)?)?),
            Function::MapGet => map_get(term(1)?, term(0)?).map(Value::Term),
            Function::IsMapKey => {
                let map = term(1).filter(|map| map.is_map())?;
                Some(Value::Boolean(map_get(map, term(0)?).is_some()))
            }
            Function::Size => match Elements::of(term(0)?) {
                Some(elements) => size(elements.len()),
                None => size((bit_len(term(0)?)? / 8) as usize),
            },
            Function::ByteSize => size(bit_len(term(0)?)?.div_ceil(8) as usize),
            Function::BitSize => size(bit_len(term(0)?)? as usize),
            Function::BinaryPart => self.binary_part(arguments),
            Function::IsRecord => self.is_record(term(0)?, term(1)?, *arguments.get(2)?),
            Function::IsFunctionOf => {
                let Value::Integer(arity) = arguments.get(1)?.simple() else { return None };
                let is_it = fun_arity(term(0)?).is_some_and(|other| i64::from(other) == arity);
                (arity >= 0).then_some(Value::Boolean(is_it))
            }
            Function::Node => self.node(term(0)?),
            _ => None,
        }
    }

    /// Whether it is a tuple with a name and a size; where native records are, and an atom stands for the size, whether it is one of that name
    /// and of the module that stands for the name.
    fn is_record(&self, record: Term<'b>, name: Term<'b>, size: Value<'b>) -> Option<Value<'b>> {
        if !name.is_atom() {
            return None;
        }
        if let Value::Integer(size) = size.simple() {
            let elements = Elements::of(record).filter(|elements| elements.len() as i64 == size);
            let is_it = elements.and_then(|elements| elements.get(0)).is_some_and(|first| first == name);
            return Some(Value::Boolean(is_it));
        }
        let native = Some(size.term(self.heap)).filter(|native| native.is_atom() && has_native_records())?;
        let definition = native_record(record, self.heap.env()).and_then(Elements::of);
        let is_it = definition.is_some_and(|parts| parts.get(0) == Some(name) && parts.get(1) == Some(native));
        Some(Value::Boolean(is_it))
    }

    fn is(&self, kind: Kind, value: Value<'b>) -> bool {
        let term = match value {
            Value::Integer(_) => return matches!(kind, Kind::Integer | Kind::Number),
            Value::Float(_) => return matches!(kind, Kind::Float | Kind::Number),
            Value::Boolean(_) => return matches!(kind, Kind::Atom | Kind::Boolean),
            Value::Term(term) => term,
        };
        match (Type::of(term), kind) {
            (Type::Atom, Kind::Boolean) => value.boolean().is_some(),
            (Type::Bitstring, Kind::Binary) => is_binary(term),
            (found, kind) => matches!(
                (found, kind),
                (Type::Atom, Kind::Atom)
                    | (Type::Bitstring, Kind::Bitstring)
                    | (Type::Float, Kind::Float | Kind::Number)
                    | (Type::Fun, Kind::Function)
                    | (Type::Integer, Kind::Integer | Kind::Number)
                    | (Type::List, Kind::List)
                    | (Type::Map, Kind::Map)
                    | (Type::Pid, Kind::Pid)
                    | (Type::Port, Kind::Port)
                    | (Type::Reference, Kind::Reference)
                    | (Type::Tuple, Kind::Tuple)
            ),
        }
    }

    fn compare(&self, relation: Relation, a: Value<'b>, b: Value<'b>) -> bool {
        match relation {
            Relation::Less => a.compare(b, self.heap).is_lt(),
            Relation::LessOrEqual => a.compare(b, self.heap).is_le(),
            Relation::Greater => a.compare(b, self.heap).is_gt(),
            Relation::GreaterOrEqual => a.compare(b, self.heap).is_ge(),
            Relation::Equal => a.compare(b, self.heap).is_eq(),
            Relation::NotEqual => a.compare(b, self.heap).is_ne(),
            Relation::Identical => a.is_identical(b, self.heap),
            Relation::NotIdentical => !a.is_identical(b, self.heap),
        }
    }

    fn node(&self, term: Term<'b>) -> Option<Value<'b>> {
        if is_local_pid(term) {
            return self.here.map(Value::Term);
        }
        node_of(term, self.heap.env()).map(Value::Term)
    }

    /// Start and length are two arguments or a pair; a negative length is counted backwards.
    fn binary_part(&self, arguments: &[Value<'b>]) -> Option<Value<'b>> {
        let whole = arguments.first()?.term(self.heap);
        let (start, len) = match arguments {
            [_, start, len] => (*start, *len),
            [_, pair] => {
                let pair = Elements::of(pair.term(self.heap)).filter(|pair| pair.len() == 2)?;
                (Value::Term(pair.get(0)?), Value::Term(pair.get(1)?))
            }
            _ => return None,
        };
        let (Value::Integer(start), Value::Integer(len)) = (start.simple(), len.simple()) else { return None };
        let first = if len < 0 { start.checked_add(len)? } else { start };
        let first = usize::try_from(first).ok()?;
        binary_part(self.heap.env(), whole, first, usize::try_from(len.unsigned_abs()).ok()?).map(Value::Term)
    }
}

fn get<'b>(terms: &[Term<'b>], number: u32) -> Result<Value<'b>, Raised> {
    terms.get(number as usize).map(|term| Value::Term(*term)).ok_or(Raised)
}

/// Whether all values are `expected`: if not, the other boolean. `None` if one is no boolean.
fn all<'b>(values: &[Value<'b>], expected: bool) -> Option<Value<'b>> {
    let mut are = true;
    for value in values {
        are &= value.boolean()? == expected;
    }
    Some(Value::Boolean(are == expected))
}
