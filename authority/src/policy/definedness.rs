//! Makes local declarations fail where their right side is undefined, as Rego has it.
//!
//! regorus 0.14.1's bytecode compiler lets `x := e` succeed with `x` undefined, so that a body goes on
//! which should have failed: an allow where OPA denies. Its parser says where the declarations are;
//! each is followed by a comparison of the name with itself, which an undefined value fails. Lines
//! stay as they are. This module can go once the compiler guards declarations itself; the table in
//! `tests.rs` tells.

use regorus::unstable::{
    AssignOp, Expr, Literal, LiteralStmt, Module, Query, Rule, RuleAssign, RuleHead,
};

use super::rewrite::Edit;

/// Text to insert, and the byte before which it goes.
type Insertion = (usize, String);

/// The checks that go into `source`, or the byte of a declaration that cannot be checked.
pub(super) fn checks(source: &str, module: &Module) -> Result<Vec<Edit>, usize> {
    let mut guard = Guard {
        source,
        insertions: Vec::new(),
    };
    for rule in &module.policy {
        guard.rule(rule)?;
    }
    let insertions = guard.insertions.into_iter();
    Ok(insertions.map(|(at, text)| (at..at, text)).collect())
}

struct Guard<'a> {
    source: &'a str,
    insertions: Vec<Insertion>,
}

impl Guard<'_> {
    fn rule(&mut self, rule: &Rule) -> Result<(), usize> {
        match rule {
            Rule::Default {
                refr, args, value, ..
            } => {
                self.expr(refr)?;
                self.exprs(args)?;
                self.expr(value)
            }
            Rule::Spec { head, bodies, .. } => {
                match head {
                    RuleHead::Compr { refr, assign, .. } => {
                        self.expr(refr)?;
                        self.assign(assign.as_ref())?;
                    }
                    RuleHead::Set { refr, key, .. } => {
                        self.expr(refr)?;
                        key.iter().try_for_each(|key| self.expr(key))?;
                    }
                    RuleHead::Func {
                        refr, args, assign, ..
                    } => {
                        self.expr(refr)?;
                        self.exprs(args)?;
                        self.assign(assign.as_ref())?;
                    }
                }
                bodies.iter().try_for_each(|body| {
                    self.assign(body.assign.as_ref())?;
                    self.query(&body.query)
                })
            }
        }
    }

    fn assign(&mut self, assign: Option<&RuleAssign>) -> Result<(), usize> {
        assign.map_or(Ok(()), |assign| self.expr(&assign.value))
    }

    /// A body that may have lost its braces, as after `if`: one statement without them cannot be
    /// followed by another.
    fn query(&mut self, query: &Query) -> Result<(), usize> {
        let start = offset(query.span.start);
        let braced = self
            .source
            .get(start..)
            .is_some_and(|text| text.starts_with('{'));
        let before = self.insertions.len();
        self.statements(query)?;
        let declares = query
            .stmts
            .iter()
            .any(|statement| declaration(statement).is_some());
        if !braced && declares && self.insertions.len() > before {
            self.insertions.insert(before, (start, "{ ".to_owned()));
            if let Some((_, last)) = self.insertions.last_mut() {
                last.push_str(" }");
            }
        }
        Ok(())
    }

    fn statements(&mut self, query: &Query) -> Result<(), usize> {
        for statement in &query.stmts {
            match &statement.literal {
                Literal::SomeVars { .. } => {}
                Literal::SomeIn {
                    key,
                    value,
                    collection,
                    ..
                } => {
                    key.iter().try_for_each(|key| self.expr(key))?;
                    self.expr(value)?;
                    self.expr(collection)?;
                }
                Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => self.expr(expr)?,
                Literal::Every { domain, query, .. } => {
                    self.expr(domain)?;
                    self.query(query)?;
                }
            }
            if let Some(left) = declaration(statement) {
                let start = offset(statement.span.start);
                let mut names = Vec::new();
                names_of(left, &mut names).map_err(|()| start)?;
                let checks: String = names
                    .iter()
                    .map(|name| format!("; {name} == {name}"))
                    .collect();
                self.insertions.push((self.end(statement), checks));
            }
        }
        Ok(())
    }

    /// Where a statement ends. The parser leaves the closing quote out of a string's span.
    fn end(&self, statement: &LiteralStmt) -> usize {
        let end = offset(statement.span.end);
        let quoted = self
            .source
            .get(end..)
            .is_some_and(|rest| rest.starts_with(['"', '`']));
        end + usize::from(quoted)
    }

    fn exprs(&mut self, exprs: &[regorus::unstable::Ref<Expr>]) -> Result<(), usize> {
        exprs.iter().try_for_each(|expr| self.expr(expr))
    }

    fn expr(&mut self, expr: &Expr) -> Result<(), usize> {
        match expr {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. }
            | Expr::Var { .. } => Ok(()),
            Expr::Array { items, .. } | Expr::Set { items, .. } => self.exprs(items),
            Expr::Object { fields, .. } => fields.iter().try_for_each(|(_, key, value)| {
                self.expr(key)?;
                self.expr(value)
            }),
            // Inside the delimiters of a comprehension, `;` may always follow.
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.expr(term)?;
                self.statements(query)
            }
            Expr::ObjectCompr {
                key, value, query, ..
            } => {
                self.expr(key)?;
                self.expr(value)?;
                self.statements(query)
            }
            Expr::Call { fcn, params, .. } => {
                self.expr(fcn)?;
                self.exprs(params)
            }
            Expr::UnaryExpr { expr, .. } => self.expr(expr),
            Expr::RefDot { refr, .. } => self.expr(refr),
            Expr::RefBrack { refr, index, .. } => {
                self.expr(refr)?;
                self.expr(index)
            }
            Expr::BinExpr { lhs, rhs, .. }
            | Expr::BoolExpr { lhs, rhs, .. }
            | Expr::ArithExpr { lhs, rhs, .. }
            | Expr::AssignExpr { lhs, rhs, .. } => {
                self.expr(lhs)?;
                self.expr(rhs)
            }
            Expr::Membership {
                key,
                value,
                collection,
                ..
            } => {
                key.iter().try_for_each(|key| self.expr(key))?;
                self.expr(value)?;
                self.expr(collection)
            }
        }
    }
}

/// The left side, if the statement declares something.
fn declaration(statement: &LiteralStmt) -> Option<&Expr> {
    match &statement.literal {
        Literal::Expr { expr, .. } => match expr.as_ref() {
            Expr::AssignExpr {
                op: AssignOp::ColEq,
                lhs,
                ..
            } => Some(lhs),
            _ => None,
        },
        _ => None,
    }
}

/// The names that a pattern declares. A wildcard has none, and a pattern without a name nothing to
/// check.
fn names_of<'a>(pattern: &'a Expr, names: &mut Vec<&'a str>) -> Result<(), ()> {
    let found = names.len();
    match pattern {
        Expr::Var { span, .. } if span.text() != "_" => names.push(span.text()),
        Expr::Array { items, .. } => {
            for item in items {
                let _ = names_of(item, names);
            }
        }
        Expr::Object { fields, .. } => {
            for (_, _, value) in fields {
                let _ = names_of(value, names);
            }
        }
        _ => {}
    }
    if names.len() > found { Ok(()) } else { Err(()) }
}

fn offset(position: u32) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}
