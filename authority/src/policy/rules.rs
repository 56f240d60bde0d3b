//! The rules of a policy as their author wrote them: which of them speak of something, and which they
//! rest on. It reads text, as a person would who looks for a name.

use super::lexical;

/// A rule, or the part of it that speaks of what was looked for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RuleText {
    /// The module.
    pub module: String,
    /// The line that it begins in, counted from 1.
    pub line: usize,
    /// Its text.
    pub text: String,
}

struct Rule<'a> {
    module: &'a str,
    name: &'a str,
    line: usize,
    lines: Vec<&'a str>,
}

/// The rules in `modules`, each a name and a text, that have the string `said` in them or make it out of
/// pieces, and those that they call by name, each once.
pub fn rules_that_say<'a>(
    modules: impl IntoIterator<Item = (&'a str, &'a str)>,
    said: &str,
) -> Vec<RuleText> {
    let rules: Vec<Rule<'a>> = modules
        .into_iter()
        .flat_map(|(name, source)| rules(name, source))
        .collect();
    let parts = || rules.iter().flat_map(Rule::parts);
    let is_said = if parts().any(|(_, part)| says(&part, said)) {
        says
    } else {
        pieces_together
    };
    let mut found: Vec<RuleText> = Vec::new();
    let mut called = Vec::new();
    for rule in &rules {
        for (line, part) in rule.parts() {
            if is_said(&part, said) {
                called.extend(
                    lexical::words(&part)
                        .into_iter()
                        .map(|(_, word)| word.to_owned()),
                );
                found.push(RuleText {
                    module: rule.module.to_owned(),
                    line,
                    text: part,
                });
            }
        }
    }
    let shown: Vec<(String, usize)> = found
        .iter()
        .map(|rule| (rule.module.clone(), rule.line))
        .collect();
    for rule in rules.iter().filter(|rule| {
        let is_called = called.iter().any(|word| word == rule.name);
        let is_shown = shown.iter().any(|(module, line)| {
            module == rule.module && (rule.line..rule.line + rule.lines.len()).contains(line)
        });
        is_called && !is_shown
    }) {
        found.push(RuleText {
            module: rule.module.to_owned(),
            line: rule.line,
            text: rule.lines.join("\n"),
        });
    }
    found
}

fn says(part: &str, said: &str) -> bool {
    part.contains(&format!("\"{said}\""))
}

/// `caracal-shop-use` out of `"caracal-"`, something, and `"-use"`.
fn pieces_together(part: &str, said: &str) -> bool {
    let (Some((first, _)), Some((_, last))) = (said.split_once('-'), said.rsplit_once('-')) else {
        return false;
    };
    part.contains(&format!("\"{first}-\"")) && part.contains(&format!("\"-{last}\""))
}

/// Top-level rules: what begins in the first column, up to the next that does.
fn rules<'a>(module: &'a str, source: &'a str) -> Vec<Rule<'a>> {
    let mut rules: Vec<Rule<'a>> = Vec::new();
    for (number, line) in source.lines().enumerate() {
        let begins = line
            .chars()
            .next()
            .is_some_and(|first| first.is_alphabetic() || first == '_');
        let name = line
            .trim_start_matches("default ")
            .split(|part: char| !part.is_alphanumeric() && part != '_')
            .next()
            .unwrap_or_default();
        if begins && !matches!(name, "package" | "import") {
            rules.push(Rule {
                module,
                name,
                line: number + 1,
                lines: vec![line],
            });
        } else if !begins
            && !line.starts_with('#')
            && !line.trim().is_empty()
            && let Some(rule) = rules.last_mut()
        {
            rule.lines.push(line);
        }
    }
    rules
}

impl Rule<'_> {
    /// The rule, or each branch of one that has several.
    fn parts(&self) -> Vec<(usize, String)> {
        let mut parts: Vec<(usize, String)> = Vec::new();
        for (number, line) in self.lines.iter().enumerate() {
            match parts.last_mut() {
                Some((_, part)) if !line.starts_with("} else") => {
                    part.push('\n');
                    part.push_str(line);
                }
                last => {
                    if let Some((_, part)) = last {
                        part.push_str("\n}");
                    }
                    let text = line.trim_start_matches("} ").to_owned();
                    parts.push((self.line + number, text));
                }
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::{super::contract::CONTRACT, *};

    fn texts(modules: &[(&str, &str)], said: &str) -> Vec<String> {
        rules_that_say(modules.iter().copied(), said)
            .into_iter()
            .map(|rule| format!("{}:{} {}", rule.module, rule.line, rule.text))
            .collect()
    }

    #[test]
    fn the_branch_that_decided_is_shown_with_what_it_calls() {
        let direct = texts(CONTRACT, "caracal-direct-mint");
        assert!(
            direct[0].contains("else := \"caracal-direct-mint\" if {\n\topen\n\tdirect_mint\n}"),
            "{direct:#?}"
        );
        assert!(!direct[0].contains("workload"), "{direct:#?}");
        assert!(direct.iter().any(|rule| rule.contains("direct_mint if {")));
        // Put together from pieces.
        let minted = texts(CONTRACT, "caracal-shop-mint");
        assert!(minted[0].contains("delegated_mint"), "{minted:#?}");
    }

    #[test]
    fn a_policy_of_ones_own_is_searched_by_the_id_that_it_gives() {
        let module = "package caracal.authz\n\nimport rego.v1\n\n# Night only.\nresult := {\"determining_policies\": [{\"id\": \"night\"}]} if {\n\tnight\n}\n\nnight if input.context.time > 0\n\nother if true\n";
        assert_eq!(
            texts(&[("own", module)], "night"),
            [
                "own:6 result := {\"determining_policies\": [{\"id\": \"night\"}]} if {\n\tnight\n}",
                "own:10 night if input.context.time > 0",
            ]
        );
        assert!(texts(&[("own", module)], "day").is_empty());
    }
}
