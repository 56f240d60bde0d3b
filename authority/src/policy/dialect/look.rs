//! The walk through a module, construct by construct.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{
    ArithOp, AssignOp, Expr, Literal, LiteralStmt, Query, Ref, Rule, RuleAssign, RuleBody, RuleHead,
};

use super::{
    Calls, Findings, Text, at, definition,
    syntax::{
        Path, bindable, constant, declared, mentioned, names_in, names_of, static_path, value_of,
    },
    world::World,
};
use crate::policy::{builtins, pattern};

/// Walks through one module.
pub(super) struct Look<'a, 'w> {
    pub(super) world: &'w World,
    pub(super) text: &'w Text<'a>,
    pub(super) package: Path,
    pub(super) imports: BTreeMap<&'w str, Path>,
    /// Names that are declared around the place that is being looked at.
    pub(super) scopes: Vec<BTreeSet<&'w str>>,
    /// Names that nobody declared, but that an index or a unification there can give values to.
    pub(super) bindable: Vec<BTreeSet<&'w str>>,
    pub(super) in_comprehension: usize,
    pub(super) comprehensions: usize,
    pub(super) arithmetic: usize,
    /// The rule that is being looked at.
    pub(super) rule: Path,
    pub(super) calls: &'w mut Calls,
    pub(super) findings: &'w mut Findings,
}

/// Whether something can be true in more than one way.
type Iterates = bool;

