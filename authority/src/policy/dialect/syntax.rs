//! What the parsed text says by itself: paths, names, values.

use std::collections::BTreeSet;

use regorus::unstable::{
    AssignOp, Expr, Import, Literal, LiteralStmt, Query, Ref, Rule, RuleAssign, RuleBody, RuleHead,
};

/// A path such as `data.caracal.authz.result`, its components without quotes.
pub(super) type Path = Vec<String>;

/// The constant `true`, as [`constant`] writes it.
pub(super) const TRUE: &str = "true";

/// The components of a reference up to the first that is not known from the text.
pub(super) fn static_path(expr: &Expr) -> Path {
    let mut path = Path::new();
    let mut rest = expr;
    // From the last component to the first: what follows an unknown one is dropped.
    loop {
        match rest {
            Expr::RefDot { refr, field, .. } => {
                path.push(field.0.text().to_owned());
                rest = refr;
            }
            Expr::RefBrack { refr, index, .. } => {
                match index.as_ref() {
                    Expr::String { span, .. } | Expr::RawString { span, .. } => {
                        path.push(span.text().to_owned());
                    }
                    _ => path.clear(),
                }
                rest = refr;
            }
            Expr::Var { span, .. } => {
                path.push(span.text().to_owned());
                break;
            }
            _ => {
                path.clear();
                break;
            }
        }
    }
    path.reverse();
    path
}

/// The name that an import brings, and what it stands for.
pub(super) fn import(import: &Import) -> Option<(&str, Path)> {
    let path = static_path(&import.refr);
    if !path
        .first()
        .is_some_and(|root| root == "data" || root == "input")
    {
        return None;
    }
    let name = match (&import.r#as, import.refr.as_ref()) {
        (Some(name), _) => name.text(),
        (None, Expr::RefDot { field, .. }) => field.0.text(),
        (None, Expr::RefBrack { index, .. }) => index.span().text(),
        (None, _) => return None,
    };
    Some((name, path))
}

/// The names that a body declares.
pub(super) fn names_in(query: &Query) -> BTreeSet<&str> {
    query.stmts.iter().flat_map(names_of).collect()
}

/// The names that a statement declares.
pub(super) fn names_of(statement: &LiteralStmt) -> Vec<&str> {
    match &statement.literal {
        Literal::SomeIn { key, value, .. } => {
            let patterns = key.iter().chain([value]);
            patterns.flat_map(|pattern| declared(pattern)).collect()
        }
        Literal::Expr { expr, .. } => match expr.as_ref() {
            Expr::AssignExpr {
                op: AssignOp::ColEq,
                lhs,
                ..
            } => declared(lhs),
            _ => Vec::new(),
        },
        Literal::SomeVars { .. } | Literal::NotExpr { .. } | Literal::Every { .. } => Vec::new(),
    }
}

/// The names that an index, a unification or an argument for a result can give values to: in a body, and
/// in what stands outside of it with its names.
pub(super) fn bindable<'a>(query: Option<&'a Query>, terms: &[&'a Expr]) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    let mut pending: Vec<&Expr> = terms.to_vec();
    for statement in query.into_iter().flat_map(|query| &query.stmts) {
        match &statement.literal {
            Literal::SomeVars { .. } => {}
            Literal::SomeIn {
                key,
                value,
                collection,
                ..
            } => pending.extend(
                key.iter()
                    .chain([value, collection])
                    .map(|expr| expr.as_ref()),
            ),
            Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => pending.push(expr),
            Literal::Every { domain, .. } => pending.push(domain),
        }
    }
    while let Some(expr) = pending.pop() {
        match expr {
            Expr::RefBrack { index, .. } => names.extend(declared(index)),
            Expr::AssignExpr { lhs, rhs, .. } => {
                names.extend(declared(lhs));
                names.extend(declared(rhs));
            }
            Expr::Call { params, .. } => {
                names.extend(params.last().into_iter().flat_map(|last| declared(last)));
            }
            _ => {}
        }
        pending.extend(parts(expr));
    }
    names
}

/// The names that a statement mentions, those in comprehensions aside.
pub(super) fn mentioned(statement: &LiteralStmt) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    let mut pending: Vec<&Expr> = match &statement.literal {
        Literal::SomeVars { .. } => Vec::new(),
        Literal::SomeIn { collection, .. } => vec![collection],
        Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => vec![expr],
        Literal::Every { domain, .. } => vec![domain],
    };
    while let Some(expr) = pending.pop() {
        if let Expr::Var { span, .. } = expr {
            names.insert(span.text());
        }
        pending.extend(parts(expr));
    }
    names
}

