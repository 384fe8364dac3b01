//! Arithmetic as Erlang does it: integers of any size, floats that are finite, and nothing in between.
//!
//! Integers that do not fit a word are rare here. To keep each step short there are bounds that `ets` has not: a shift makes at
//! most [`BITS_MAX`] bits, and numbers are multiplied and divided if the product of their lengths is at most [`WORK_MAX`]. What
//! is beyond counts as an exception, as `system_limit` does.

use std::cmp::Ordering;

use num_bigint::{BigInt, Sign};

use crate::beam::build::big_integer;
use crate::beam::inspect::{integer_bytes, otp_release};
use crate::beam::kind::Type;

use super::function::{Binary, Unary};
use super::value::{Heap, Value};

/// How long a shift's result is at most.
const BITS_MAX: u64 = 1 << 20;

/// What the lengths in bits of two factors multiply to at most: about half a millisecond.
const WORK_MAX: u64 = 1 << 31;

enum Number {
    Integer(i64),
    Big(BigInt),
    Float(f64),
}

impl Number {
    fn of(value: Value<'_>) -> Option<Self> {
        match value.simple() {
            Value::Integer(value) => Some(Number::Integer(value)),
            Value::Float(value) => Some(Number::Float(value)),
            Value::Term(term) if Type::of(term) == Type::Integer => {
                let (is_negative, magnitude) = integer_bytes(term)?;
                let sign = if is_negative { Sign::Minus } else { Sign::Plus };
                Some(Number::Big(BigInt::from_bytes_le(sign, &magnitude)))
            }
            _ => None,
        }
    }

    fn into_value(self, heap: Heap<'_>) -> Option<Value<'_>> {
        match self {
            Number::Integer(value) => Some(Value::Integer(value)),
            Number::Float(value) => value.is_finite().then_some(Value::Float(value)),
            Number::Big(big) => match i64::try_from(&big) {
                Ok(value) => Some(Value::Integer(value)),
                Err(_) => {
                    let (sign, magnitude) = big.to_bytes_le();
                    big_integer(heap.env(), sign == Sign::Minus, &magnitude).map(Value::Term)
                }
            },
        }
    }

    /// `None` for a float.
    fn into_big(self) -> Option<BigInt> {
        match self {
            Number::Integer(value) => Some(BigInt::from(value)),
            Number::Big(big) => Some(big),
            Number::Float(_) => None,
        }
    }

    /// `None` if the number is beyond all floats.
    fn to_float(&self) -> Option<f64> {
        let value = match self {
            Number::Integer(value) => *value as f64,
            Number::Float(value) => *value,
            Number::Big(big) => big_to_float(big),
        };
        value.is_finite().then_some(value)
    }
}

/// Digit by digit, the greatest first, each sum rounded: as the VM does it.
fn big_to_float(big: &BigInt) -> f64 {
    const BASE: f64 = 18_446_744_073_709_551_616.0;
    let magnitude = big.iter_u64_digits().rev().fold(0.0, |sum, digit| sum * BASE + digit as f64);
    if big.sign() == Sign::Minus {
        -magnitude
    } else {
        magnitude
    }
}

/// The integer that a float without a fraction is.
fn float_to_number(value: f64) -> Number {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if value.abs() < BEYOND {
        return Number::Integer(value as i64);
    }
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7FF) - 1075;
    let magnitude = BigInt::from((bits & ((1 << 52) - 1)) | (1 << 52)) << exponent;
    Number::Big(if value < 0.0 { -magnitude } else { magnitude })
}