impl<'w> Look<'_, 'w> {
    fn interpreted(&mut self, at_byte: u32, construct: &str) {
        if self.text.runs {
            let note = at(self.text, at_byte, construct);
            self.findings.interpreted.push(note);
        }
    }

    pub(super) fn rule(&mut self, rule: &'w Rule) {
        self.rule = definition(self.text, rule).0;
        match rule {
            Rule::Default {
                refr, args, value, ..
            } => {
                let plain = matches!(refr.as_ref(), Expr::Var { .. });
                if !plain && !args.is_empty() {
                    let problem = "a default for a function whose name has more than one part";
                    let note = at(self.text, refr.span().start, problem);
                    self.findings.refused.push(note);
                } else if !plain || !args.is_empty() {
                    self.interpreted(refr.span().start, "a default for anything but a plain name");
                } else if constant(value).is_none() {
                    self.interpreted(value.span().start, "a default that has to be computed");
                }
                self.expr(value);
            }
            Rule::Spec { head, bodies, .. } => self.spec(head, bodies),
        }
    }

    fn spec(&mut self, head: &'w RuleHead, bodies: &'w [RuleBody]) {
        let (refr, assign, args): (_, Option<&RuleAssign>, &[_]) = match head {
            RuleHead::Compr { refr, assign, .. } => (refr, assign.as_ref(), &[]),
            RuleHead::Set { refr, .. } => (refr, None, &[]),
            RuleHead::Func {
                refr, args, assign, ..
            } => (refr, assign.as_ref(), args),
        };
        if !matches!(refr.as_ref(), Expr::Var { .. }) {
            self.interpreted(
                refr.span().start,
                "a rule whose name has more than one part, or a key",
            );
        }
        let mut names = BTreeSet::new();
        for argument in args {
            match argument.as_ref() {
                Expr::Var { span, .. } if span.text() != "_" && names.insert(span.text()) => {}
                _ => self.interpreted(
                    argument.span().start,
                    "a parameter that is not a plain name",
                ),
            }
            names.extend(declared(argument));
        }
        self.scopes.push(names);
        let mut heads: Vec<&Expr> = assign.iter().map(|assign| assign.value.as_ref()).collect();
        heads.push(refr);
        if let RuleHead::Set { key: Some(key), .. } = head {
            heads.push(key);
        }
        self.bindable.push(bindable(None, &heads));
        if let RuleHead::Set { key: Some(key), .. } = head
            && bodies.is_empty()
        {
            self.expr(key);
        }
        if bodies.is_empty()
            && let Some(assign) = assign
            && self.expr(&assign.value)
        {
            self.several_values(assign);
        }
        for (place, body) in bodies.iter().enumerate() {
            let assign = value_of(assign, place, body);
            self.enter(&body.query, &[]);
            let mut iterates = self.statements(&body.query);
            if iterates && place + 1 < bodies.len() {
                self.interpreted(body.query.span.start, "an iteration before else");
            }
            if let RuleHead::Set { key: Some(key), .. } = head {
                self.expr(key);
            }
            if let Some(assign) = assign {
                if place + 1 < bodies.len() && !self.surely_defined(&assign.value) {
                    self.interpreted(
                        assign.value.span().start,
                        "a value before else that may be undefined (with := in its body, it has a name)",
                    );
                }
                iterates |= self.expr(&assign.value);
                if iterates && constant(&assign.value).is_none() {
                    self.several_values(assign);
                }
            }
            self.leave();
        }
        self.leave();
    }

    fn enter(&mut self, query: &'w Query, terms: &[&'w Expr]) {
        let bindable = bindable(Some(query), terms);
        let mut names = names_in(query);
        for statement in &query.stmts {
            if let Literal::SomeVars { vars, .. } = &statement.literal {
                let bound = vars.iter().map(|name| name.text());
                names.extend(bound.filter(|name| bindable.contains(name)));
            }
        }
        self.scopes.push(names);
        self.bindable.push(bindable);
    }

    fn leave(&mut self) {
        self.scopes.pop();
        self.bindable.pop();
    }

    /// The rule refers to what is at `path`, or below it.
    fn refers(&mut self, path: &[String]) {
        let known = self.calls.entry(self.rule.clone()).or_default();
        let above = (1..=path.len()).filter_map(|length| path.get(..length));
        known.extend(
            above
                .filter(|up| self.world.rules.contains_key(*up))
                .map(<[String]>::to_vec),
        );
        let below = self.world.rules.range(path.to_vec()..);
        known.extend(
            below
                .map(|(rule, _)| rule)
                .take_while(|rule| rule.starts_with(path))
                .cloned(),
        );
    }

    fn several_values(&mut self, assign: &RuleAssign) {
        self.interpreted(
            assign.value.span().start,
            "a value that an iteration could make in more than one way",
        );
    }

    fn statements(&mut self, query: &'w Query) -> Iterates {
        let mut iterates = false;
        for statement in &query.stmts {
            iterates |= self.statement(statement);
        }
        iterates
    }

    fn statement(&mut self, statement: &'w LiteralStmt) -> Iterates {
        for with in &statement.with_mods {
            self.interpreted(with.span.start, "with");
            self.expr(&with.r#as);
        }
        match &statement.literal {
            Literal::SomeVars { span, .. } => {
                self.interpreted(span.start, "some without in");
                true
            }
            Literal::SomeIn {
                key,
                value,
                collection,
                ..
            } => {
                for pattern in key.iter().chain([value]) {
                    if !matches!(pattern.as_ref(), Expr::Var { .. }) {
                        self.interpreted(pattern.span().start, "a pattern after some");
                    }
                }
                self.expr(collection);
                true
            }
            Literal::Expr { expr, .. } => self.expr(expr),
            Literal::NotExpr { expr, span } => {
                let (comprehensions, arithmetic) = (self.comprehensions, self.arithmetic);
                if self.expr(expr) {
                    self.interpreted(span.start, "an iteration under not");
                }
                if self.arithmetic > arithmetic {
                    self.interpreted(span.start, "arithmetic under not");
                }
                if self.comprehensions > comprehensions {
                    self.interpreted(span.start, "a comprehension under not");
                }
                false
            }
            Literal::Every {
                key,
                value,
                domain,
                query,
                ..
            } => {
                let iterates = self.expr(domain);
                self.enter(query, &[]);
                if let Some(names) = self.scopes.last_mut() {
                    names.extend(key.iter().chain([value]).map(|name| name.text()));
                }
                if self.statements(query) {
                    self.interpreted(query.span.start, "an iteration inside every");
                }
                self.leave();
                iterates
            }
        }
    }

    fn exprs<'e>(&mut self, exprs: impl IntoIterator<Item = &'w Ref<Expr>> + 'e) -> Iterates {
        exprs
            .into_iter()
            .fold(false, |iterates, expr| self.expr(expr) | iterates)
    }

    fn expr(&mut self, expr: &'w Expr) -> Iterates {
        match expr {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. } => false,
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => self.reference(expr),
            Expr::Array { items, .. } | Expr::Set { items, .. } => self.exprs(items),
            Expr::Object { fields, .. } => {
                self.exprs(fields.iter().flat_map(|(_, key, value)| [key, value]))
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.comprehension(expr, query, &[term])
            }
            Expr::ObjectCompr {
                key, value, query, ..
            } => self.comprehension(expr, query, &[key, value]),
            Expr::Call { fcn, params, .. } => self.call(fcn, params),
            Expr::UnaryExpr { expr, .. } => self.expr(expr),
            Expr::ArithExpr { op, lhs, rhs, .. } => {
                self.arithmetic += 1;
                if *op == ArithOp::Mul && constant(lhs).is_none() && constant(rhs).is_none() {
                    let problem = "a product of two values, neither of them in the text, has no bound on its size";
                    let note = at(self.text, lhs.span().start, problem);
                    self.findings.refused.push(note);
                }
                self.exprs([lhs, rhs])
            }
            Expr::BinExpr { lhs, rhs, .. } => {
                self.arithmetic += 1;
                self.exprs([lhs, rhs])
            }
            Expr::BoolExpr { lhs, rhs, .. } => self.exprs([lhs, rhs]),
            Expr::AssignExpr { op, lhs, rhs, .. } => {
                match (op, lhs.as_ref()) {
                    (AssignOp::ColEq, Expr::Var { span, .. }) if span.text() != "_" => {}
                    (AssignOp::ColEq, _) => {
                        self.interpreted(lhs.span().start, "a pattern on the left of :=");
                    }
                    (AssignOp::Eq, _) => {
                        self.interpreted(
                            lhs.span().start,
                            "= (with == or := there is no unification)",
                        );
                        self.expr(lhs);
                    }
                }
                self.expr(rhs)
            }
            Expr::Membership {
                key,
                value,
                collection,
                ..
            } => self.exprs(key.iter().chain([value, collection])),
        }
    }

    fn comprehension(
        &mut self,
        whole: &'w Expr,
        query: &'w Query,
        terms: &[&'w Ref<Expr>],
    ) -> Iterates {
        if self.in_comprehension > 0 {
            self.interpreted(whole.span().start, "a comprehension inside another");
        }
        let first = query.stmts.first().map(|statement| &statement.literal);
        if !matches!(first, Some(Literal::SomeIn { .. })) {
            self.interpreted(
                query.span.start,
                "a comprehension that does not begin with some",
            );
        }
        // What does not depend on the iteration is moved in front of it, where it goes wrong.
        let mut before = BTreeSet::new();
        for statement in &query.stmts {
            if !before.is_empty() && before.is_disjoint(&mentioned(statement)) {
                self.interpreted(
                    statement.span.start,
                    "a condition in a comprehension that does not depend on what comes before it",
                );
            }
            before.extend(names_of(statement));
        }
        self.in_comprehension += 1;
        self.comprehensions += 1;
        let plain: Vec<&'w Expr> = terms.iter().map(|term| &***term).collect();
        self.enter(query, &plain);
        if let Some(term) = terms.iter().find(|term| !self.surely_defined(term)) {
            let construct =
                "a comprehension of what may be undefined (with := in its body, it has a name)";
            self.interpreted(term.span().start, construct);
        }
        self.statements(query);
        self.exprs(terms.iter().copied());
        self.leave();
        self.in_comprehension -= 1;
        false
    }

    /// Whether a value cannot be undefined once the body before it is true: local names, rules that never
    /// are, and what is made of them.
    fn surely_defined(&self, value: &Expr) -> bool {
        match value {
            Expr::Var { span, .. } => {
                let rule = || self.resolve(span.text());
                self.is_local(span.text())
                    || rule().is_some_and(|path| self.world.defined.contains(&path))
            }
            Expr::ArrayCompr { .. } | Expr::SetCompr { .. } | Expr::ObjectCompr { .. } => true,
            Expr::Array { items, .. } | Expr::Set { items, .. } => {
                items.iter().all(|item| self.surely_defined(item))
            }
            Expr::Object { fields, .. } => fields
                .iter()
                .all(|(_, key, value)| self.surely_defined(key) && self.surely_defined(value)),
            other => constant(other).is_some(),
        }
    }

    fn is_local(&self, name: &str) -> bool {
        self.scopes.iter().any(|scope| scope.contains(name))
    }

    /// The full path that a name stands for, if it is not a local one.
    fn resolve(&self, name: &str) -> Option<Path> {
        if name == "data" || name == "input" {
            return Some(vec![name.to_owned()]);
        }
        if let Some(path) = self.imports.get(name) {
            return Some(path.clone());
        }
        let mut path = self.package.clone();
        path.push(name.to_owned());
        let known = self.world.rules.contains_key(&path)
            || self.world.documents.contains(&path)
            || self.world.is_extent(&path);
        known.then_some(path)
    }

    fn reference(&mut self, expr: &'w Expr) -> Iterates {
        let mut indices: Vec<&'w Expr> = Vec::new();
        let mut root = expr;
        loop {
            match root {
                Expr::RefDot { refr, .. } => root = refr,
                Expr::RefBrack { refr, index, .. } => {
                    indices.push(index);
                    root = refr;
                }
                _ => break,
            }
        }
        let mut iterates = false;
        for &index in &indices {
            iterates |= match index {
                Expr::Var { span, .. } if span.text() == "_" => true,
                other => self.expr(other),
            };
        }
        let Expr::Var { span, .. } = root else {
            return self.expr(root) | iterates;
        };
        if self.is_local(span.text()) {
            return iterates;
        }
        let Some(mut path) = self.resolve(span.text()) else {
            let name = span.text();
            if name != "_" && !self.bindable.iter().any(|names| names.contains(name)) {
                let problem = format!("{name} is unsafe: nothing gives it a value");
                let note = at(self.text, span.start, &problem);
                self.findings.refused.push(note);
            }
            let construct = match span.text() {
                "_" => "_ outside of brackets",
                _ => "a variable that is neither declared nor after some",
            };
            self.interpreted(span.start, construct);
            return true;
        };
        // Its rule will be gone: what is left is data, which goes by its full name only.
        if self.text.runs
            && self.world.documents.contains(&path)
            && path.last().is_some_and(|name| name == span.text())
            && !self.imports.contains_key(span.text())
            && let Some(edits) = self.findings.edits.last_mut()
        {
            let start = usize::try_from(span.start).unwrap_or(usize::MAX);
            edits.push((start..start, format!("{}.", self.package.join("."))));
        }
        path.extend(static_path(expr).into_iter().skip(1));
        if path.first().is_some_and(|root| root == "data") {
            self.refers(&path);
            if self.world.is_extent(&path) {
                self.interpreted(span.start, "a whole package as a document");
            } else if matches!(self.world.rules.get(&path), Some(Some(_))) {
                self.interpreted(span.start, "a function as a value");
            }
            if indices
                .iter()
                .any(|index| matches!(index, Expr::Number { .. }))
            {
                self.interpreted(span.start, "a number as a key of data");
            }
        }
        iterates
    }

    fn call(&mut self, fcn: &'w Expr, params: &'w [Ref<Expr>]) -> Iterates {
        let iterates = self.exprs(params);
        let written = static_path(fcn);
        let start = fcn.span().start;
        let mut path = written.clone();
        if let Some(root) = written.first()
            && let Some(resolved) = self.resolve(root)
        {
            path = resolved;
            path.extend(written.iter().skip(1).cloned());
        }
        if let Some(Some(arity)) = self.world.rules.get(&path) {
            self.refers(&path);
            if *arity != params.len() {
                self.interpreted(start, "a call with an argument for the result");
            }
            return iterates;
        }
        let name = written.join(".");
        match builtins::support(&name) {
            builtins::Support::Both(arity) if params.len() == arity => {}
            builtins::Support::Both(arity) if params.len() == arity + 1 => {
                self.interpreted(start, "a call with an argument for the result");
            }
            builtins::Support::Both(arity) => {
                let problem = format!(
                    "{name} takes {arity} argument{}, not {}",
                    if arity == 1 { "" } else { "s" },
                    params.len()
                );
                self.findings.refused.push(at(self.text, start, &problem));
            }
            builtins::Support::Interpreter => {
                self.interpreted(start, &name);
                return true;
            }
            builtins::Support::Refused(why) => {
                let problem = format!("the builtin {name} is not supported: {why}");
                self.findings.refused.push(at(self.text, start, &problem));
            }
            builtins::Support::Unknown => {
                let problem = format!(
                    "{name} is neither a function of these modules nor a builtin that Caracal has"
                );
                self.findings.refused.push(at(self.text, start, &problem));
            }
        }
        if let Err(problem) = self.texts_of(&name, params) {
            let problem = format!("{name}: {problem}");
            self.findings.refused.push(at(self.text, start, &problem));
        }
        iterates
    }

    /// Checks the arguments that have to stand in the text.
    fn texts_of(&mut self, name: &str, params: &[Ref<Expr>]) -> Result<(), String> {
        let argument = |table: &[(&str, usize)]| {
            let (_, place) = table.iter().find(|(known, _)| *known == name)?;
            params.get(*place)
        };
        if let Some(format) = argument(&[("sprintf", 0)]) {
            builtins::check_format(format)?;
        }
        if let Some(expr) = argument(&pattern::WITH_PATTERN) {
            let pattern = pattern::translate(expr)?;
            let quoted = serde_json::to_string(&pattern).map_err(|error| error.to_string())?;
            let within = match expr.as_ref() {
                Expr::RawString { .. } => pattern.as_str(),
                _ => quoted
                    .trim_start_matches('"')
                    .strip_suffix('"')
                    .unwrap_or(&pattern),
            };
            let span = expr.span();
            let place = |byte: u32| usize::try_from(byte).unwrap_or(usize::MAX);
            if let Some(edits) = self.findings.edits.last_mut()
                && within != span.text()
            {
                edits.push((place(span.start)..place(span.end), within.to_owned()));
            }
        }
        Ok(())
    }
}
