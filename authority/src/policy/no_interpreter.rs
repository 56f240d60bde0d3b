//! In place of the interpreter where the feature `text-policies` is not built in: there is none.

use std::convert::Infallible;

use regorus::Value;

use super::{
    Module,
    evaluate::{EvalError, LoadError},
};

#[derive(Clone)]
pub(super) struct Interpreter(Infallible);

impl Interpreter {
    pub(super) fn load(_: Vec<Module>, _: Value) -> Result<Self, LoadError> {
        Err(LoadError::NoInterpreter)
    }

    pub(super) fn evaluate(&mut self, _: Value) -> Result<Value, EvalError> {
        match self.0 {}
    }
}
