//! What travels from the compiler to whoever decides: data, and bytecode or text.
//!
//! `CPOL`, a version byte, a kind byte (`B` bytecode, `T` text), what it [reads](Reads) of its input as JSON, the
//! data, and the code; before what it reads and before the data stands the length in bytes (u32, little endian).
//! Data is JSON with a tag on each collection, for JSON has neither sets nor keys other than strings:
//! `["a", items...]`, `["s", items...]`, `["o", key, value...]`.

use regorus::Value;
use serde_json::Value as Json;

use super::{LoadError, Module, reads::Reads};

const MAGIC: &[u8; 5] = b"CPOL\x03";

/// What decides.
#[derive(Debug)]
pub(super) enum Code {
    /// regorus bytecode.
    Bytecode(Vec<u8>),
    /// Modules, for the interpreter.
    Text(Vec<Module>),
}

/// A compiled set in the form that travels.
#[derive(Debug)]
pub(super) struct Program {
    /// What it reads of its input.
    pub(super) reads: Reads,
    pub(super) data: Value,
    pub(super) code: Code,
}

impl Program {
    pub(super) fn encode(&self) -> Result<Vec<u8>, String> {
        let failed = |error: serde_json::Error| error.to_string();
        let data = serde_json::to_vec(&tagged(&self.data)?).map_err(failed)?;
        let (kind, code) = match &self.code {
            Code::Bytecode(bytecode) => (b'B', bytecode.clone()),
            Code::Text(modules) => (b'T', serde_json::to_vec(modules).map_err(failed)?),
        };
        let mut bytes = MAGIC.to_vec();
        bytes.push(kind);
        for part in [serde_json::to_vec(&self.reads).map_err(failed)?, data] {
            let length = u32::try_from(part.len()).map_err(|error| error.to_string())?;
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&part);
        }
        bytes.extend_from_slice(&code);
        Ok(bytes)
    }

    /// Whether it may say different things to two calls that are the same operation with the same mandate. That
    /// stands at the beginning; of bytes that do not say it, the worst.
    pub(super) fn reads_the_call(bytes: &[u8]) -> bool {
        let head = bytes.strip_prefix(MAGIC).and_then(<[u8]>::split_first);
        let reads = head.and_then(|(_, rest)| part(rest));
        let reads = reads.and_then(|(reads, _)| serde_json::from_slice(reads).ok());
        reads.is_none_or(|reads: Reads| reads.the_call())
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, LoadError> {
        let unusable = |what: &str| LoadError::Unusable(what.to_owned());
        let rest = bytes
            .strip_prefix(MAGIC)
            .ok_or_else(|| unusable("not a program of this version"))?;
        let (kind, rest) = rest.split_first().ok_or_else(|| unusable("no kind"))?;
        let cut_off = || unusable("it is cut off");
        let (reads, rest) = part(rest).ok_or_else(cut_off)?;
        let (data, code) = part(rest).ok_or_else(cut_off)?;
        let damaged = |error: serde_json::Error| LoadError::Unusable(error.to_string());
        let data: Json = serde_json::from_slice(data).map_err(damaged)?;
        let code = match kind {
            b'B' => Code::Bytecode(code.to_vec()),
            b'T' => Code::Text(serde_json::from_slice(code).map_err(damaged)?),
            _ => return Err(unusable("an unknown kind of code")),
        };
        Ok(Self {
            reads: serde_json::from_slice(reads).map_err(damaged)?,
            data: untagged(data).ok_or_else(|| unusable("the data is damaged"))?,
            code,
        })
    }
}

/// What follows its length, and the rest.
fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

fn tagged(value: &Value) -> Result<Json, String> {
    let collection = |tag: &str, items: &mut dyn Iterator<Item = &Value>| {
        let tag = Ok(Json::from(tag));
        let items: Result<Vec<Json>, String> =
            std::iter::once(tag).chain(items.map(tagged)).collect();
        items.map(Json::Array)
    };
    match value {
        Value::Array(items) => collection("a", &mut items.iter()),
        Value::Set(items) => collection("s", &mut items.iter()),
        Value::Object(fields) => collection(
            "o",
            &mut fields.iter_sorted().flat_map(|(key, value)| [key, value]),
        ),
        Value::Undefined => Err("an undefined value in data".to_owned()),
        scalar => serde_json::to_value(scalar).map_err(|error| error.to_string()),
    }
}

fn untagged(json: Json) -> Option<Value> {
    let Json::Array(items) = json else {
        return match json {
            Json::Object(_) => None,
            scalar => Some(Value::from(scalar)),
        };
    };
    let mut items = items.into_iter();
    let tag = items.next()?;
    let mut values = items.map(untagged);
    match tag.as_str()? {
        "a" => values.collect::<Option<Vec<_>>>().map(Value::from),
        "s" => values
            .collect::<Option<std::collections::BTreeSet<_>>>()
            .map(Value::from),
        "o" => {
            let mut fields = std::collections::BTreeMap::new();
            while let Some(key) = values.next() {
                fields.insert(key?, values.next()??);
            }
            Some(Value::from(fields))
        }
        _ => None,
    }
}
