//! Guards and bodies: an expression becomes steps for a machine with a stack, operands before what is done with them.
//!
//! What is constant is built once, here. Compiling does not recurse: what is still to be done waits on a stack of its own.

use rustler::{Env, Term};

use crate::beam::build::{map, tuple};
use crate::beam::inspect::{atom_name, integer, map_len};
use crate::beam::kind::Type;
use crate::beam::term::{cell, cons, each_pair, float, Elements};

use super::clause::{Literals, Malformed, Name, Variables};
use super::function::Function;

/// A step of the machine.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Push an integer.
    Integer(i64),
    /// Push a float.
    Float(f64),
    /// Push any other constant.
    Literal(u32),
    /// Push what a variable is bound to.
    Variable(u32),
    /// Push the record.
    Record,
    /// Push the list of all that variables are bound to.
    Bindings,
    /// Replace so many values by what the function gives for them.
    Call(Function, usize),
    /// Replace so many values by a tuple.
    Tuple(usize),
    /// Replace head and tail by a list.
    Cell,
    /// Replace keys and values of so many pairs by a map.
    Map(usize),
    /// Replace so many booleans by whether all are true.
    And(usize),
    /// Replace so many booleans by whether one is true.
    Or(usize),
    /// `true`: take it away. Else go on at that step.
    AndAlso(usize),
    /// `false`: take it away. Else go on at that step.
    OrElse(usize),
    /// Take a value away.
    Discard,
    /// Take a value away, which has to be `true`.
    Require,
}

/// Steps, and how many values are on the stack at most.
#[derive(Default)]
pub struct Expression {
    /// The steps.
    pub steps: Vec<Step>,
    /// How deep the stack may be.
    pub depth: usize,
}

/// What is still to be done.
enum Task<'a> {
    Compile(Term<'a>),
    Emit(Step),
    /// A jump to the end of an `andalso` or `orelse`, which is known by its number.
    Jump {
        is_and: bool,
        form: usize,
    },
    Land {
        form: usize,
    },
}

struct Compiler<'c, 'a> {
    env: Env<'a>,
    steps: Vec<Step>,
    /// For each `andalso` and `orelse` its jumps.
    jumps: Vec<Vec<usize>>,
    /// Steps before this one may be skipped by a jump to here, and are no constants.
    landed: usize,
    len: usize,
    depth: usize,
    tasks: Vec<Task<'a>>,
    literals: &'c mut Literals<'a>,
    variables: &'c Variables,
}

impl Expression {
    /// Compiles a list of guards, each of which is to be `true`.
    pub fn guards<'a>(guards: Term<'a>, literals: &mut Literals<'a>, variables: &Variables) -> Result<Self, Malformed> {
        Compiler::new(guards, literals, variables).sequence(guards, Step::Require)
    }

    /// Compiles a body: a list of expressions, of which the last one's value counts.
    pub fn body<'a>(body: Term<'a>, literals: &mut Literals<'a>, variables: &Variables) -> Result<Self, Malformed> {
        let mut expression = Compiler::new(body, literals, variables).sequence(body, Step::Discard)?;
        // The last value is not taken away. There must be one.
        expression.steps.pop().ok_or(Malformed::BadArg)?;
        Ok(expression)
    }
}

impl<'c, 'a> Compiler<'c, 'a> {
    fn new(term: Term<'a>, literals: &'c mut Literals<'a>, variables: &'c Variables) -> Self {
        Compiler {
            env: term.get_env(),
            steps: Vec::new(),
            jumps: Vec::new(),
            landed: 0,
            len: 0,
            depth: 0,
            tasks: Vec::new(),
            literals,
            variables,
        }
    }

    /// Compiles a proper list of expressions, with a step after each.
    fn sequence(mut self, list: Term<'a>, after: Step) -> Result<Expression, Malformed> {
        let mut rest = list;
        while let Some((head, tail)) = cell(rest) {
            self.compile(head)?;
            while let Some(task) = self.tasks.pop() {
                self.work(task)?;
            }
            self.emit(after);
            rest = tail;
        }
        if !rest.is_empty_list() {
            return Err(Malformed::BadArg);
        }
        for step in &mut self.steps {
            if let Step::Literal(number) = *step {
                let term = self.literals.terms[number as usize];
                let short = integer(term).map(Step::Integer).or_else(|| float(term).map(Step::Float));
                *step = short.unwrap_or(*step);
            }
        }
        Ok(Expression { steps: self.steps, depth: self.depth })
    }

    fn work(&mut self, task: Task<'a>) -> Result<(), Malformed> {
        match task {
            Task::Compile(term) => return self.compile(term),
            Task::Emit(step) => self.construct(step),
            Task::Jump { is_and, form } => {
                self.jumps[form].push(self.steps.len());
                self.emit(if is_and { Step::AndAlso(0) } else { Step::OrElse(0) });
            }
            Task::Land { form } => {
                let end = self.steps.len();
                for &jump in &self.jumps[form] {
                    if let Step::AndAlso(target) | Step::OrElse(target) = &mut self.steps[jump] {
                        *target = end;
                    }
                }
                self.landed = end;
            }
        }
        Ok(())
    }

    /// Adds a step and keeps account of the stack.
    fn emit(&mut self, step: Step) {
        let (taken, given) = match step {
            Step::Integer(_) | Step::Float(_) | Step::Literal(_) | Step::Variable(_) => (0, 1),
            Step::Record | Step::Bindings => (0, 1),
            Step::Call(_, arity) => (arity, 1),
            Step::Tuple(len) | Step::And(len) | Step::Or(len) => (len, 1),
            Step::Map(len) => (2 * len, 1),
            Step::Cell => (2, 1),
            Step::AndAlso(_) | Step::OrElse(_) | Step::Discard | Step::Require => (1, 0),
        };
        self.len = self.len - taken + given;
        self.depth = self.depth.max(self.len);
        self.steps.push(step);
    }

