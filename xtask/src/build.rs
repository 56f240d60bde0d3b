//! `cargo xtask build`: the artifacts that users deploy, in `dist/`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    console::{self, Failure, OrFail, Result},
    exports,
    step::Step,
    tools::wasm_target::WasmTarget,
    workspace::Workspace,
};

/// What to do about code that does not build.
const MEND: &str = "mend the code and run this again";

/// What every deployment has. The names are an interface.
pub(crate) struct Artifacts {
    pub(crate) wasm: PathBuf,
    pub(crate) binary: PathBuf,
}

/// A package that is linked into a module, and how.
struct Module<'m> {
    package: &'m str,
    /// Its own for each set of features, since cargo links all of a profile to one place.
    profile: &'m str,
    features: &'m [&'m str],
    doing: &'m str,
    log: &'m str,
}

const FILTER: Module<'_> = Module {
    package: "plugin",
    profile: "wasm",
    features: &[],
    doing: "building the filter for wasm32",
    log: "build-wasm",
};
const BYTECODE: Module<'_> = Module {
    package: "plugin",
    profile: "wasm-bytecode",
    features: &["--no-default-features"],
    doing: "building the filter without a compiler of policies",
    log: "build-wasm-bytecode",
};
const MICRO: Module<'_> = Module {
    package: "micro",
    profile: "wasm",
    features: &[],
    doing: "building the parts for wasm32",
    log: "build-micro",
};

pub(crate) fn run(workspace: &Workspace) -> Result<Artifacts> {
    let artifacts = Artifacts {
        wasm: filter(workspace, &FILTER, "caracal.wasm")?,
        binary: workspace.dist().join("caracal"),
    };
    let mut cargo = workspace.cargo("build");
    cargo.args(["--package", "sts-server", "--bin", "caracal", "--release"]);
    Step::new(
        workspace,
        "building the STS and command line",
        "build-caracal",
    )
    .run(&mut cargo, MEND)?;
    let linked = workspace.target().join("release/caracal");
    write(&artifacts.binary, |partial| {
        fs::copy(&linked, partial).map(drop)
    })?;

    console::line(format_args!(
        "  dist/caracal {}",
        kilobytes(size(&artifacts.binary))
    ));
    Ok(artifacts)
}

/// The filter that runs nothing but bytecode.
pub(crate) fn bytecode(workspace: &Workspace) -> Result<PathBuf> {
    filter(workspace, &BYTECODE, "caracal-bytecode.wasm")
}

/// The filter of the tests that has the parts of a decision in it.
pub(crate) fn micro(workspace: &Workspace) -> Result<PathBuf> {
    linked(workspace, &MICRO)
}

/// Leaves a filter in `dist/`.
fn filter(workspace: &Workspace, module: &Module<'_>, name: &str) -> Result<PathBuf> {
    let linked = linked(workspace, module)?;
    let doing = || format!("cannot read {}", linked.display());
    let trimmed = exports::trimmed(&fs::read(&linked).or_fail(doing)?).ok_or_else(|| {
        Failure::new(
            format!("{} is no WebAssembly module", linked.display()),
            MEND,
        )
    })?;
    let to = workspace.dist().join(name);
    write(&to, |partial| fs::write(partial, &trimmed))?;
    let zipped = gzip_bytes(&to).map_or_else(String::new, |bytes| {
        format!(", {} gzipped", kilobytes(bytes))
    });
    console::line(format_args!(
        "  dist/{name} {}{zipped}",
        kilobytes(size(&to))
    ));
    Ok(to)
}

/// What LLVM is to copy less of into where it is called, and of loops: a fifth of the code that V8 compiles before the
/// filter starts, for which a request takes no less time (`cargo xtask bench micro`, `gateway`).
const LESS_CODE: [&str; 4] = [
    "inline-threshold=50",
    "inlinehint-threshold=75",
    "unroll-threshold=50",
    "unroll-runtime=false",
];

/// The module of a package, as it is linked: as a module alone, since cargo does not have the whole optimised where a
/// package is a library for others at the same time.
fn linked(workspace: &Workspace, module: &Module<'_>) -> Result<PathBuf> {
    let (package, profile) = (module.package, module.profile);
    let target = WasmTarget::get(workspace)?;
    let mut cargo = target.cargo("rustc");
    cargo
        .args(["--package", package, "--lib", "--profile", profile])
        .args(module.features)
        .args(["--crate-type", "cdylib", "--"])
        // Numbers in as few bytes as they need.
        .args(["-C", "link-arg=--compress-relocations"])
        .args(LESS_CODE.map(|option| format!("-Cllvm-args=-{option}")));
    Step::new(workspace, module.doing, module.log).run(&mut cargo, MEND)?;
    Ok(target.output(profile).join(format!("{package}.wasm")))
}

/// Replaces `to` in one step, also while an Envoy or an STS runs from it, by what `fill` writes.
fn write(to: &Path, fill: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
    let doing = || format!("cannot write {}", to.display());
    if let Some(directory) = to.parent() {
        fs::create_dir_all(directory).or_fail(doing)?;
    }
    let partial = to.with_extension("partial");
    fill(&partial).or_fail(doing)?;
    fs::rename(&partial, to).or_fail(doing)
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// What a registry would transfer, if there is a gzip to ask.
fn gzip_bytes(path: &Path) -> Option<u64> {
    let output = Command::new("gzip")
        .args(["-9", "-c"])
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then_some(output.stdout.len() as u64)
}

fn kilobytes(bytes: u64) -> String {
    if bytes < 10_000_000 {
        format!("{} KB", bytes / 1000)
    } else {
        format!("{:.1} MB", bytes as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_is_replaced_whole() {
        let directory = std::env::temp_dir().join(format!("xtask-put-{}", std::process::id()));
        let to = directory.join("dist/caracal.wasm");
        for content in ["one", "two"] {
            write(&to, |partial| fs::write(partial, content)).unwrap();
            assert_eq!(fs::read_to_string(&to).unwrap(), content);
        }
        assert_eq!(fs::read_dir(directory.join("dist")).unwrap().count(), 1);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(kilobytes(612_345), "612 KB");
        assert_eq!(kilobytes(23_456_789), "23.5 MB");
    }
}
