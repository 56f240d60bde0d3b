//! The rules of a set as a whole: which there are, and what is wrong between them.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Rule, RuleHead};

use super::{
    Calls, Findings, Text, at, definition,
    syntax::{Path, TRUE, constant, is_defined, values_of},
};

/// The rules of the whole program.
pub(super) struct World {
    /// Paths of rules; for functions, how many arguments they take.
    pub(super) rules: BTreeMap<Path, Option<usize>>,
    /// Paths of rules that are data by the time that anything is decided.
    pub(super) documents: BTreeSet<Path>,
    /// Paths of rules that are never undefined: sets, what has a default, and constants.
    pub(super) defined: BTreeSet<Path>,
}

impl World {
    pub(super) fn of(texts: &[Text<'_>]) -> Self {
        let (mut rules, mut documents) = (BTreeMap::new(), BTreeSet::new());
        let mut defined = BTreeSet::new();
        for text in texts {
            for rule in &text.module.policy {
                let (path, arity) = definition(text, rule);
                if !text.runs {
                    documents.insert(path);
                    continue;
                }
                if arity.is_none() && is_defined(rule) {
                    defined.insert(path.clone());
                }
                let known = rules.entry(path).or_insert(arity);
                *known = known.or(arity);
            }
        }
        Self {
            rules,
            documents,
            defined,
        }
    }

    /// Whether `path` is where rules are, rather than one of them or something inside one.
    pub(super) fn is_extent(&self, path: &[String]) -> bool {
        let prefixes = (1..=path.len()).filter_map(|length| path.get(..length));
        !prefixes.clone().any(|up| self.rules.contains_key(up))
            && self
                .rules
                .range(path.to_vec()..)
                .next()
                .is_some_and(|(rule, _)| rule.starts_with(path))
    }
}

/// Longest row of rules that refer each to the next. The machines call themselves for each of them.
const MAX_CHAIN: usize = 32;

/// Where the rule at `path` is defined.
fn place_of<'t, 'a>(
    texts: &'t [Text<'a>],
    path: Option<&Path>,
) -> Option<(&'t Text<'a>, &'t Rule)> {
    texts.iter().find_map(|text| {
        let mut rules = text.module.policy.iter();
        let rule = rules.find(|rule| Some(&definition(text, rule).0) == path)?;
        Some((text, rule.as_ref()))
    })
}

/// Rules that come back to themselves, or that go too far.
pub(super) fn recursion(texts: &[Text<'_>], calls: &Calls, findings: &mut Findings) {
    // What leads nowhere, or only to what leads nowhere, is in no circle; what is left is.
    let mut open = calls.clone();
    let mut rounds = 0;
    loop {
        let ended: Vec<Path> = open
            .iter()
            .filter(|(_, to)| !to.iter().any(|path| open.contains_key(path)))
            .map(|(rule, _)| rule.clone())
            .collect();
        if ended.is_empty() {
            break;
        }
        open.retain(|rule, _| !ended.contains(rule));
        // Each round takes the ends off all chains, so there are as many as the longest has links.
        rounds += 1;
        if rounds > MAX_CHAIN
            && let Some((text, rule)) = place_of(texts, ended.first())
        {
            let problem = format!("rules that refer to rules, more than {MAX_CHAIN} in a row");
            findings.refused.push(at(text, rule.span().start, &problem));
            return;
        }
    }
    for text in texts {
        for rule in &text.module.policy {
            let (path, _) = definition(text, rule);
            if open.contains_key(&path) {
                let problem = format!("{} is recursive, or refers to what is", path.join("."));
                findings.refused.push(at(text, rule.span().start, &problem));
            }
        }
    }
}

/// Rules that could give one name two values: an error in OPA, which bytecode misses.
pub(super) fn conflicts(texts: &[Text<'_>], findings: &mut Findings) {
    let mut definitions: BTreeMap<Path, Vec<(&Text<'_>, &Rule)>> = BTreeMap::new();
    for text in texts.iter().filter(|text| text.runs) {
        for rule in &text.module.policy {
            if let Rule::Spec {
                head: RuleHead::Compr { .. } | RuleHead::Func { .. },
                ..
            } = rule.as_ref()
            {
                let path = definition(text, rule).0;
                definitions.entry(path).or_default().push((text, rule));
            }
        }
    }
    for rules in definitions.values() {
        let values: BTreeSet<Option<String>> = rules
            .iter()
            .flat_map(|(_, rule)| values_of(rule))
            .map(|value| value.map_or_else(|| Some(TRUE.to_owned()), constant))
            .collect();
        let agree = values.len() == 1 && !values.contains(&None);
        if let Some((text, rule)) = rules.get(1)
            && !agree
        {
            findings.interpreted.push(at(
                text,
                rule.span().start,
                "a second definition, which could give another value than the first (else instead of it makes them one)",
            ));
        }
    }
}

/// Rules where a document has data already: OPA refuses to load the two together.
pub(super) fn overlaps(texts: &[Text<'_>], base: &regorus::Value, findings: &mut Findings) {
    for text in texts {
        for rule in &text.module.policy {
            let (path, _) = definition(text, rule);
            let mut place = base;
            for name in path.iter().skip(1) {
                place = &place[name.as_str()];
                if !matches!(place, regorus::Value::Object(_)) {
                    break;
                }
            }
            if *place != regorus::Value::Undefined {
                let problem = format!("{} is defined here and by a JSON document", path.join("."));
                let start = rule.span().start;
                findings.refused.push(at(text, start, &problem));
            }
        }
    }
}