/// What an expression is made of, one level down. Comprehensions have names of their own.
fn parts(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::RefBrack { refr, index, .. } => vec![refr, index],
        Expr::RefDot { refr, .. } => vec![refr],
        Expr::AssignExpr { lhs, rhs, .. }
        | Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. } => vec![lhs, rhs],
        Expr::Call { params, .. } => params.iter().map(|expr| expr.as_ref()).collect(),
        Expr::Array { items, .. } | Expr::Set { items, .. } => {
            items.iter().map(|expr| expr.as_ref()).collect()
        }
        Expr::Object { fields, .. } => fields
            .iter()
            .flat_map(|(_, key, value)| [key.as_ref(), value.as_ref()])
            .collect(),
        Expr::UnaryExpr { expr, .. } => vec![expr],
        Expr::Membership {
            key,
            value,
            collection,
            ..
        } => {
            let all = key.iter().chain([value, collection]);
            all.map(|expr| expr.as_ref()).collect()
        }
        Expr::ArrayCompr { .. }
        | Expr::SetCompr { .. }
        | Expr::ObjectCompr { .. }
        | Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::Var { .. } => Vec::new(),
    }
}

/// The names in a pattern.
pub(super) fn declared(pattern: &Expr) -> Vec<&str> {
    match pattern {
        Expr::Var { span, .. } => vec![span.text()],
        Expr::Array { items, .. } => items.iter().flat_map(|item| declared(item)).collect(),
        Expr::Object { fields, .. } => fields
            .iter()
            .flat_map(|(_, _, value)| declared(value))
            .collect(),
        _ => Vec::new(),
    }
}

/// Whether a rule has a value whatever the input.
pub(super) fn is_defined(rule: &Rule) -> bool {
    match rule {
        Rule::Default { .. } => true,
        Rule::Spec { head, bodies, .. } => match head {
            RuleHead::Set { .. } => true,
            RuleHead::Func { .. } => false,
            RuleHead::Compr { assign, .. } => {
                let value = assign.as_ref().map(|assign| assign.value.as_ref());
                bodies.is_empty()
                    && value.is_some_and(|value| {
                        constant(value).is_some()
                            || matches!(
                                value,
                                Expr::ArrayCompr { .. }
                                    | Expr::SetCompr { .. }
                                    | Expr::ObjectCompr { .. }
                            )
                    })
            }
        },
    }
}

/// What a rule's bodies give, in order; nothing where they give `true`.
pub(super) fn values_of(rule: &Rule) -> Vec<Option<&Expr>> {
    let Rule::Spec { head, bodies, .. } = rule else {
        return Vec::new();
    };
    let assign = match head {
        RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. } => assign.as_ref(),
        RuleHead::Set { .. } => None,
    };
    if bodies.is_empty() {
        return vec![assign.map(|assign| assign.value.as_ref())];
    }
    bodies
        .iter()
        .enumerate()
        .map(|(place, body)| value_of(assign, place, body).map(|assign| assign.value.as_ref()))
        .collect()
}

/// What the body at `place` gives: its own value, and the head's only to the first, not to an `else`.
pub(super) fn value_of<'a>(
    head: Option<&'a RuleAssign>,
    place: usize,
    body: &'a RuleBody,
) -> Option<&'a RuleAssign> {
    body.assign.as_ref().or(head.filter(|_| place == 0))
}

/// A value that is known from the text, in one way of writing it.
pub(super) fn constant(expr: &Expr) -> Option<String> {
    let list = |items: &[Ref<Expr>]| {
        let items: Option<Vec<String>> = items.iter().map(|item| constant(item)).collect();
        items.map(|items| items.join(","))
    };
    match expr {
        Expr::String { span, .. } | Expr::RawString { span, .. } => {
            Some(format!("{:?}", span.text()))
        }
        Expr::Number { span, .. } => Some(span.text().to_owned()),
        Expr::Bool { span, .. } => Some(span.text().to_owned()),
        Expr::Null { .. } => Some("null".to_owned()),
        Expr::UnaryExpr { expr, .. } => constant(expr).map(|number| format!("-{number}")),
        Expr::Array { items, .. } => list(items).map(|items| format!("[{items}]")),
        Expr::Set { items, .. } => list(items).map(|items| format!("{{{items}}}")),
        Expr::Object { fields, .. } => {
            let fields: Option<Vec<String>> = fields
                .iter()
                .map(|(_, key, value)| Some(format!("{}:{}", constant(key)?, constant(value)?)))
                .collect();
            fields.map(|fields| format!("{{{}}}", fields.join(",")))
        }
        _ => None,
    }
}
