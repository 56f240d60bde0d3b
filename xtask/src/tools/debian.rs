//! Packages of Debian, for what no other road brings.

use std::{fs, process::Command};

use crate::{
    console::{Failure, Result},
    step::Step,
    tools::output_of,
    workspace::Workspace,
};

/// Whether this is Debian or one of its kin.
pub(super) fn is_here() -> bool {
    fs::metadata("/etc/debian_version").is_ok()
        && output_of(Command::new("apt-get").arg("--version")).is_some()
}

/// Installs packages, through sudo unless this is root.
pub(super) fn install(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    let root = output_of(Command::new("id").arg("-u")).as_deref() == Some("0");
    if !root && output_of(Command::new("sudo").arg("--version")).is_none() {
        return Err(Failure::new(
            format!(
                "Debian's packages {} are missing and there is no sudo",
                packages.join(", ")
            ),
            format!(
                "as root, run `apt-get install --no-install-recommends {}`",
                packages.join(" ")
            ),
        ));
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new(if root { "apt-get" } else { "sudo" });
        if !root {
            command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        }
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(arguments);
        command
    };
    let title = format!("apt-get install {}", packages.join(" "));
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    let step = Step::new(workspace, &title, "apt-install");
    let way_out = "install these packages by hand, then run this again";
    if step.run(&mut apt(&arguments), way_out).is_ok() {
        return Ok(());
    }
    // A fresh image has no package lists, or lists of versions that the mirror no longer has.
    Step::new(workspace, "apt-get update", "apt-update")
        .run(&mut apt(&["update"]), "check the network and /etc/apt")?;
    step.run(&mut apt(&arguments), way_out)
}
