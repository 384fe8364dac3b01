//! The functions of guards and bodies, by name and number of arguments.
//!
//! They are those of `ets` in the VM that this runs in: what release 26 or 29 brought is not offered in an older one.

use crate::beam::inspect::otp_release;

/// A function that is called with its arguments' values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `is_atom/1` and the like.
    Is(Kind),
    /// `is_integer/3`.
    IsIntegerWithin,
    /// `is_function/2`.
    IsFunctionOf,
    /// `is_record/3`.
    IsRecord,
    /// `is_map_key/2`.
    IsMapKey,
    /// `element/2`.
    Element,
    /// `hd/1`.
    Head,
    /// `tl/1`.
    Tail,
    /// `length/1`.
    Length,
    /// `size/1`.
    Size,
    /// `tuple_size/1`.
    TupleSize,
    /// `map_size/1`.
    MapSize,
    /// `map_get/2`.
    MapGet,
    /// `bit_size/1`.
    BitSize,
    /// `byte_size/1`.
    ByteSize,
    /// `binary_part/2` and `binary_part/3`.
    BinaryPart,
    /// `node/0`.
    ThisNode,
    /// `node/1`.
    Node,
    /// `self/0`.
    Itself,
    /// `'not'/1`.
    Not,
    /// `'xor'/2`.
    Xor,
    /// `max/2`.
    Max,
    /// `min/2`.
    Min,
    /// Comparisons.
    Compare(Relation),
    /// Of one number.
    Unary(Unary),
    /// Of two numbers.
    Binary(Binary),
}

/// What a term may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Atom,
    Binary,
    Bitstring,
    Boolean,
    Float,
    Function,
    Integer,
    List,
    Map,
    Number,
    Pid,
    Port,
    Reference,
    Tuple,
}

/// How two terms may be to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
    Identical,
    NotIdentical,
}

/// What may be done with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    Plus,
    Minus,
    BitNot,
    Abs,
    Round,
    Trunc,
    Ceil,
    Floor,
    Float,
}

/// What may be done with two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    Plus,
    Minus,
    Times,
    Divide,
    Div,
    Rem,
    BitAnd,
    BitOr,
    BitXor,
    ShiftLeft,
    ShiftRight,
}

impl Function {
    /// The function of a name and a number of arguments.
    pub fn find(name: &str, arity: usize) -> Option<Self> {
        match arity {
            0 => nullary(name),
            1 => unary(name),
            2 => binary(name),
            3 if name == "is_integer" && otp_release() >= 29 => Some(Function::IsIntegerWithin),
            3 if name == "is_record" => Some(Function::IsRecord),
            3 if name == "binary_part" => Some(Function::BinaryPart),
            _ => None,
        }
    }
}

/// Since when `ets` takes the missing functions.
fn is_recent() -> bool {
    otp_release() >= 26
}

fn nullary(name: &str) -> Option<Function> {
    match name {
        "self" => Some(Function::Itself),
        "node" => Some(Function::ThisNode),
        _ => None,
    }
}

fn unary(name: &str) -> Option<Function> {
    Some(match name {
        "is_atom" => Function::Is(Kind::Atom),
        "is_binary" => Function::Is(Kind::Binary),
        "is_float" => Function::Is(Kind::Float),
        "is_function" => Function::Is(Kind::Function),
        "is_integer" => Function::Is(Kind::Integer),
        "is_list" => Function::Is(Kind::List),
        "is_map" => Function::Is(Kind::Map),
        "is_number" => Function::Is(Kind::Number),
        "is_pid" => Function::Is(Kind::Pid),
        "is_port" => Function::Is(Kind::Port),
        "is_reference" => Function::Is(Kind::Reference),
        "is_tuple" => Function::Is(Kind::Tuple),
        "hd" => Function::Head,
        "tl" => Function::Tail,
        "length" => Function::Length,
        "size" => Function::Size,
        "map_size" => Function::MapSize,
        "bit_size" => Function::BitSize,
        "byte_size" => Function::ByteSize,
        "node" => Function::Node,
        "not" => Function::Not,
        "+" => Function::Unary(Unary::Plus),
        "-" => Function::Unary(Unary::Minus),
        "bnot" => Function::Unary(Unary::BitNot),
        "abs" => Function::Unary(Unary::Abs),
        "round" => Function::Unary(Unary::Round),
        "trunc" => Function::Unary(Unary::Trunc),
        "float" => Function::Unary(Unary::Float),
        "is_bitstring" if is_recent() => Function::Is(Kind::Bitstring),
        "is_boolean" if is_recent() => Function::Is(Kind::Boolean),
        "tuple_size" if is_recent() => Function::TupleSize,
        "ceil" if is_recent() => Function::Unary(Unary::Ceil),
        "floor" if is_recent() => Function::Unary(Unary::Floor),
        _ => return None,
    })
}

fn binary(name: &str) -> Option<Function> {
    Some(match name {
        "<" => Function::Compare(Relation::Less),
        "=<" => Function::Compare(Relation::LessOrEqual),
        ">" => Function::Compare(Relation::Greater),
        ">=" => Function::Compare(Relation::GreaterOrEqual),
        "==" => Function::Compare(Relation::Equal),
        "/=" => Function::Compare(Relation::NotEqual),
        "=:=" => Function::Compare(Relation::Identical),
        "=/=" => Function::Compare(Relation::NotIdentical),
        "+" => Function::Binary(Binary::Plus),
        "-" => Function::Binary(Binary::Minus),
        "*" => Function::Binary(Binary::Times),
        "/" => Function::Binary(Binary::Divide),
        "div" => Function::Binary(Binary::Div),
        "rem" => Function::Binary(Binary::Rem),
        "band" => Function::Binary(Binary::BitAnd),
        "bor" => Function::Binary(Binary::BitOr),
        "bxor" => Function::Binary(Binary::BitXor),
        "bsl" => Function::Binary(Binary::ShiftLeft),
        "bsr" => Function::Binary(Binary::ShiftRight),
        "xor" => Function::Xor,
        "element" => Function::Element,
        "map_get" => Function::MapGet,
        "is_map_key" => Function::IsMapKey,
        "binary_part" => Function::BinaryPart,
        "is_function" if is_recent() => Function::IsFunctionOf,
        "max" if is_recent() => Function::Max,
        "min" if is_recent() => Function::Min,
        _ => return None,
    })
}
