//! Policies that have no bytecode: their text, and regorus' interpreter.

use regorus::{
    Engine, LimitError, Value,
    unstable::{BUILTINS, Expr, Ref, Span},
    utils::limits::monotonic_now,
};

use super::{
    ENTRY_POINT, Module, bounded,
    compile::new_engine,
    evaluate::{EvalError, LARGE_STEPS, LoadError, timer},
};

/// A policy as text, ready to be evaluated.
#[derive(Clone)]
pub(super) struct Interpreter(Box<Engine>);

impl Interpreter {
    pub(super) fn load(modules: Vec<Module>, data: Value) -> Result<Self, LoadError> {
        if monotonic_now().is_none() {
            return Err(LoadError::NoClock);
        }
        let mut engine = new_engine();
        engine.set_execution_timer_config(timer(LARGE_STEPS));
        let read = || {
            for module in modules {
                engine.add_policy(module.name, module.source)?;
            }
            engine.add_data(data)?;
            bound(&mut engine)?;
            engine.compile_with_entrypoint(&regorus::Rc::from(ENTRY_POINT))
        };
        read().map_err(|error| LoadError::Unusable(error.to_string()))?;
        Ok(Self(Box::new(engine)))
    }

    pub(super) fn evaluate(&mut self, input: Value) -> Result<Value, EvalError> {
        self.0.set_input(input);
        let value = self.0.eval_rule(ENTRY_POINT.to_owned());
        value.map_err(|error| failure(&error))
    }
}

fn failure(error: &anyhow::Error) -> EvalError {
    // An extension's error loses its type on the way, but not its text.
    let text = error.to_string();
    match error.downcast_ref::<LimitError>() {
        Some(_) => EvalError::OverBound,
        None if text.contains("execution exceeded") => EvalError::OverBound,
        None => EvalError::Failed(text),
    }
}

/// Puts the bounds around the builtins of the interpreter: extensions go before builtins.
fn bound(engine: &mut Engine) -> anyhow::Result<()> {
    for name in bounded::NAMES {
        let Some((builtin, arity)) = BUILTINS.get(name) else {
            continue;
        };
        let (span, nothing) = nowhere()?;
        let params = vec![nothing; usize::from(*arity)];
        let extension = move |args: Vec<Value>| {
            bounded::check(name, &args)?;
            // As in OPA, a builtin that fails is undefined; what breaks a bound is not.
            match builtin(&span, &params, &args, false) {
                Err(error) if error.downcast_ref::<LimitError>().is_none() => Ok(Value::Undefined),
                other => other,
            }
        };
        engine.add_extension(name.to_owned(), *arity, Box::new(extension))?;
    }
    Ok(())
}

/// A place in no text, for the messages of builtins, which nobody sees.
fn nowhere() -> anyhow::Result<(Span, Ref<Expr>)> {
    let source = regorus::Source::from_contents("builtin".to_owned(), String::new())?;
    let span = Span {
        source,
        line: 0,
        col: 0,
        start: 0,
        end: 0,
    };
    let nothing = Ref::new(Expr::Null {
        span: span.clone(),
        value: Value::Null,
        eidx: 0,
    });
    Ok((span, nothing))
}
