//! The compiler for wasm32-unknown-unknown, by whichever road is open: the standard library that
//! rustup installs, or Debian's compiler, which has its source and builds it.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    console::{Failure, Result},
    step::Step,
    tools::{Version, debian, output_of},
    workspace::Workspace,
};

const TARGET: &str = "wasm32-unknown-unknown";
/// What every host of the filter has beyond the first WebAssembly: the hashes are written for it (`sha2`).
const FLAGS: (&str, &str) = (
    "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS",
    "-C target-feature=+simd128",
);
/// `rust-version` of the workspace.
const OLDEST_RUSTC: Version = Version::new(1, 95, 0);
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-19"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LINKER: &str = "/usr/bin/wasm-ld-19";
const DEBIAN_CLIPPY: &str = "/usr/bin/cargo-clippy";

/// How wasm32 is compiled on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Road {
    /// cargo's own compiler has the target.
    Installed,
    /// Debian's compiler builds std along with the rest.
    BuildStd,
}

/// A compiler that can build for wasm32.
pub(crate) struct WasmTarget<'a> {
    workspace: &'a Workspace,
    road: Road,
}

impl<'a> WasmTarget<'a> {
    /// What is here already is taken first, so that only the first call on a machine fetches.
    pub(crate) fn get(workspace: &'a Workspace) -> Result<Self> {
        let by = |road| Ok(Self { workspace, road });
        if is_installed() {
            return by(Road::Installed);
        }
        if debian_compiler_is_here() {
            return by(Road::BuildStd);
        }
        let rustup = add_by_rustup(workspace);
        if is_installed() {
            return by(Road::Installed);
        }
        if !debian::is_here() {
            return Err(rustup.err().unwrap_or_else(|| {
                Failure::new(
                    "rustc has no wasm32-unknown-unknown",
                    "install that target for the compiler in use",
                )
            }));
        }
        debian::install(workspace, &DEBIAN_PACKAGES)?;
        if debian_compiler_is_here() {
            return by(Road::BuildStd);
        }
        Err(Failure::new(
            format!(
                "rustup could not add {TARGET}, and Debian's {DEBIAN_RUSTC} is older than {OLDEST_RUSTC} or lacks its source"
            ),
            format!("run `rustup target add {TARGET}` where the network allows it"),
        ))
    }

    /// `cargo SUBCOMMAND` for wasm32, with a target directory of its own.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let mut command = match self.road {
            Road::Installed => self.workspace.cargo(subcommand),
            Road::BuildStd => self.debian_cargo("/usr/bin/cargo", subcommand),
        };
        self.add_target(&mut command);
        command
    }

    /// `cargo clippy` for wasm32. Debian has it in a package of its own.
    pub(crate) fn clippy(&self) -> Result<Command> {
        let mut command = match self.road {
            Road::Installed => self.workspace.cargo("clippy"),
            Road::BuildStd => {
                if !Path::new(DEBIAN_CLIPPY).is_file() {
                    debian::install(self.workspace, &["rust-web-clippy"])?;
                }
                // By its path: `/usr/bin/cargo clippy` would find rustup's in PATH.
                self.debian_cargo(DEBIAN_CLIPPY, "clippy")
            }
        };
        self.add_target(&mut command);
        Ok(command)
    }

    fn add_target(&self, command: &mut Command) {
        if self.road == Road::BuildStd {
            command.args(["-Z", "build-std=std,panic_abort"]);
        }
        command
            .args(["--target", TARGET])
            .env(FLAGS.0, FLAGS.1)
            .env("CARGO_TARGET_DIR", self.workspace.wasm_target());
    }

    /// Where `cargo build --profile NAME` leaves what it built.
    pub(crate) fn output(&self, profile: &str) -> PathBuf {
        self.workspace.wasm_target().join(TARGET).join(profile)
    }

    fn debian_cargo(&self, program: &str, subcommand: &str) -> Command {
        let mut command = self.workspace.command(program);
        command
            .arg(subcommand)
            .env("CARGO", "/usr/bin/cargo")
            .env("RUSTC", DEBIAN_RUSTC)
            .env("RUSTDOC", "/usr/bin/rustdoc")
            .env("PATH", path_with_usr_bin_first())
            // build-std is unstable; this is Debian's stable compiler.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER);
        command
    }
}

fn path_with_usr_bin_first() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(PathBuf::from("/usr/bin")).chain(env::split_paths(&path));
    env::join_paths(all).unwrap_or(path)
}

/// Whether cargo's compiler has the target's standard library.
fn is_installed() -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    output_of(Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]))
        .and_then(|directory| fs::read_dir(directory).ok())
        .is_some_and(|entries| {
            entries
                .flatten()
                .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
        })
}

fn debian_compiler_is_here() -> bool {
    let rustc = |arguments: &[&str]| output_of(Command::new(DEBIAN_RUSTC).args(arguments));
    let recent = rustc(&["--version"])
        .and_then(|text| Version::find(&text))
        .is_some_and(|version| version >= OLDEST_RUSTC);
    let source = rustc(&["--print", "sysroot"]).is_some_and(|sysroot| {
        Path::new(&sysroot)
            .join("lib/rustlib/src/rust/library/std/Cargo.toml")
            .is_file()
    });
    recent && source && Path::new(DEBIAN_LINKER).is_file() && Path::new("/usr/bin/cargo").is_file()
}

fn add_by_rustup(workspace: &Workspace) -> Result<()> {
    let mut rustup = workspace.command("rustup");
    rustup.args(["target", "add", TARGET]);
    Step::new(
        workspace,
        "adding the target wasm32-unknown-unknown by rustup",
        "rustup",
    )
    .limit(Duration::from_secs(180))
    .run(
        &mut rustup,
        "run `rustup target add wasm32-unknown-unknown` where the network allows it",
    )
}