    fn literal(&mut self, term: Term<'a>) {
        let number = self.literals.add(term);
        self.emit(Step::Literal(number));
    }

    /// Adds a step that builds a term; if all of its parts are constants, builds it now.
    fn construct(&mut self, step: Step) {
        let parts = match step {
            Step::Tuple(len) => len,
            Step::Map(len) => 2 * len,
            Step::Cell => 2,
            _ => return self.emit(step),
        };
        let first = self.steps.len().saturating_sub(parts).max(self.landed);
        let are_constants = self.steps[first..].iter().all(|step| matches!(step, Step::Literal(_)));
        if self.steps.len() - first < parts || !are_constants {
            return self.emit(step);
        }
        // Each of the steps has added the literal of its number: they are the last ones.
        let literals = self.literals.terms.split_off(self.literals.terms.len() - parts);
        let built = match step {
            Step::Tuple(len) => tuple(self.env, len, |at| literals[at]),
            Step::Map(len) => map(self.env, len, |at| (literals[2 * at], literals[2 * at + 1])),
            _ => cons(self.env, literals[0], literals[1]),
        };
        self.steps.truncate(first);
        self.len -= parts;
        self.literal(built);
    }

    fn compile(&mut self, term: Term<'a>) -> Result<(), Malformed> {
        self.literals.count(1)?;
        match Type::of(term) {
            Type::List if !term.is_empty_list() => return self.list(term),
            Type::Map => return self.map(term),
            Type::Tuple => {
                return self.form(Elements::of(term).ok_or(Malformed::BadArg)?);
            }
            _ => match Name::of(term) {
                Name::Variable(number) => {
                    let slot = self.variables.slot(number).ok_or(Malformed::BadArg)?;
                    self.emit(Step::Variable(slot));
                }
                Name::Record => self.emit(Step::Record),
                Name::Bindings => self.emit(Step::Bindings),
                Name::Plain | Name::Anything => self.literal(term),
            },
        }
        Ok(())
    }

    fn list(&mut self, list: Term<'a>) -> Result<(), Malformed> {
        let mut heads = Vec::new();
        let mut rest = list;
        while let Some((head, tail)) = cell(rest) {
            self.literals.count(1)?;
            heads.push(head);
            rest = tail;
        }
        self.tasks.extend(heads.iter().map(|_| Task::Emit(Step::Cell)));
        self.tasks.push(Task::Compile(rest));
        self.tasks.extend(heads.into_iter().rev().map(Task::Compile));
        Ok(())
    }

    fn map(&mut self, map: Term<'a>) -> Result<(), Malformed> {
        self.literals.count(map_len(map).unwrap_or(0))?;
        let mut parts = Vec::new();
        each_pair(map, |key, value| parts.extend([key, value]));
        if parts.is_empty() {
            self.literal(map);
            return Ok(());
        }
        self.tasks.push(Task::Emit(Step::Map(parts.len() / 2)));
        self.tasks.extend(parts.into_iter().rev().map(Task::Compile));
        Ok(())
    }

    /// Compiles a call, or `{{...}}`.
    fn form(&mut self, form: Elements<'a>) -> Result<(), Malformed> {
        let first = form.get(0).ok_or(Malformed::BadArg)?;
        if let Some(elements) = Elements::of(first).filter(|_| form.len() == 1) {
            self.literals.count(elements.len())?;
            if elements.len() == 0 {
                self.literal(first);
                return Ok(());
            }
            self.tasks.push(Task::Emit(Step::Tuple(elements.len())));
            self.arguments(elements, 0);
            return Ok(());
        }
        if !first.is_atom() {
            return Err(Malformed::BadArg);
        }
        let mut buffer = [0; 256];
        let name = atom_name(first, &mut buffer).ok_or(Malformed::BadArg)?;
        let arity = form.len() - 1;
        self.literals.count(arity)?;
        match name {
            "const" => {
                let term = form.get(1).filter(|_| arity == 1).ok_or(Malformed::BadArg)?;
                // It is copied when the program is kept.
                self.literals.count_all(term)?;
                self.literal(term);
            }
            "and" | "or" if arity > 0 => {
                let step = if name == "and" { Step::And(arity) } else { Step::Or(arity) };
                self.tasks.push(Task::Emit(step));
                self.arguments(form, 1);
            }
            "andalso" | "orelse" if arity > 0 => self.short_circuit(form, name == "andalso"),
            _ => {
                let function = Function::find(name, arity).ok_or(Malformed::BadArg)?;
                self.tasks.push(Task::Emit(Step::Call(function, arity)));
                self.arguments(form, 1);
            }
        }
        Ok(())
    }

    /// Has the elements from a position on compiled, the first one first.
    fn arguments(&mut self, elements: Elements<'a>, from: usize) {
        let arguments = (from..elements.len()).rev().filter_map(|at| elements.get(at));
        self.tasks.extend(arguments.map(Task::Compile));
    }

    fn short_circuit(&mut self, elements: Elements<'a>, is_and: bool) {
        let form = self.jumps.len();
        self.jumps.push(Vec::new());
        self.tasks.push(Task::Land { form });
        for at in (1..elements.len()).rev() {
            if at + 1 < elements.len() {
                self.tasks.push(Task::Jump { is_and, form });
            }
            self.tasks.extend(elements.get(at).map(Task::Compile));
        }
    }
}