/// What a function of one number gives; `None` is an exception.
pub fn unary<'b>(function: Unary, operand: Value<'b>, heap: Heap<'b>) -> Option<Value<'b>> {
    let number = Number::of(operand)?;
    let result = match (function, number) {
        (Unary::Plus, operand) => operand,
        (Unary::Minus, Number::Float(value)) => Number::Float(-value),
        // The VM took -0.0 for no negative number, and left it.
        (Unary::Abs, Number::Float(0.0)) if otp_release() < 27 => return Some(operand),
        (Unary::Abs, Number::Float(value)) => Number::Float(value.abs()),
        (Unary::Round, Number::Float(value)) => float_to_number(value.round()),
        (Unary::Trunc, Number::Float(value)) => float_to_number(value.trunc()),
        (Unary::Ceil, Number::Float(value)) => float_to_number(value.ceil()),
        (Unary::Floor, Number::Float(value)) => float_to_number(value.floor()),
        (Unary::BitNot, Number::Float(_)) => return None,
        (Unary::Float, operand) => Number::Float(operand.to_float()?),
        (Unary::Round | Unary::Trunc | Unary::Ceil | Unary::Floor, operand) => operand,
        (Unary::BitNot, Number::Integer(value)) => Number::Integer(!value),
        (Unary::Minus, Number::Integer(value)) if value != i64::MIN => Number::Integer(-value),
        (Unary::Abs, Number::Integer(value)) if value != i64::MIN => Number::Integer(value.abs()),
        (function, operand) => {
            let big = operand.into_big()?;
            Number::Big(match function {
                Unary::BitNot => !big,
                Unary::Abs if big.sign() == Sign::Plus => big,
                _ => -big,
            })
        }
    };
    result.into_value(heap)
}

/// What a function of two numbers gives; `None` is an exception.
pub fn binary<'b>(function: Binary, a: Value<'b>, b: Value<'b>, heap: Heap<'b>) -> Option<Value<'b>> {
    let (a, b) = (Number::of(a)?, Number::of(b)?);
    if let (Number::Integer(a), Number::Integer(b)) = (&a, &b) {
        if let Some(result) = small(function, *a, *b) {
            return Some(Value::Integer(result));
        }
    }
    let is_float = function == Binary::Divide || matches!(a, Number::Float(_)) || matches!(b, Number::Float(_));
    let result = if is_float {
        Number::Float(floats(function, a.to_float()?, b.to_float()?)?)
    } else {
        Number::Big(bigs(function, a.into_big()?, b.into_big()?)?)
    };
    result.into_value(heap)
}

/// `None` if this is no way to do it.
fn small(function: Binary, a: i64, b: i64) -> Option<i64> {
    match function {
        Binary::Plus => a.checked_add(b),
        Binary::Minus => a.checked_sub(b),
        Binary::Times => a.checked_mul(b),
        Binary::Div => a.checked_div(b),
        Binary::Rem => a.checked_rem(b),
        Binary::BitAnd => Some(a & b),
        Binary::BitOr => Some(a | b),
        Binary::BitXor => Some(a ^ b),
        Binary::ShiftRight if b >= 0 => Some(a >> b.min(63)),
        Binary::ShiftLeft if b <= 0 => Some(a >> b.saturating_neg().min(63)),
        Binary::Divide | Binary::ShiftLeft | Binary::ShiftRight => None,
    }
}

fn floats(function: Binary, a: f64, b: f64) -> Option<f64> {
    match function {
        Binary::Plus => Some(a + b),
        Binary::Minus => Some(a - b),
        Binary::Times => Some(a * b),
        Binary::Divide if b != 0.0 => Some(a / b),
        _ => None,
    }
}

fn bigs(function: Binary, a: BigInt, b: BigInt) -> Option<BigInt> {
    let is_short = || a.bits().saturating_mul(b.bits()) <= WORK_MAX;
    let is_divisor = || b.sign() != Sign::NoSign && is_short();
    match function {
        Binary::Plus => Some(a + b),
        Binary::Minus => Some(a - b),
        Binary::Times => is_short().then(|| a * b),
        Binary::Div => is_divisor().then(|| a / b),
        Binary::Rem => is_divisor().then(|| a % b),
        Binary::BitAnd => Some(a & b),
        Binary::BitOr => Some(a | b),
        Binary::BitXor => Some(a ^ b),
        Binary::ShiftLeft => shift(a, b),
        Binary::ShiftRight => shift(a, -b),
        Binary::Divide => None,
    }
}

/// Shifts to the left, or by a negative distance to the right.
fn shift(number: BigInt, distance: BigInt) -> Option<BigInt> {
    let far = u64::try_from(distance.magnitude()).ok();
    match distance.sign().cmp(&Sign::NoSign) {
        Ordering::Equal => Some(number),
        _ if number.sign() == Sign::NoSign => Some(number),
        Ordering::Greater => far.filter(|far| number.bits().saturating_add(*far) <= BITS_MAX).map(|far| number << far),
        // Nothing is left but the sign.
        Ordering::Less => Some(match far.filter(|far| *far < number.bits()) {
            Some(far) => number >> far,
            None => BigInt::from(if number.sign() == Sign::Minus { -1 } else { 0 }),
        }),
    }
}
