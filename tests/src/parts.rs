//! The real parts under test and where they are: named by the environment, as `cargo xtask test`
//! does, or else where `cargo xtask build` leaves them.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The plugin.
pub fn wasm() -> PathBuf {
    built("CARACAL_WASM", "dist/caracal.wasm")
}

/// The plugin without a compiler of policies.
pub fn bytecode_wasm() -> PathBuf {
    built("CARACAL_BYTECODE_WASM", "dist/caracal-bytecode.wasm")
}

/// The binary `caracal`.
pub fn caracal() -> PathBuf {
    built("CARACAL_BIN", "dist/caracal")
}

/// The filter that has the parts of a decision in it.
pub fn micro() -> PathBuf {
    match env::var_os("CARACAL_MICRO_WASM") {
        Some(path) => existing("CARACAL_MICRO_WASM", Path::new(&path)),
        None => panic!(
            "CARACAL_MICRO_WASM is not set: run this by `cargo xtask test` or `cargo xtask bench`, which build it"
        ),
    }
}

/// The Python with the published clients.
pub fn python() -> PathBuf {
    // Not resolved: what makes it a virtual environment's is where it stands.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = env::var_os("CARACAL_PYTHON")
        .map_or_else(|| root.join(".tools/clients/bin/python"), PathBuf::from);
    existing("CARACAL_PYTHON", &path);
    path
}

/// Envoy.
pub fn envoy() -> PathBuf {
    let on_path = || {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path)
            .map(|dir| dir.join("envoy"))
            .find(|file| file.is_file())
    };
    match env::var_os("ENVOY") {
        Some(path) => existing("ENVOY", Path::new(&path)),
        None => on_path()
            .unwrap_or_else(|| panic!("there is no envoy in PATH: set ENVOY, or run the tests by `cargo xtask test`, which gets one")),
    }
}

fn built(variable: &str, default: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = env::var_os(variable).map_or_else(|| root.join(default), PathBuf::from);
    existing(variable, &path)
}

fn existing(variable: &str, path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|error| {
        panic!(
            "{} cannot be used ({error}): run `cargo xtask build`, or set {variable}",
            path.display()
        )
    })
}
